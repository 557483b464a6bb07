//! Clients that are not ours against `godwit-sim`: the examples of `docs/examples`, and what people look at a gRPC service with.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use godwit_rig::command::{command, wait_for};

use crate::steps::{Steps, run};
use crate::tools;

/// Seconds that any of these programs may take.
const LIMIT: &str = "300";

/// Packages of the Go example, by Debian.
const GO: [&str; 7] = [
    "golang-go",
    "golang-google-genproto-dev",
    "golang-google-grpc-dev",
    "golang-google-protobuf-dev",
    "protobuf-compiler",
    "protoc-gen-go",
    "protoc-gen-go-grpc",
];

/// A simulator with a guest on alpha, which listens at its socket and for TLS; it ends with this.
struct Sim {
    process: Child,
    directory: PathBuf,
}

impl Sim {
    fn start(steps: &Steps) -> Result<Sim> {
        let directory = target(steps).join("clients");
        // What an earlier run left.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        let mut certs = limited(&target(steps).join("debug/godwit"));
        certs
            .args(["certs", "init", "--host", "alpha", "--host", "beta"])
            .args(["--operator", "me", "--dir"]);
        run(certs.arg(directory.join("ca")))?;
        let mut sim = Command::new(target(steps).join("debug/godwit-sim"));
        sim.args(["--plain", "--speed", "10", "--guests", "3", "--sockets"])
            .arg(directory.join("sockets"))
            .args(["--listen", "127.0.0.1:0", "--tls-dir"])
            .arg(directory.join("ca"));
        let log = fs::File::create(directory.join("godwit-sim.log"))?;
        sim.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let sim = Sim {
            process: sim.spawn().with_context(|| format!("cannot run {sim:?}"))?,
            directory,
        };
        wait_for("godwit-sim's socket", std::time::Duration::from_secs(60), || {
            Ok(UnixStream::connect(sim.socket()).ok().map(drop))
        })?;
        Ok(sim)
    }

    /// Alpha's.
    fn socket(&self) -> PathBuf {
        self.directory.join("sockets/alpha.sock")
    }

    fn target(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// Where alpha listens for TLS, as it says.
    fn address(&self) -> Result<String> {
        let log = self.directory.join("godwit-sim.log");
        let said = || {
            let log = fs::read_to_string(&log)?;
            let line = log
                .lines()
                .find_map(|line| line.strip_prefix("alpha listens at "));
            Ok(line.and_then(|line| Some(line.split_once(',')?.0.to_owned())))
        };
        wait_for("godwit-sim's address", std::time::Duration::from_secs(60), said)
    }

    /// Options of the examples: the operator's keys. Each begins with so many dashes.
    fn keys(&self, dashes: &str) -> Vec<String> {
        let ca = self.directory.join("ca");
        let file =
            |option: &str, name: &str| [format!("{dashes}{option}"), ca.join(name).display().to_string()];
        [
            file("ca", "ca.pem"),
            file("certificate", "me.pem"),
            file("key", "me.key"),
            [format!("{dashes}server-name"), "alpha".to_owned()],
        ]
        .concat()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // Nothing to end, or nobody to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn target(steps: &Steps) -> PathBuf {
    let elsewhere = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    elsewhere.unwrap_or_else(|| steps.rig.place.checkout.join("target"))
}

fn limited(program: &Path) -> Command {
    let mut command = command("timeout", [LIMIT]);
    command.arg(program);
    command
}

/// The Python examples, and `buf curl`. Before it godwit and godwit-sim have been built.
pub(crate) fn python(steps: &Steps) -> Result<()> {
    let checkout = &steps.rig.place.checkout;
    let (examples, python) = (checkout.join("docs/examples"), python_with_packages(steps)?);
    let sim = Sim::start(steps)?;
    let stubs = sim.directory.join("python");
    fs::create_dir_all(&stubs)?;
    let mut compile = limited(&python);
    compile
        .args(["-m", "grpc_tools.protoc", "-I"])
        .arg(checkout.join("proto"));
    for out in ["--python_out=", "--grpc_python_out="] {
        compile.arg(format!("{out}{}", stubs.display()));
    }
    run(compile.arg("godwit/v1/godwit.proto"))?;
    let example = |file: &str, target: String| {
        let mut example = limited(&python);
        example
            .env("PYTHONPATH", &stubs)
            .arg(examples.join(file))
            .arg(target);
        example
    };
    run(&mut example("look.py", sim.target()))?;
    run(example("move.py", sim.target()).args(["web-1", "beta"]))?;
    refused(example("move.py", sim.target()).args(["nobody", "beta"]))?;
    // By TLS: the other guest of alpha.
    let by_tls = || -> Result<Command> {
        let mut example = example("move.py", sim.address()?);
        example.args(sim.keys("--"));
        Ok(example)
    };
    refused(by_tls()?.args(["nobody", "beta"]))?;
    run(by_tls()?.args(["web-3", "beta"]))?;
    let mut curl = limited(&tools::buf_program(&steps.rig.place)?);
    curl.args([
        "curl",
        "--protocol",
        "grpc",
        "--http2-prior-knowledge",
        "--unix-socket",
    ])
    .arg(sim.socket());
    run(curl.args(["--data", "{}", "http://godwit/godwit.v1.HostService/ListHosts"]))
}

/// The Go example, with Debian's packages alone. Before it godwit and godwit-sim have been built.
pub(crate) fn go(steps: &Steps) -> Result<()> {
    let mut install = command("apt-get", ["-q", "install", "-y", "--no-install-recommends"]);
    run(install.args(GO).env("DEBIAN_FRONTEND", "noninteractive"))?;
    let sim = Sim::start(steps)?;
    let source = sim.directory.join("go/src");
    fs::create_dir_all(&source)?;
    let checkout = &steps.rig.place.checkout;
    let mut compile = limited(Path::new("protoc"));
    compile.arg("-I").arg(checkout.join("proto"));
    for out in ["go", "go-grpc"] {
        compile.arg(format!("--{out}_out={}", source.display()));
        compile.arg(format!("--{out}_opt=Mgodwit/v1/godwit.proto=godwit/v1;godwit"));
    }
    run(compile.arg("godwit/v1/godwit.proto"))?;
    let program = sim.directory.join("move");
    let mut build = limited(Path::new("go"));
    build.env("GO111MODULE", "off").env("GOFLAGS", "");
    build.env("GOCACHE", sim.directory.join("go/cache"));
    build.env(
        "GOPATH",
        format!("{}:/usr/share/gocode", sim.directory.join("go").display()),
    );
    build.args(["build", "-o"]).arg(&program);
    run(build.arg(checkout.join("docs/examples/move.go")))?;
    let example = || {
        let mut example = limited(&program);
        example.arg(sim.target());
        example
    };
    run(example().args(["web-1", "beta"]))?;
    refused(example().args(["nobody", "beta"]))?;
    let mut by_tls = limited(&program);
    by_tls.args(sim.keys("-")).arg(sim.address()?);
    run(by_tls.args(["web-3", "beta"]))
}

/// It ends with exit code 1, and not because it broke.
fn refused(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.code() == Some(1) && told.contains("GUEST_UNKNOWN"),
        "{command:?}: {}: {told}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// A Python of its own, with the packages that the examples name; made once for each list of them.
fn python_with_packages(steps: &Steps) -> Result<PathBuf> {
    let list = steps.rig.place.checkout.join("docs/examples/requirements.txt");
    let wanted = fs::read_to_string(&list)?;
    let place = target(steps).join("examples-python");
    let (python, done) = (place.join("bin/python"), place.join("requirements.txt"));
    if fs::read_to_string(&done).is_ok_and(|made| made == wanted) {
        return Ok(python);
    }
    let made = limited(Path::new("python3"))
        .args(["-m", "venv", "--clear"])
        .arg(&place)
        .status()?;
    if !made.success() {
        // Debian has it in a package of its own.
        let mut install = command(
            "apt-get",
            ["-q", "install", "-y", "--no-install-recommends", "python3-venv"],
        );
        run(install.env("DEBIAN_FRONTEND", "noninteractive"))?;
        run(limited(Path::new("python3"))
            .args(["-m", "venv", "--clear"])
            .arg(&place))?;
    }
    let mut install = limited(&python);
    run(install
        .args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(&list))?;
    fs::write(done, wanted)?;
    Ok(python)
}
