//! The hosts' clocks against this machine's.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::{Host, Place, host, ssh};

/// Seconds since 1970 by this machine's clock.
pub fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// Sets the host's clock to this machine's.
pub fn set(place: &Place, host: Host) -> Result<()> {
    let offset = offset(place, host)?;
    let correct =
        format!("date -s \"@$(awk \"BEGIN{{printf \\\"%.6f\\\", $EPOCHREALTIME - ({offset:.6})}}\")\"");
    ssh::run(place, host, &format!("{correct} >/dev/null"))
}

/// Minutes away from this machine's: the emulation has lost its measure (seen once, half an hour gained in a few minutes), and every
/// deadline on that host is over at once. It was right when the host was switched on.
pub fn ran_away(place: &Place, host: Host) -> bool {
    offset(place, host).is_ok_and(is_away)
}

/// The host's kernel says that its timers do not come any more: the emulation has lost an interrupt. Whoever sleeps in that kernel, as
/// a reset of a VF does, sleeps for ever; whoever does not answers as ever.
pub fn lost_timers(place: &Place, host: Host) -> bool {
    let console = std::fs::read(host::console(place, host)).unwrap_or_default();
    says_so(&String::from_utf8_lossy(&console))
}

/// Linux's `rcu_check_gp_kthread_expired_fqs_timer()`.
fn says_so(console: &str) -> bool {
    console.contains("kthread timer wakeup didn't happen")
}

fn is_away(seconds: f64) -> bool {
    seconds.abs() > 120.0
}

/// That of each host, by its name.
pub fn offsets(place: &Place) -> Result<HashMap<&'static str, f64>> {
    let of = |host: Host| Ok((host.name(), offset(place, host)?));
    Host::ALL.into_iter().map(of).collect()
}

/// How many seconds the host's clock is ahead of this machine's; good to some ten milliseconds.
pub fn offset(place: &Place, host: Host) -> Result<f64> {
    // One shell that answers from its own memory: starting a program there would take longer than the answer.
    let mut child = ssh::command(place, host, "while read -r line; do echo $EPOCHREALTIME; done")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("no input")?;
    let mut answers = BufReader::new(child.stdout.take().context("no output")?).lines();
    let mut best = (f64::INFINITY, 0.0);
    for _ in 0..10 {
        let before = now();
        input.write_all(b"\n")?;
        let line = answers.next().context("the host's clock did not answer")??;
        let after = now();
        let there: f64 = line.trim().parse().context("the host's clock")?;
        // The quicker the answer, the less can be wrong with it.
        if after - before < best.0 {
            best = (after - before, there - f64::midpoint(before, after));
        }
    }
    drop(input);
    child.wait()?;
    Ok(best.1)
}

#[cfg(test)]
mod tests {
    use super::{is_away, says_so};

    #[test]
    fn timers_that_stand_still_are_told_from_a_host_that_is_slow() {
        let stands = "[  262.018731] rcu: rcu_preempt kthread timer wakeup didn't happen for 5252 jiffies! g16417 f0x0";
        let slow = "[  262.020249] rcu: rcu_preempt kthread starved for 5253 jiffies! g16417 f0x0 RCU_GP_WAIT_FQS(5)";
        assert!(says_so(stands) && !says_so(slow));
    }

    #[test]
    fn a_clock_may_drift_and_not_run() {
        assert!(!is_away(-30.0) && !is_away(30.0));
        assert!(is_away(1_700.0) && is_away(-1_700.0));
    }
}
