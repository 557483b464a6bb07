//! What can be asked of the daemon: `org.godwit.Daemon1`. Each call is one of the gRPC services'.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use godwit_api::v1::{
    self as api, guest_service_server::GuestService, migration_service_server::MigrationService,
};
use godwit_coordinator::{Coordinator, GuestDesk, MigrationDesk, World};
use godwit_server::{Audit, audit::Elsewhere};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tonic::Request;
use zbus::{
    DBusError, ObjectPath, OwnedObjectPath, OwnedVariant, interface, message::Header,
    object_server::SignalEmitter,
};

use super::{
    ANSWER,
    authority::{Action, Authority},
    error::BusError,
    migration::{Migration, state},
    objects, options,
};

/// So many readers have the journal read for them at once; the others wait. Who writes waits behind no more than these.
const READERS: usize = 4;

/// Longest id, or beginning of one, that is looked up; bytes.
const LONGEST_ID: usize = 128;

/// Migrations of one list.
const LISTED: u32 = 100;

/// Id, guest, source, destination, state.
type Listed = (String, String, String, String, String);

/// Answers.
pub(crate) struct Manager<W> {
    coordinator: Coordinator<W>,
    authority: Authority,
    audit: Audit,
    shows: mpsc::Sender<oneshot::Sender<()>>,
    readers: Semaphore,
}

impl<W> Manager<W> {
    /// `shows`: shows what has begun.
    pub(crate) fn new(
        coordinator: Coordinator<W>,
        (authority, audit): (Authority, Audit),
        shows: mpsc::Sender<oneshot::Sender<()>>,
    ) -> Manager<W> {
        Manager {
            coordinator,
            authority,
            audit,
            shows,
            readers: Semaphore::new(READERS),
        }
    }

    /// A place among those who read; everybody may, so one who asks without end must not keep the daemon from its work.
    async fn reader(&self) -> Result<SemaphorePermit<'_>, BusError> {
        let place = tokio::time::timeout(ANSWER, self.readers.acquire()).await;
        let busy = BusError::Busy("too many callers read at once: try again");
        place.map_err(|_| busy.clone())?.map_err(|_| busy)
    }

    /// Does what changes something, if the caller may. Whatever comes of it is written down, as what comes in at the other doors
    /// is.
    async fn change<T>(
        &self,
        (caller, action): (&Header<'_>, Action),
        on: &[(&str, &str)],
        work: impl Future<Output = Result<T, BusError>>,
    ) -> Result<T, BusError> {
        let came = Instant::now();
        let done = match self.authority.check(caller, action).await {
            Ok(()) => work.await,
            Err(refused) => Err(refused),
        };
        self.note((caller, came), on, done.as_ref().err()).await;
        done
    }

    /// Does what only looks, which everybody may. It is written down where that is wanted, or if nothing came of it.
    async fn look<T>(
        &self,
        caller: &Header<'_>,
        on: &[(&str, &str)],
        work: impl Future<Output = Result<T, BusError>>,
    ) -> Result<T, BusError> {
        let came = Instant::now();
        let done = work.await;
        if done.is_err() || self.audit.looks() {
            self.note((caller, came), on, done.as_ref().err()).await;
        }
        done
    }

    async fn note(
        &self,
        (caller, came): (&Header<'_>, Instant),
        on: &[(&str, &str)],
        refused: Option<&BusError>,
    ) {
        let asked = Elsewhere {
            who: self.authority.who(caller).await,
            from: format!("D-Bus {}", caller.sender().map_or("", |sender| sender.as_str())),
            call: caller.member().map_or("", |member| member.as_str()),
            on,
            came,
        };
        let name = refused.map(|error| (error.name().to_string(), error.to_string()));
        let refused = name.as_ref().map(|(name, why)| (name.as_str(), why.as_str()));
        self.audit.elsewhere(asked, refused).await;
    }

    /// An operation with its object, which is there when the caller hears of it.
    async fn begun(&self, migration: Option<api::Migration>) -> Result<(String, OwnedObjectPath), BusError> {
        let id = migration.unwrap_or_default().id;
        let (show, shown) = oneshot::channel();
        if self.shows.try_send(show).is_ok() {
            let _ = tokio::time::timeout(ANSWER, shown).await;
        }
        let path = objects::path(&id);
        Ok((id, path))
    }
}

fn check_id(id: &str) -> Result<(), BusError> {
    match id.len() > LONGEST_ID {
        true => Err(BusError::invalid("no id is so long")),
        false => Ok(()),
    }
}

/// The daemon of one host.
#[interface(name = "org.godwit.Daemon1")]
impl<W: World> Manager<W> {
    /// The daemon's version.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    /// This host's name, as its peers call it.
    #[zbus(property(emits_changed_signal = "const"))]
    fn host(&self) -> &str {
        self.coordinator.host()
    }

    /// The newest 100, those that ended too, the newest first.
    #[zbus(out_args("migrations"))]
    async fn list_migrations(&self, #[zbus(header)] caller: Header<'_>) -> Result<Vec<Listed>, BusError> {
        let request = api::ListMigrationsRequest {
            limit: LISTED,
            ..Default::default()
        };
        let desk = MigrationDesk(self.coordinator.clone());
        let work = async {
            let _place = self.reader().await?;
            Ok(desk.list_migrations(Request::new(request)).await?)
        };
        let answer = self.look(&caller, &[], work).await?;
        let listed = |migration: api::Migration| {
            let state = state(&migration).to_owned();
            let api::Migration {
                id,
                guest,
                source,
                destination,
                ..
            } = migration;
            (id, guest, source, destination, state)
        };
        Ok(answer.into_inner().migrations.into_iter().map(listed).collect())
    }

    /// The properties of a migration, also of one that has no object any more; by its id, or the beginning of it.
    #[zbus(out_args("properties"))]
    async fn get_migration(
        &self,
        id: String,
        #[zbus(header)] caller: Header<'_>,
    ) -> Result<BTreeMap<String, OwnedVariant>, BusError> {
        check_id(&id)?;
        let request = Request::new(api::GetMigrationRequest { id: id.clone() });
        let desk = MigrationDesk(self.coordinator.clone());
        let work = async {
            let _place = self.reader().await?;
            Ok(desk.get_migration(request).await?.into_inner())
        };
        let found = self.look(&caller, &[("migration", &id)], work).await?;
        Ok(Migration(found.migration.unwrap_or_default()).owned())
    }

    /// Begins a migration, with the options of `godwit migrate`. Answers when the destination holds its VFs; until then
    /// nothing was changed.
    #[zbus(out_args("id", "object"))]
    async fn migrate(
        &self,
        guest: String,
        destination: String,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] caller: Header<'_>,
    ) -> Result<(String, OwnedObjectPath), BusError> {
        let (named, there) = (guest.clone(), destination.clone());
        let work = async {
            let request = options::request(guest, destination, options)?;
            let desk = MigrationDesk(self.coordinator.clone());
            let begun = desk.create_migration(Request::new(request)).await?;
            self.begun(begun.into_inner().migration).await
        };
        let on = [("guest", named.as_str()), ("destination", &there)];
        self.change((&caller, Action::Migrate), &on, work).await
    }

    /// Turns a migration round at its next boundary.
    async fn cancel(&self, id: String, #[zbus(header)] caller: Header<'_>) -> Result<(), BusError> {
        check_id(&id)?;
        let request = Request::new(api::CancelMigrationRequest { id: id.clone() });
        let desk = MigrationDesk(self.coordinator.clone());
        let work = async {
            desk.cancel_migration(request).await?;
            Ok(())
        };
        self.change((&caller, Action::Cancel), &[("migration", &id)], work)
            .await
    }

    /// Puts a guest on its standby, until somebody asks otherwise.
    #[zbus(out_args("id", "object"))]
    async fn standby(
        &self,
        guest: String,
        #[zbus(header)] caller: Header<'_>,
    ) -> Result<(String, OwnedObjectPath), BusError> {
        let request = Request::new(api::StandbyGuestRequest {
            guest: guest.clone(),
            ..Default::default()
        });
        let desk = GuestDesk(self.coordinator.clone());
        let work = async {
            let begun = desk.standby_guest(request).await?;
            self.begun(begun.into_inner().operation).await
        };
        self.change((&caller, Action::Steer), &[("guest", &guest)], work)
            .await
    }

    /// Gives a guest that is on its standby a VF.
    #[zbus(out_args("id", "object"))]
    async fn accelerate(
        &self,
        guest: String,
        #[zbus(header)] caller: Header<'_>,
    ) -> Result<(String, OwnedObjectPath), BusError> {
        let request = Request::new(api::AccelerateGuestRequest { guest: guest.clone() });
        let desk = GuestDesk(self.coordinator.clone());
        let work = async {
            let begun = desk.accelerate_guest(request).await?;
            self.begun(begun.into_inner().operation).await
        };
        self.change((&caller, Action::Steer), &[("guest", &guest)], work)
            .await
    }

    /// An operation began, or was found at work; it has an object now.
    #[zbus(signal)]
    async fn migration_added(
        emitter: &SignalEmitter<'_>,
        id: &str,
        object: &ObjectPath<'_>,
    ) -> zbus::Result<()>;

    /// It has ended; `outcome` as the property has it. The object stays for a while.
    #[zbus(signal)]
    async fn migration_ended(
        emitter: &SignalEmitter<'_>,
        id: &str,
        object: &ObjectPath<'_>,
        outcome: &str,
    ) -> zbus::Result<()>;

    /// The object of one that ended is no more; GetMigration still knows it.
    #[zbus(signal)]
    async fn migration_removed(
        emitter: &SignalEmitter<'_>,
        id: &str,
        object: &ObjectPath<'_>,
    ) -> zbus::Result<()>;
}
