//! What a person may tell an operation that rests: try it now, or which host runs the guest.

use godwit_migration::{Course, Event, Phase, Sighting, State, Verdict};

use super::Coordinator;
use crate::{
    NotNow, Refused, World,
    operation::{Command, View},
};

impl<W: World> Coordinator<W> {
    /// Tries at once what rests.
    pub(crate) async fn retry(&self, id: &str) -> Result<View, Refused> {
        let id = self.get(id).await?.migration.brief.id.clone();
        if self.retry_now(&id).await? {
            return self.get(&id).await;
        }
        let phase = self.at(&id).await?;
        Err(NotNow::NothingRests { id, phase }.into())
    }

    /// Wakes an operation that rests; whether it did.
    pub(super) async fn retry_now(&self, id: &str) -> Result<bool, Refused> {
        self.command(id, |taken| Command::Retry { taken }).await
    }

    /// A person says which host runs the guest.
    pub(crate) async fn resolve(&self, id: &str, runs_on: &str, force: bool) -> Result<View, Refused> {
        let view = self.get(id).await?;
        let brief = &view.migration.brief;
        let id = brief.id.clone();
        if view.migration.state() != State::Rest(Course::Leave, Phase::Locate) {
            let phase = self.at(&id).await?;
            return Err(NotNow::NothingToResolve { id, phase }.into());
        }
        let here = self.0.world.sight(&brief.guest.uuid).await;
        let verdict = if runs_on == brief.source {
            here_by(here)
        } else if runs_on == brief.destination {
            there_by(here, force)
        } else {
            let known = format!("{} or {}", brief.source, brief.destination);
            return Err(Refused::Invalid(format!(
                "--runs-on must be {known}, not `{runs_on}`"
            )));
        };
        let verdict = verdict.map_err(|seen| NotNow::AgainstEvidence {
            id: id.clone(),
            runs_on: runs_on.into(),
            seen,
        })?;
        let forced = if force { ", by force" } else { "" };
        let event = Event::Located {
            verdict,
            detail: format!("a person said that it runs on {runs_on}{forced}"),
        };
        if self.tell(&id, event).await? {
            return self.get(&id).await;
        }
        let phase = self.at(&id).await?;
        Err(NotNow::NothingToResolve { id, phase }.into())
    }

    async fn at(&self, id: &str) -> Result<String, Refused> {
        let view = self.get(id).await?;
        Ok(match view.migration.ended() {
            true => "its end".into(),
            false => view.migration.phase().name().into(),
        })
    }
}

/// It cannot run where libvirt shows no such guest, whoever says so.
fn here_by(here: Sighting) -> Result<Verdict, &'static str> {
    match here {
        Sighting::Running => Ok(Verdict::Here),
        Sighting::Paused => Ok(Verdict::PausedHere),
        Sighting::Absent | Sighting::ShutOff | Sighting::Incoming => Err("libvirt here does not run it"),
        Sighting::Split => Err("only a part of its memory is here: it cannot run here again"),
        Sighting::Unreadable => Err("libvirt here does not answer"),
    }
}

/// A copy that runs here too is suspended first; that is done only by force.
fn there_by(here: Sighting, force: bool) -> Result<Verdict, &'static str> {
    match here {
        Sighting::Running if force => Ok(Verdict::OnBoth),
        Sighting::Running => Err("libvirt here runs it (--force suspends it here)"),
        Sighting::Unreadable if !force => Err("libvirt here does not answer (--force goes on without)"),
        _ => Ok(Verdict::There),
    }
}
