//! Who may ask for a change: polkit says. Without polkit root may, and nobody else.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Semaphore;
use zbus::{
    Connection, Variant, fdo,
    message::{Flags, Header},
    names::{BusName, UniqueName},
};

use super::{ANSWER, error::BusError};

/// A person who is asked for a password by polkit's agent may take so long.
const PERSON: Duration = Duration::from_secs(120);

/// So many callers are looked at by polkit at once.
const MOST_CHECKS: usize = 32;

/// `AllowUserInteraction` of polkit's `CheckAuthorizationFlags`.
const INTERACTIVE: u32 = 1;

const POLKIT: &str = "org.freedesktop.PolicyKit1";
const POLKIT_PATH: &str = "/org/freedesktop/PolicyKit1/Authority";
const POLKIT_AUTHORITY: &str = "org.freedesktop.PolicyKit1.Authority";

/// Answers of the bus that mean: nobody has that name, and nobody can be started for it.
const NOBODY: [&str; 4] = [
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.systemd1.NoSuchUnit",
    "org.freedesktop.systemd1.UnitMasked",
];

/// What may be asked for, as polkit knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Begin a migration.
    Migrate,
    /// Cancel one.
    Cancel,
    /// Put a guest on its standby, or accelerate it.
    Steer,
}

impl Action {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Action; 3] = [Action::Migrate, Action::Cancel, Action::Steer];

    /// As in `org.godwit.policy`.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Action::Migrate => "org.godwit.migrate",
            Action::Cancel => "org.godwit.cancel",
            Action::Steer => "org.godwit.steer",
        }
    }
}

/// polkit's answer.
enum Answer {
    Yes,
    /// After a password it might be yes.
    AfterPassword,
    No,
    /// Nobody answers to polkit's name.
    Absent,
}

/// Asks polkit.
pub(crate) struct Authority {
    /// Not owned: the connection owns who has this.
    connection: Weak<Connection>,
    checks: Semaphore,
    count: AtomicU64,
}

impl Authority {
    pub(crate) fn new(connection: &Arc<Connection>) -> Authority {
        Authority {
            connection: Arc::downgrade(connection),
            checks: Semaphore::new(MOST_CHECKS),
            count: AtomicU64::new(0),
        }
    }

    /// Whether the caller may.
    ///
    /// # Errors
    /// It may not, or nobody said so in time.
    pub(crate) async fn check(&self, caller: &Header<'_>, action: Action) -> Result<(), BusError> {
        let denied = |why: String| Err(BusError::Denied(format!("{} is not allowed: {why}", action.id())));
        let Ok(_permit) = self.checks.try_acquire() else {
            return Err(BusError::Busy("too many callers are being authorised: try again"));
        };
        let (Some(connection), Some(sender)) = (self.connection.upgrade(), caller.sender()) else {
            return denied("the caller has no name on the bus".into());
        };
        let interactive = caller.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
        let patience = if interactive { PERSON } else { ANSWER };
        let cancellation = format!("godwit-{}", self.count.fetch_add(1, Ordering::Relaxed));
        let asked = ask(&connection, sender, action, (interactive, &cancellation));
        match tokio::time::timeout(patience, asked).await {
            Ok(Ok(Answer::Yes)) => Ok(()),
            Ok(Ok(Answer::No)) => denied("polkit refuses it".into()),
            Ok(Ok(Answer::AfterPassword)) => denied(
                "polkit wants a password, and the caller did not allow that anybody is asked for one".into(),
            ),
            Ok(Ok(Answer::Absent)) if user(&connection, sender).await == Some(0) => Ok(()),
            Ok(Ok(Answer::Absent)) => denied("polkit does not run here, and without it only root may".into()),
            Ok(Err(error)) => denied(format!("polkit does not decide ({error})")),
            Err(_) => {
                withdraw(&connection, &cancellation).await;
                denied(format!("polkit did not answer within {} s", patience.as_secs()))
            }
        }
    }
}

impl Authority {
    /// Who the caller is, for whoever reads of it later.
    pub(crate) async fn who(&self, caller: &Header<'_>) -> String {
        let known = async {
            let connection = self.connection.upgrade()?;
            user(&connection, caller.sender()?).await
        };
        known
            .await
            .map_or_else(|| "nobody known".into(), |uid| format!("uid {uid}"))
    }
}

async fn ask(
    connection: &Connection,
    sender: &UniqueName<'_>,
    action: Action,
    (interactive, cancellation): (bool, &str),
) -> zbus::Result<Answer> {
    let name = HashMap::from([("name", Variant::from(sender.as_str()))]);
    let subject = ("system-bus-name", name);
    let details: HashMap<&str, &str> = HashMap::new();
    let flags = if interactive { INTERACTIVE } else { 0 };
    let question = (subject, action.id(), details, flags, cancellation);
    let interface = Some(POLKIT_AUTHORITY);
    let answer = connection
        .call_method(
            Some(POLKIT),
            POLKIT_PATH,
            interface,
            "CheckAuthorization",
            &question,
        )
        .await;
    let reply = match answer {
        Err(error) if is_nobody(&error) => return Ok(Answer::Absent),
        answer => answer?,
    };
    let body = reply.body();
    let (yes, challenge, _): (bool, bool, HashMap<String, String>) = body.deserialize()?;
    Ok(match (yes, challenge) {
        (true, _) => Answer::Yes,
        (false, true) => Answer::AfterPassword,
        (false, false) => Answer::No,
    })
}

/// polkit need not go on; whatever comes of that.
async fn withdraw(connection: &Connection, cancellation: &str) {
    let interface = Some(POLKIT_AUTHORITY);
    let told = connection.call_method(
        Some(POLKIT),
        POLKIT_PATH,
        interface,
        "CancelCheckAuthorization",
        &cancellation,
    );
    let _ = tokio::time::timeout(Duration::from_millis(200), told).await;
}

/// Nobody has the name that was called.
pub(super) fn is_nobody(error: &zbus::Error) -> bool {
    let name = match error {
        zbus::Error::FDO(error) => zbus::DBusError::name(&**error).to_string(),
        zbus::Error::MethodError(name, _, _) => name.to_string(),
        _ => return false,
    };
    NOBODY.contains(&name.as_str()) || name.starts_with("org.freedesktop.DBus.Error.Spawn.")
}

/// Whose process it is, by the bus's own word; none if that does not come in time.
async fn user(connection: &Connection, sender: &UniqueName<'_>) -> Option<u32> {
    let asked = async {
        let bus = fdo::DBusProxy::new(connection).await?;
        bus.get_connection_unix_user(BusName::from(sender.clone())).await
    };
    tokio::time::timeout(ANSWER, asked).await.ok()?.ok()
}
