//! Running programs: no input, and errors that say what was run and what it said.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A command with its arguments, not yet run.
pub fn command<I, S>(program: impl AsRef<OsStr>, arguments: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Runs it to its end and gives what it wrote to standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let output = finish(command)?;
    if !output.status.success() {
        bail!(
            "{}: {}\n{}",
            shown(command),
            output.status,
            last_lines(&output, 20)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs it to its end; an error when it fails.
pub fn run(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Whether it ends well. Neither its words nor its failure matter.
pub fn succeeds(command: &mut Command) -> bool {
    finish(command).is_ok_and(|output| output.status.success())
}

/// Runs it to its end, whatever that is.
pub fn finish(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null());
    command
        .output()
        .with_context(|| format!("cannot run {}", shown(command)))
}

/// Runs it with its output going to the terminal; an error when it fails.
pub fn show(command: &mut Command) -> Result<()> {
    command.stdin(Stdio::null());
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{}: {status}", shown(command));
    }
    Ok(())
}

/// Asks again and again until there is an answer; `what` is named when time is up.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        let answer = ask();
        match answer {
            Ok(Some(found)) => return Ok(found),
            Ok(None) if Instant::now() > end => bail!("{what}: not within {} s", limit.as_secs()),
            Err(error) if Instant::now() > end => {
                return Err(error.context(format!("{what}: not within {} s", limit.as_secs())));
            }
            Ok(None) | Err(_) => sleep(Duration::from_millis(200)),
        }
    }
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    let line = words.join(" ");
    match line.char_indices().nth(300) {
        Some((cut, _)) => format!("{} ...", &line[..cut]),
        None => line,
    }
}

fn last_lines(output: &Output, count: usize) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
