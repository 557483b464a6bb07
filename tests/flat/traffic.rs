//! A thousand datagrams a second each way while something is done, and what each step of it lost.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use godwit_rig::clock::now;
use godwit_rig::flat::Flat;
use godwit_rig::losses::{Loss, by_phase};
use godwit_rig::prober::Prober;
use godwit_rig::timeline::Span;

/// Datagrams a second, each way.
const RATE: u32 = 1000;
/// Around every step, so that what it loses late is told apart from the next one's.
const QUIET: Duration = Duration::from_millis(700);

/// Traffic that flows.
pub(crate) struct Traffic {
    prober: Prober,
    steps: Vec<Span>,
}

impl Traffic {
    pub(crate) fn start(flat: &Flat) -> Result<Traffic> {
        let prober = Prober::start(&flat.place, &flat.probe, RATE)?;
        sleep(QUIET);
        Ok(Traffic {
            prober,
            steps: Vec::new(),
        })
    }

    /// Does it, and counts until some time after it: a step's losses are its own and its consequences'.
    pub(crate) fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.step_then(name, QUIET, work)
    }

    /// The same with another time after it.
    pub(crate) fn step_then<T>(
        &mut self,
        name: &str,
        quiet: Duration,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let from = now();
        let done = work()?;
        sleep(quiet);
        self.steps.push(Span {
            host: "flat".into(),
            name: name.into(),
            from,
            to: now(),
        });
        Ok(done)
    }

    /// Ends it and tells what was lost, step by step. In none of them may anything be; and there must have been something to
    /// lose.
    pub(crate) fn loses_nothing(self, flat: &Flat) -> Result<()> {
        let record = self.prober.stop(&flat.place)?;
        let losses = by_phase(&record, &self.steps);
        let mut told: Vec<(&str, Loss)> = Vec::new();
        for Span { name, .. } in &self.steps {
            if told.iter().any(|(known, _)| known == name) {
                continue;
            }
            let loss = losses.get(name).copied().unwrap_or_default();
            let Loss { to_guest, from_guest } = loss;
            println!(
                "  {name:<24} lost {:>4} of {:>6} to the guest, {:>4} of {:>6} from it",
                to_guest.1, to_guest.0, from_guest.1, from_guest.0
            );
            told.push((name, loss));
        }
        told.into_iter().try_for_each(|(step, loss)| lossless(step, loss))
    }
}

fn lossless(step: &str, loss: Loss) -> Result<()> {
    ensure!(
        loss.to_guest.0 > 100 && loss.from_guest.0 > 100,
        "too little traffic at {step}: {loss:?}"
    );
    ensure!(
        (loss.to_guest.1, loss.from_guest.1) == (0, 0),
        "lost at {step}: {loss:?}"
    );
    Ok(())
}
