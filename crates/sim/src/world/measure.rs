//! The guest's probes, counted by the phases of its migration; what they come to is the packet model's.

use godwit_coordinator::Job;
use godwit_migration::{Brief, Event, Phase, State, measured};

use super::PretendWorld;
use crate::model::{GuestId, Model};

impl PretendWorld {
    /// What the guest's probes count for from now on, while its agent can be told.
    pub(super) fn measure_from(&self, guest: GuestId, job: &Job, phase: Phase) {
        let mut model = self.model();
        if self.measures(&model, guest, &job.brief) && measured::is_counted(job.state) {
            model.probe_from(guest, &job.brief, phase);
        }
    }

    /// With a phase that is done goes what was counted so far.
    pub(super) fn measure_until(&self, guest: GuestId, (brief, state): (&Brief, State), event: &mut Event) {
        let mut model = self.model();
        let over = measured::is_over(brief, state, matches!(event, Event::Done(_)));
        if !self.measures(&model, guest, brief) || !(over || measured::is_counted(state)) {
            return;
        }
        match over {
            true => model.probe_until(guest),
            false => model.pass_time(guest),
        }
        if let Event::Done(report) = event {
            report.measured = model.probed(guest, brief).map(Box::new);
        }
    }

    fn measures(&self, model: &Model, guest: GuestId, brief: &Brief) -> bool {
        brief.probes > 0 && model.runs(guest, self.host) && model.guests[guest].agent
    }
}
