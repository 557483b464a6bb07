//! What a request is about, for whoever writes down what was asked: the guest, the migration, the VF. Never its whole
//! contents.

use std::sync::{Arc, Mutex, PoisonError};

use godwit_api::{peer::v1 as peer, v1 as api};
use tonic::Request;

/// Words of a request. The server puts an empty one into the request's extensions, the service writes into it, and the
/// server reads it when the request was answered.
#[derive(Clone, Debug, Default)]
pub struct Subject(Arc<Mutex<Vec<(&'static str, String)>>>);

impl Subject {
    /// What was said so far: `("guest", "web-1")`.
    pub fn words(&self) -> Vec<(&'static str, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// That of the request; of one that came without a server, nobody's.
    pub(crate) fn of<T>(request: &Request<T>) -> Subject {
        request.extensions().get::<Subject>().cloned().unwrap_or_default()
    }

    /// One word more. An empty one says nothing.
    pub(crate) fn note(&self, key: &'static str, value: &str) {
        if !value.is_empty() {
            let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            words.push((key, value.to_owned()));
        }
    }
}

/// A request that says what it is about.
pub(crate) trait About {
    /// Its words.
    fn about(&self) -> Vec<(&'static str, &str)>;
}

/// The request's message, after what it is about was noted.
pub(crate) fn asked<T: About>(request: Request<T>) -> T {
    let subject = Subject::of(&request);
    let message = request.into_inner();
    for (key, value) in message.about() {
        subject.note(key, value);
    }
    message
}

macro_rules! about {
    ($($request:ty: $($key:literal $field:ident),*;)*) => {
        $(impl About for $request {
            fn about(&self) -> Vec<(&'static str, &str)> {
                vec![$(($key, self.$field.as_str())),*]
            }
        })*
    };
}

about! {
    api::CreateMigrationRequest: "guest" guest, "destination" destination, "request" request_id;
    api::PlanMigrationRequest: "guest" guest, "destination" destination;
    api::GetMigrationRequest: "migration" id;
    api::ListMigrationsRequest: "guest" guest;
    api::WatchMigrationRequest: "migration" id;
    api::CancelMigrationRequest: "migration" id;
    api::RetryMigrationRequest: "migration" id;
    api::AdoptGuestRequest: "guest" guest;
    api::StandbyGuestRequest: "guest" guest;
    api::AccelerateGuestRequest: "guest" guest;
    api::StandbyPfRequest: "pf" pf;
    api::AcceleratePfRequest: "pf" pf;
    api::QuarantineVfRequest: "vf" vf, "because" because;
    api::ReleaseVfRequest: "vf" vf;
    api::CheckVfsRequest: "vf" vf;
    api::CleanVfRequest: "vf" vf;
    api::DoctorRequest: "guest" guest;
    peer::ReserveRequest: "migration" migration_id, "guest" guest, "uuid" guest_uuid;
    peer::AdmitRequest: "migration" migration_id;
    peer::UnreserveRequest: "migration" migration_id, "uuid" guest_uuid;
    peer::ArrivalRequest: "migration" migration_id;
}

impl About for api::ResolveMigrationRequest {
    fn about(&self) -> Vec<(&'static str, &str)> {
        let force = if self.force { "yes" } else { "" };
        vec![
            ("migration", &self.id),
            ("runs-on", &self.runs_on),
            ("force", force),
        ]
    }
}

impl About for peer::LookRequest {
    fn about(&self) -> Vec<(&'static str, &str)> {
        let close = if self.close { "yes" } else { "" };
        vec![
            ("migration", &self.migration_id),
            ("uuid", &self.guest_uuid),
            ("close", close),
        ]
    }
}

impl About for peer::PlanRequest {
    fn about(&self) -> Vec<(&'static str, &str)> {
        self.reserve.as_ref().map(About::about).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_leaves_its_words_with_the_server() {
        let mut request = Request::new(api::CreateMigrationRequest {
            guest: "web-1".into(),
            destination: "beta".into(),
            ..Default::default()
        });
        let subject = Subject::default();
        request.extensions_mut().insert(subject.clone());
        let message = asked(request);
        assert_eq!(message.guest, "web-1");
        subject.note("migration", "01a20918");
        let words = [
            ("guest", "web-1"),
            ("destination", "beta"),
            ("migration", "01a20918"),
        ];
        assert_eq!(subject.words(), words.map(|(key, value)| (key, value.to_owned())));
    }
}
