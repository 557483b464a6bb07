//! Without a rig: the coordinator's own time, memory, and a long list of guests, all by `godwit-sim`.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use godwit_rig::{Place, command, say};
use serde_json::{Value, json};

use super::{Aim, Part, median};

/// Migrations in flight at once.
const MANY: usize = 50;
/// Guests in the long list.
const GUESTS: usize = 2000;
/// Hosts of the large world.
const HOSTS: usize = 50;
/// How often a list is asked for.
const TIMES: usize = 21;
const PATIENCE: Duration = Duration::from_secs(60);

/// What the coordinator adds to one migration.
pub(super) fn coordinator(place: &Place, migrations: u32) -> Result<Part> {
    say(format!("{migrations} migrations in the simulator"));
    let disk = place.target();
    let mut bench = Command::new(program(place, "godwit-sim"));
    bench.args(["bench", "--moves", &migrations.to_string(), "--state"]);
    let mut json: Value = serde_json::from_str(&command::output(bench.arg(&disk))?)?;
    let mut kind = Command::new("stat");
    let kind = command::output(kind.args(["--file-system", "--format=%T"]).arg(&disk))?;
    json["file_system"] = kind.trim().into();
    let aim = Aim {
        what: "the coordinator's own time in one migration, both hosts, median",
        measured: json["coordinator"]["median_ms"].as_f64().unwrap_or(f64::NAN),
        most: 20.0,
        unit: "ms",
    };
    let text = times(&json) + &aim.text();
    json["aim"] = aim.json();
    Ok(Part { text, json })
}

fn times(json: &Value) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "\nThe coordinator's own time, {} migrations, journals on {} (* the guest's next step waits for it)",
        json["moves"], json["file_system"],
    );
    let _ = writeln!(
        text,
        "  {:<11} {:<30} {:>9} {:>9} {:>9}",
        "host", "part", "median", "p90", "most"
    );
    let mut line = |host: &str, part: &str, spread: &Value| {
        let ms = |name: &str| format!("{:.2} ms", spread[name].as_f64().unwrap_or(f64::NAN));
        let (median, p90, most) = (ms("median_ms"), ms("p90_ms"), ms("most_ms"));
        let _ = writeln!(text, "  {host:<11} {part:<30} {median:>9} {p90:>9} {most:>9}");
    };
    for row in json["parts"].as_array().into_iter().flatten() {
        let star = if row["on_the_way"] == true { "* " } else { "  " };
        let part = format!("{star}{}", row["part"].as_str().unwrap_or_default());
        line(row["host"].as_str().unwrap_or_default(), &part, &row["spread"]);
    }
    line("both", "all parts", &json["coordinator"]);
    line("both", "* alone", &json["on_the_way"]);
    line("", "one 4 KiB write to this disk", &json["disk_sync"]);
    text
}

/// Resident memory of a process that serves, with nothing, one and many migrations in flight.
pub(super) fn memory(place: &Place) -> Result<Part> {
    say(format!("memory, with up to {MANY} migrations in flight"));
    // Every other guest is on alpha. Their transfers never end.
    let guests = (2 * MANY).to_string();
    let options = [
        "--hosts",
        "2",
        "--guests",
        &guests,
        "--fault",
        "transfer=hang:ever",
    ];
    let sim = Serving::start(place, &options)?;
    let mut figures = Vec::new();
    let mut moving = 0;
    for count in [0, 1, MANY] {
        while moving < count {
            let guest = format!("web-{}", 2 * moving + 1);
            sim.godwit("alpha", &["migrate", &guest, "beta"])?;
            moving += 1;
        }
        command::wait_for("the transfers", PATIENCE, || {
            let list: Value =
                serde_json::from_str(&sim.godwit("alpha", &["--json", "list", "--limit", "100"])?)?;
            let all = list["migrations"].as_array().context("no list")?;
            // How many transfer at once is limited; the others stand in the queue for it.
            let far = |each: &&Value| each["phase"] == "transfer" || each["phase"] == "queue";
            Ok((all.iter().filter(far).count() == count).then_some(()))
        })?;
        figures.push((count, sim.resident_mb()?));
    }
    let aim = |what, index: usize, most| Aim {
        what,
        measured: figures[index].1,
        most,
        unit: "MB",
    };
    let aims = [
        aim("memory of two idle coordinators and their pretend world", 0, 30.0),
        aim("the same with 50 migrations in flight", 2, 60.0),
    ];
    let mut text =
        String::from("\nResident memory of godwit-sim: two hosts' coordinators and the pretend world\n");
    for (count, mb) in &figures {
        let _ = writeln!(text, "  {count:>3} migrations in flight: {mb:>6.1} MB");
    }
    aims.iter().for_each(|aim| text.push_str(&aim.text()));
    let rows: Vec<Value> = figures
        .iter()
        .map(|(count, mb)| json!({"in_flight": count, "resident_mb": mb}))
        .collect();
    let aims: Vec<Value> = aims.iter().map(Aim::json).collect();
    Ok(Part {
        text,
        json: json!({"resident": rows, "aims": aims}),
    })
}

/// A long list of guests, by `godwit guests --json`, the start of that program included.
pub(super) fn guests(place: &Place) -> Result<Part> {
    say(format!("a list of {GUESTS} guests"));
    let count = GUESTS.to_string();
    let one = Serving::start(place, &["--hosts", "1", "--guests", &count])?;
    let on_one = one.list_times(&["alpha".to_owned()])?;
    drop(one);
    let hosts = HOSTS.to_string();
    let many = Serving::start(place, &["--hosts", &hosts, "--guests", &count])?;
    let on_many = many.list_times(&many.hosts(HOSTS)?)?;
    let aim = Aim {
        what: "2,000 guests of one host listed, median",
        measured: on_one,
        most: 100.0,
        unit: "ms",
    };
    let text = format!(
        "\nLists of {GUESTS} guests by `godwit guests --json`, each call a process of its own, median of {TIMES}\n  \
         on one host, one call: {on_one:.1} ms\n  on {HOSTS} hosts, one call each, one after the other: {on_many:.1} ms\n{}",
        aim.text()
    );
    let json = json!({"one_host_ms": on_one, "fifty_hosts_ms": on_many, "aim": aim.json()});
    Ok(Part { text, json })
}

fn program(place: &Place, name: &str) -> PathBuf {
    place.target().join("release").join(name)
}

/// A `godwit-sim` that serves until this is dropped.
struct Serving {
    child: Child,
    sockets: PathBuf,
    godwit: PathBuf,
}

impl Serving {
    /// Pretend times are a twentieth of themselves: deadlines too, which leaves them longer than any disk takes.
    fn start(place: &Place, options: &[&str]) -> Result<Serving> {
        let sockets = std::env::temp_dir().join(format!("godwit-bench-{}", std::process::id()));
        let child = Command::new(program(place, "godwit-sim"))
            .args(["--plain", "--speed", "20", "--sockets"])
            .arg(&sockets)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run godwit-sim")?;
        let godwit = program(place, "godwit");
        let serving = Serving {
            child,
            sockets,
            godwit,
        };
        let serves = || serving.godwit("alpha", &["guests"]).map(Some);
        command::wait_for("the simulator", PATIENCE, serves)?;
        Ok(serving)
    }

    fn godwit(&self, host: &str, words: &[&str]) -> Result<String> {
        let mut godwit = Command::new(&self.godwit);
        godwit
            .arg("--socket")
            .arg(self.sockets.join(format!("{host}.sock")))
            .args(words);
        command::output(&mut godwit)
    }

    /// Megabytes (1,000,000 bytes), by the kernel's VmRSS.
    fn resident_mb(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = line
            .and_then(|line| line.split_whitespace().next())
            .context("no VmRSS")?
            .parse()?;
        Ok(kib * 1024.0 / 1e6)
    }

    /// The names of all hosts, as soon as so many serve.
    fn hosts(&self, count: usize) -> Result<Vec<String>> {
        command::wait_for("the hosts' sockets", PATIENCE, || {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.sockets)? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                names.extend(name.strip_suffix(".sock").map(str::to_owned));
            }
            Ok((names.len() == count).then_some(names))
        })
    }

    /// The median time, in milliseconds, of asking all these hosts for their guests, one after the other.
    fn list_times(&self, hosts: &[String]) -> Result<f64> {
        let mut times = Vec::new();
        for _ in 0..TIMES {
            let begun = Instant::now();
            let mut texts = Vec::new();
            for host in hosts {
                texts.push(self.godwit(host, &["--json", "guests"])?);
            }
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
            let mut found = 0;
            for text in &texts {
                let list: Value = serde_json::from_str(text)?;
                found += list["guests"].as_array().map_or(0, Vec::len);
            }
            ensure!(found == GUESTS, "{found} guests instead of {GUESTS}");
        }
        Ok(median(times))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        // Told, so that it removes its sockets; killed if it does not listen.
        command::succeeds(Command::new("kill").args(["-TERM", &pid]));
        let ended = command::wait_for("the simulator's end", Duration::from_secs(10), || {
            Ok(self.child.try_wait()?)
        });
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = fs::remove_dir_all(&self.sockets);
    }
}
