//! The services for operators and control planes.

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use godwit_api::v1::{
    self as api, guest_service_server::GuestService, migration_service_server::MigrationService,
};
use godwit_migration::{Brief, Options};
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use crate::{
    Coordinator, Refused, Which, World,
    coordinator::{Found, Wanted},
    operation::View,
    page::Page,
    subject::{Subject, asked},
    words,
};

/// At most this many migrations in one answer.
const LIST_LIMIT: u32 = 1000;

/// Nothing that is done with a guest on its standby takes longer; without a bound it would be a standby until asked otherwise.
const LONGEST_STANDBY: Duration = Duration::from_secs(86_400);
/// More findings are not ignored at once.
const MOST_IGNORED: usize = 32;

/// [`MigrationService`] over a coordinator.
pub struct MigrationDesk<W>(pub Coordinator<W>);

/// [`GuestService`] over a coordinator.
pub struct GuestDesk<W>(pub Coordinator<W>);

type Watch = Pin<Box<dyn Stream<Item = Result<api::WatchMigrationResponse, Status>> + Send>>;

#[tonic::async_trait]
impl<W: World> MigrationService for MigrationDesk<W> {
    type WatchMigrationStream = Watch;

    async fn create_migration(
        &self,
        request: Request<api::CreateMigrationRequest>,
    ) -> Result<Response<api::CreateMigrationResponse>, Status> {
        let subject = Subject::of(&request);
        let asked = asked(request);
        name("guest", &asked.guest)?;
        name("destination", &asked.destination)?;
        if asked.request_id.len() > 128 {
            return Err(Refused::Invalid("request_id is longer than 128 bytes".into()).into());
        }
        if asked
            .probes_per_second
            .is_some_and(|probes| probes > Brief::MOST_PROBES)
        {
            return Err(Refused::Invalid("probes_per_second is more than 1,000".into()).into());
        }
        let coordinator = self.0.clone();
        let wanted = Wanted {
            policy: words::policy_of(asked.policy()),
            keep: words::keep_of(asked.keep()),
            options: options(asked.transfer.as_ref())?,
            ignore: reasons(asked.ignore)?,
            guest: asked.guest,
            destination: asked.destination,
            request: asked.request_id,
            probes: asked.probes_per_second,
        };
        let (view, ahead) = carried(async move { coordinator.create(&wanted).await }).await?;
        subject.note("migration", &view.migration.brief.id);
        Ok(Response::new(api::CreateMigrationResponse {
            migration: Some(words::migration(&view)),
            warnings: ahead.warnings,
            not_checked: ahead.not_checked,
        }))
    }

    async fn plan_migration(
        &self,
        request: Request<api::PlanMigrationRequest>,
    ) -> Result<Response<api::PlanMigrationResponse>, Status> {
        let asked = asked(request);
        name("guest", &asked.guest)?;
        name("destination", &asked.destination)?;
        let wanted = Wanted {
            policy: words::policy_of(asked.policy()),
            keep: words::keep_of(asked.keep()),
            options: options(asked.transfer.as_ref())?,
            ignore: reasons(asked.ignore)?,
            guest: asked.guest,
            destination: asked.destination,
            request: String::new(),
            probes: None,
        };
        Ok(Response::new(self.0.plan(&wanted).await?))
    }

    async fn get_migration(
        &self,
        request: Request<api::GetMigrationRequest>,
    ) -> Result<Response<api::GetMigrationResponse>, Status> {
        let view = self.0.get(&asked(request).id).await?;
        Ok(Response::new(api::GetMigrationResponse {
            migration: Some(words::migration(&view)),
        }))
    }

    async fn list_migrations(
        &self,
        request: Request<api::ListMigrationsRequest>,
    ) -> Result<Response<api::ListMigrationsResponse>, Status> {
        let asked = asked(request);
        let limit = match asked.limit {
            0 => 100,
            limit => limit.min(LIST_LIMIT),
        };
        let which = match asked.filter() {
            api::MigrationFilter::Unspecified => Which::All,
            api::MigrationFilter::Open => Which::Open,
            api::MigrationFilter::Ended => Which::Ended,
        };
        let after = match asked.page_token.as_str() {
            "" => None,
            token => Some(Page::of(token).ok_or_else(no_page)?),
        };
        let views = self.0.list(&asked.guest, which, limit, after).await?;
        let full = views.len() == limit as usize;
        let last = views.last().filter(|_| full);
        Ok(Response::new(api::ListMigrationsResponse {
            next_page_token: last
                .map(|view| Page::at(&view.migration).token())
                .unwrap_or_default(),
            migrations: views.iter().map(words::migration).collect(),
        }))
    }

    async fn watch_migration(
        &self,
        request: Request<api::WatchMigrationRequest>,
    ) -> Result<Response<Watch>, Status> {
        let response = |view| {
            Ok(api::WatchMigrationResponse {
                migration: Some(words::migration(&view)),
            })
        };
        let asked = asked(request);
        let watch = match self.0.find(&asked.id).await? {
            Found::Still(view) => return Ok(Response::new(tokio_stream::iter([response(view)]).boxed())),
            Found::Running(watch) => watch,
        };
        // Up to and including the first view that is settled: the end does not wait for another change.
        let changes = stream::unfold(Some(WatchStream::new(watch)), async |changes| {
            let mut changes = changes?;
            let view: View = changes.next().await?;
            let more = !view.migration.settled();
            Some((view, more.then_some(changes)))
        });
        // Who has seen it as it is waits for a change; the end is told in any case.
        let news = move |(index, view): &(usize, View)| {
            let newer = words::revision(&view.migration) > asked.after_revision;
            std::future::ready(*index > 0 || newer || view.migration.settled())
        };
        let changes = changes.enumerate().filter(news).map(|(_, view)| view);
        Ok(Response::new(changes.map(response).boxed()))
    }

    async fn cancel_migration(
        &self,
        request: Request<api::CancelMigrationRequest>,
    ) -> Result<Response<api::CancelMigrationResponse>, Status> {
        let view = self.0.cancel(&asked(request).id).await?;
        Ok(Response::new(api::CancelMigrationResponse {
            migration: Some(words::migration(&view)),
        }))
    }

    async fn retry_migration(
        &self,
        request: Request<api::RetryMigrationRequest>,
    ) -> Result<Response<api::RetryMigrationResponse>, Status> {
        let view = self.0.retry(&asked(request).id).await?;
        Ok(Response::new(api::RetryMigrationResponse {
            migration: Some(words::migration(&view)),
        }))
    }

    async fn resolve_migration(
        &self,
        request: Request<api::ResolveMigrationRequest>,
    ) -> Result<Response<api::ResolveMigrationResponse>, Status> {
        let asked = asked(request);
        name("runs_on", &asked.runs_on)?;
        let view = self.0.resolve(&asked.id, &asked.runs_on, asked.force).await?;
        Ok(Response::new(api::ResolveMigrationResponse {
            migration: Some(words::migration(&view)),
        }))
    }
}

#[tonic::async_trait]
impl<W: World> GuestService for GuestDesk<W> {
    async fn list_guests(
        &self,
        _: Request<api::ListGuestsRequest>,
    ) -> Result<Response<api::ListGuestsResponse>, Status> {
        let guests = self.0.guests().await?;
        let guests = guests
            .iter()
            .map(|(facts, open)| words::guest(facts, open.as_deref()))
            .collect();
        Ok(Response::new(api::ListGuestsResponse { guests }))
    }

    async fn adopt_guest(
        &self,
        request: Request<api::AdoptGuestRequest>,
    ) -> Result<Response<api::AdoptGuestResponse>, Status> {
        let asked = asked(request);
        name("guest", &asked.guest)?;
        let facts = self
            .0
            .adopt(&asked.guest, words::policy_of(asked.policy()))
            .await?;
        Ok(Response::new(api::AdoptGuestResponse {
            guest: Some(words::guest(&facts, None)),
        }))
    }

    async fn standby_guest(
        &self,
        request: Request<api::StandbyGuestRequest>,
    ) -> Result<Response<api::StandbyGuestResponse>, Status> {
        let subject = Subject::of(&request);
        let asked = asked(request);
        name("guest", &asked.guest)?;
        let coordinator = self.0.clone();
        let lasts = Duration::from_secs(asked.lasts_seconds.into());
        if lasts > LONGEST_STANDBY {
            return Err(Refused::Invalid("lasts_seconds is not 0 to 86400".into()).into());
        }
        let view = carried(async move {
            match lasts.is_zero() {
                true => coordinator.standby(&asked.guest, true).await,
                false => coordinator.standby_for(&asked.guest, lasts).await,
            }
        })
        .await?;
        subject.note("migration", &view.migration.brief.id);
        Ok(Response::new(api::StandbyGuestResponse {
            operation: Some(words::migration(&view)),
        }))
    }

    async fn accelerate_guest(
        &self,
        request: Request<api::AccelerateGuestRequest>,
    ) -> Result<Response<api::AccelerateGuestResponse>, Status> {
        let subject = Subject::of(&request);
        let asked = asked(request);
        name("guest", &asked.guest)?;
        let coordinator = self.0.clone();
        let view = carried(async move { coordinator.accelerate(&asked.guest).await }).await?;
        subject.note("migration", &view.migration.brief.id);
        Ok(Response::new(api::AccelerateGuestResponse {
            operation: Some(words::migration(&view)),
        }))
    }
}

/// Carried on although the caller goes away: a caller that hangs up must not stop it half way.
pub(crate) async fn carried<T: Send + 'static>(
    work: impl Future<Output = Result<T, Refused>> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::spawn(work).await;
    Ok(done.map_err(|error| Status::internal(error.to_string()))??)
}

/// What is asked for alone; with the configuration's defaults it is checked again.
fn options(asked: Option<&api::TransferOptions>) -> Result<Options, Refused> {
    let options = asked.map(words::options_of).transpose();
    Ok(options.map_err(Refused::Invalid)?.unwrap_or_default())
}

/// Reasons of findings; one that is none is harmless.
fn reasons(asked: Vec<String>) -> Result<Vec<String>, Refused> {
    match asked.len() <= MOST_IGNORED && asked.iter().all(|word| name("ignore", word).is_ok()) {
        true => Ok(asked),
        false => Err(Refused::Invalid(format!(
            "ignore must be at most {MOST_IGNORED} reasons of findings"
        ))),
    }
}

fn no_page() -> Refused {
    Refused::Invalid("page_token is not the next_page_token of an answer".into())
}

/// A name from outside is looked up, never interpreted; this keeps it printable.
pub(crate) fn name(what: &str, text: &str) -> Result<(), Refused> {
    let fits = !text.is_empty() && text.len() <= 255 && !text.chars().any(char::is_control);
    if fits {
        Ok(())
    } else {
        Err(Refused::Invalid(format!(
            "{what} must be 1 to 255 printable bytes"
        )))
    }
}
