//! A bus of its own with what systems have on theirs, and pretend hosts beside it.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use godwit_server::{Audit, audit::Keep};
use godwit_sim::{
    Layout,
    serve::{Options, Sim},
};
use tempfile::TempDir;
use zbus::{
    Address, Connection, MatchRule, Message, MessageStream, OwnedVariant, Variant, connection::Builder,
    fdo::DBusProxy, message::Type,
};

use crate::bus::{NAME, PATH, serve};

/// Nothing here takes longer.
pub(super) const LONG: Duration = Duration::from_secs(30);

/// The packages without which nothing here can be tested.
const PACKAGES: &str = "the tests of D-Bus need root and the packages dbus, python3-dbusmock and util-linux: \
     `cargo xtask test` installs them";

/// What a system's bus says of everybody, with the file that is installed for Godwit.
const CONFIG: &str = r#"<busconfig>
  <type>system</type>
  <listen>unix:path=BUS</listen>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
    <allow own="org.freedesktop.login1"/>
    <allow send_destination="org.freedesktop.login1"/>
    <allow own="org.freedesktop.PolicyKit1"/>
    <allow send_destination="org.freedesktop.PolicyKit1"/>
  </policy>
  <include>SHIPPED</include>
</busconfig>
"#;

/// A process of the test's, ended with it.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) struct Place {
    mocks: Vec<Process>,
    bus: Option<Process>,
    pub(super) sim: Sim,
    directory: TempDir,
    /// The daemons write down what only looks, too.
    pub(super) looks: bool,
}

/// Two hosts with one guest each; `speed` as of the simulator.
pub(super) async fn place(speed: f64) -> Place {
    // Others than root are to reach the bus.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let options = Options {
        layout: Layout::new(2, 1),
        speed,
        faults: Vec::new(),
        ills: Vec::new(),
        sockets: directory.path().join("sockets"),
        state: None,
        network: None,
    };
    Place {
        mocks: Vec::new(),
        bus: None,
        sim: Sim::start(options).await.unwrap(),
        directory,
        looks: false,
    }
}

impl Place {
    fn socket(&self) -> PathBuf {
        self.directory.path().join("bus")
    }

    pub(super) fn address(&self) -> Address {
        format!("unix:path={}", self.socket().display()).parse().unwrap()
    }

    /// A bus that answers.
    pub(super) async fn start_bus(&mut self) {
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/dbus/org.godwit.Daemon1.conf");
        let socket = self.socket();
        let config = CONFIG
            .replace("BUS", &socket.display().to_string())
            .replace("SHIPPED", shipped);
        let file = self.directory.path().join("bus.conf");
        fs::write(&file, config).unwrap();
        let _ = fs::remove_file(&socket);
        let mut daemon = Command::new("dbus-daemon");
        daemon
            .arg(format!("--config-file={}", file.display()))
            .args(["--nofork", "--nopidfile"]);
        self.bus = Some(spawn(&mut daemon));
        let listens = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
        until("the bus listens", async || listens()).await;
    }

    /// The bus ends, and all who were on it.
    pub(super) fn stop_bus(&mut self) {
        self.bus = None;
        self.mocks.clear();
    }

    /// dbusmock's logind or polkit.
    pub(super) async fn mock(&mut self, template: &str, name: &str) {
        let mut mock = Command::new("/usr/bin/python3");
        mock.args(["-m", "dbusmock", "--system", "--template", template])
            .env("DBUS_SYSTEM_BUS_ADDRESS", self.address().to_string());
        self.mocks.push(spawn(&mut mock));
        let client = self.client().await;
        until(PACKAGES, async || client.is_there(name).await).await;
    }

    fn audit(&self) -> PathBuf {
        self.directory.path().join("audit.jsonl")
    }

    /// What the daemons wrote down of who asked for what; each line comes a moment after its answer.
    pub(super) async fn audited(&self, count: usize) -> Vec<String> {
        let lines = || -> Vec<String> {
            let text = fs::read_to_string(self.audit()).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        };
        until("they are written down", async || lines().len() >= count).await;
        let lines = lines();
        assert_eq!(lines.len(), count, "{lines:?}");
        lines
    }

    /// What the daemon of a host does.
    pub(super) fn serve(&self, host: usize) -> tokio::task::JoinHandle<()> {
        let coordinator = self.sim.coordinator(host).unwrap();
        let audit = Audit::to_file(Keep {
            file: self.audit(),
            most: 1_000_000,
            kept: 1,
        });
        let audit = audit.unwrap().with_looks(self.looks);
        tokio::spawn(serve(coordinator, audit, Some(self.address())))
    }

    /// A bus with logind and polkit (which allows everything), and the first host's daemon on it.
    pub(super) async fn all(&mut self) -> Client {
        self.start_bus().await;
        self.mock("logind", "org.freedesktop.login1").await;
        self.mock("polkitd", "org.freedesktop.PolicyKit1").await;
        self.serve(0);
        let client = self.client().await;
        client.polkit("AllowUnknown", &true).await;
        until("the daemon is on the bus", async || client.is_there(NAME).await).await;
        client
    }

    pub(super) async fn client(&self) -> Client {
        let builder = Builder::address(self.address()).method_timeout(LONG);
        Client(builder.build().await.unwrap())
    }

    /// As somebody who is not root: what they get on stdout, or on stderr.
    pub(super) fn nobody(&self, method: &str, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "dbus-send"])
            .arg(format!("--bus={}", self.address()))
            .args(["--print-reply", &format!("--dest={NAME}"), PATH, method])
            .args(arguments)
            .output()
            .expect(PACKAGES);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }
}

fn spawn(command: &mut Command) -> Process {
    let command = command.stdout(Stdio::null()).stdin(Stdio::null());
    Process(command.spawn().expect(PACKAGES))
}

/// Waits for it; what did not come is told.
pub(super) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < LONG, "not within {LONG:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What an error of the bus is: its name, and its text.
pub(super) type Told = (String, String);

/// Somebody else on the bus.
pub(super) struct Client(pub(super) Connection);

impl Client {
    pub(super) async fn is_there(&self, name: &str) -> bool {
        let bus = DBusProxy::new(&self.0).await.unwrap();
        bus.name_has_owner(name.try_into().unwrap())
            .await
            .unwrap_or(false)
    }

    async fn call<B>(
        &self,
        (to, path, interface): (&str, &str, &str),
        method: &str,
        body: &B,
    ) -> Result<Message, Told>
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let answer = self
            .0
            .call_method(Some(to), path, Some(interface), method, body)
            .await;
        answer.map_err(|error| match error {
            zbus::Error::MethodError(name, text, _) => (name.to_string(), text.unwrap_or_default()),
            zbus::Error::FDO(error) => {
                let name = zbus::DBusError::name(&*error).to_string();
                let text = zbus::DBusError::description(&*error).unwrap_or_default();
                (name, text.to_owned())
            }
            error => panic!("{error}"),
        })
    }

    /// One of the manager's methods.
    pub(super) async fn godwit<B>(&self, method: &str, body: &B) -> Result<Message, Told>
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        self.call((NAME, PATH, "org.godwit.Daemon1"), method, body).await
    }

    /// Migrates `web-1` to beta: its id.
    pub(super) async fn migrate(&self) -> Result<String, Told> {
        let options: HashMap<&str, Variant<'_>> = HashMap::new();
        let answer = self.godwit("Migrate", &("web-1", "beta", options)).await?;
        let (id, path): (String, zbus::OwnedObjectPath) = answer.body().deserialize().unwrap();
        assert_eq!(path, crate::bus::objects::path(&id));
        Ok(id)
    }

    pub(super) async fn properties(&self, id: &str) -> HashMap<String, OwnedVariant> {
        let answer = self.godwit("GetMigration", &id).await.unwrap();
        answer.body().deserialize().unwrap()
    }

    pub(super) async fn text(&self, id: &str, property: &str) -> String {
        let mut all = self.properties(id).await;
        String::try_from(all.remove(property).unwrap()).unwrap()
    }

    /// Tells the pretend polkit something.
    pub(super) async fn polkit<B>(&self, method: &str, body: &B)
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let path = "/org/freedesktop/PolicyKit1/Authority";
        let mock = ("org.freedesktop.PolicyKit1", path, "org.freedesktop.DBus.Mock");
        self.call(mock, method, body).await.unwrap();
    }

    /// What keeps the host awake: mode and reason.
    pub(super) async fn inhibitors(&self) -> Vec<(String, String)> {
        type Listed = (String, String, String, String, u32, u32);
        let interface = "org.freedesktop.login1.Manager";
        let logind = ("org.freedesktop.login1", "/org/freedesktop/login1", interface);
        let answer = self.call(logind, "ListInhibitors", &()).await.unwrap();
        let listed: Vec<Listed> = answer.body().deserialize().unwrap();
        let one = |(what, who, why, mode, ..): Listed| {
            assert_eq!((what.as_str(), who.as_str()), ("shutdown:sleep", "Godwit"));
            (mode, why)
        };
        listed.into_iter().map(one).collect()
    }

    /// logind says that the host is about to shut down, or is not any more.
    pub(super) async fn prepare_for_shutdown(&self, start: bool) {
        let path = "/org/freedesktop/login1";
        let mock = ("org.freedesktop.login1", path, "org.freedesktop.DBus.Mock");
        let arguments = vec![Variant::from(start)];
        let signal = (
            "org.freedesktop.login1.Manager",
            "PrepareForShutdown",
            "b",
            arguments,
        );
        self.call(mock, "EmitSignal", &signal).await.unwrap();
    }

    /// All that the daemon tells from now on.
    pub(super) async fn listen(&self) -> MessageStream {
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(NAME)
            .path_namespace(PATH)
            .build()
            .unwrap();
        let room = std::num::NonZeroUsize::new(4096);
        MessageStream::for_match_rule(rule, &self.0, room).await.unwrap()
    }
}
