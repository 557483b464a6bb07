//! The source's work: reserve, fail over, unplug, release, follow, unreserve.

use std::{sync::Arc, time::Duration};

use godwit_coordinator::{retry::Policy, words};
use godwit_migration::{Cause, Course, Event, Report, State};
use tokio::time::Instant;

use super::{Shared, Work, attempt::Attempt, cause};
use crate::model::{Domain, GuestId, HostId, Nic, Port};

/// How long a guest takes to let a VF go, milliseconds.
const LETS_GO: u64 = 600;
/// How often who waits for room asks for it.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// A removal wakes who waits for it; this often it is looked for all the same.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

impl Attempt<'_> {
    pub(super) async fn reserve(&self) -> Work<Report> {
        self.step("look", 5, |_| Ok(())).await?;
        let held = self.world.ask_reserve(&self.job).await.map_err(Event::Failed)?;
        // Nobody may get a VF that still has somebody's MAC on it.
        self.step("hear the answer", 2, |model| {
            let there = model
                .hosts
                .iter()
                .position(|host| host.name == self.job.brief.destination);
            for (_, vf) in &held {
                let used = there.and_then(|there| model.hosts[there].macs_of(*vf).first().copied());
                if let Some(mac) = used {
                    model.note(
                        Some(self.guest),
                        format!("VF {vf} is set aside with MAC {mac} on it"),
                    );
                }
            }
            Ok(())
        })
        .await?;
        let vfs: Vec<String> = held.iter().map(|(_, vf)| vf.to_string()).collect();
        let destination = &self.job.brief.destination;
        let detail = match vfs.is_empty() {
            true => format!("{destination} expects the guest, without a VF"),
            false => format!("{destination} holds {}", vfs.join(", ")),
        };
        Ok(Report {
            held,
            ..Report::of(detail)
        })
    }

    /// The guest keeps its VF until the destination has room for it.
    pub(super) async fn queue(&self) -> Work<Report> {
        loop {
            self.look().await?;
            let place = self.world.ask_admit(&self.job).await.map_err(Event::Failed)?;
            self.job.place.send_replace(place);
            if place == 0 {
                return Ok(Report::of("both hosts have room"));
            }
            tokio::time::sleep(self.world.shared.pace.exactly(ASK_AGAIN)).await;
        }
    }

    pub(super) async fn fail_over(&self) -> Work<Report> {
        self.look().await?;
        self.step("write down what the VFs are set to", 5, |model| {
            model.guests[self.guest].record(&self.job.brief.pairs);
            Ok(())
        })
        .await?;
        self.to_standby().await?;
        Ok(Report::of("traffic on the standby, frame after 3 ms"))
    }

    /// Make before break; confirmed at the end. Repeated, it changes nothing. With the confirmation goes the VF's MAC, in less
    /// time than a guest takes to boot, or not at all.
    async fn to_standby(&self) -> Work<()> {
        let (guest, host) = (self.guest, self.host);
        self.accept_both().await?;
        self.copy_on().await?;
        self.each_pair("send by the standby", 30, |model, pair| {
            self.agent(model)?;
            let lies = model.lies(guest);
            if let Some(ports) = model.ports_mut(guest, host).filter(|_| !lies) {
                ports[pair].active = Port::Standby;
            }
            Ok(())
        })
        .await?;
        self.announce().await?;
        self.each_pair("confirm the standby", 40, |model, pair| {
            self.agent(model)?;
            let lies = model.lies(guest);
            model.liars.remove(&guest);
            let sends = model.body(guest, host).map(|body| body.ports[pair].active);
            let says = lies || sends == Some(Port::Standby);
            // By its word, and by what comes out of its standby's end on the host.
            match (says, sends) {
                (true, Some(Port::Standby)) => {
                    model.steer_away(host, guest, pair);
                    Ok(())
                }
                (true, _) => Err(Event::Failed(cause(
                    "FAIL_OVER",
                    "the guest says that its traffic is on the standby, and no frame of it has come by that",
                ))),
                (false, _) => Err(Event::Failed(cause(
                    "FAIL_OVER",
                    "the traffic did not move to the standby",
                ))),
            }
        })
        .await
    }

    pub(super) async fn accept_both(&self) -> Work<()> {
        let (guest, host) = (self.guest, self.host);
        self.each_pair("accept on both", 20, |model, pair| {
            self.agent(model)?;
            if let Some(ports) = model.ports_mut(guest, host) {
                ports[pair].accepts_all = true;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn copy_on(&self) -> Work<()> {
        self.each_pair("copy to the PF", 10, |model, pair| {
            let mac = model.guests[self.guest].pairs[pair].mac;
            model.hosts[self.host].copies.insert(mac);
            Ok(())
        })
        .await
    }

    pub(super) async fn copy_off(&self) -> Work<()> {
        self.each_pair("copy off", 10, |model, pair| {
            let mac = model.guests[self.guest].pairs[pair].mac;
            model.hosts[self.host].copies.remove(&mac);
            Ok(())
        })
        .await
    }

    pub(super) async fn announce(&self) -> Work<()> {
        self.each_pair("announce", 10, |model, pair| {
            self.agent(model)?;
            model.guests[self.guest].pairs[pair].fabric = self.host;
            Ok(())
        })
        .await
    }

    /// A request that may have been made cannot be withdrawn: with one outstanding every failure is a silence.
    pub(super) async fn unplug(&self) -> Work<Report> {
        let perhaps_asked = matches!(self.job.state, State::Rest(..)) || self.job.taken_up;
        self.look().await?;
        if self.has_vf() {
            let mut asked = perhaps_asked;
            match self.ask_unplug(&mut asked).await {
                Err(left @ Event::Left(_)) => return Err(left),
                Err(event) if !asked => return Err(event),
                Ok(()) | Err(_) => {}
            }
            self.await_removal().await?;
        }
        self.clean().await?;
        Ok(Report::of("the VF has left the guest"))
    }

    fn has_vf(&self) -> bool {
        let model = self.world.model();
        let body = model.body(self.guest, self.host);
        body.is_some_and(|body| body.ports.iter().any(|ports| ports.nic != Nic::None))
    }

    /// Asked (again) only of a guest that confirms its standby: it may have been rebooted since.
    async fn ask_unplug(&self, asked: &mut bool) -> Work<()> {
        let (guest, host) = (self.guest, self.host);
        self.to_standby().await?;
        for pair in 0..self.job.brief.pairs.len() {
            self.step("ask for the VF", 20, |model| {
                let body = model.body(guest, host);
                let ports = body.map(|body| body.ports[pair]);
                match ports.filter(|ports| ports.nic != Nic::None) {
                    None => return Ok(()),
                    // It rebooted in this very moment.
                    Some(ports) if ports.active == Port::Vf => {
                        return Err(self.failed("its standby is not confirmed"));
                    }
                    Some(_) => {}
                }
                *asked = true;
                if model.ask_unplug(host, guest, pair) {
                    tokio::spawn(answers(Arc::clone(&self.world.shared), guest, host, pair));
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn await_removal(&self) -> Work<()> {
        let end = Instant::now() + self.job.deadline;
        while self.has_vf() {
            if Instant::now() >= end {
                return Err(Event::Silent(self.silence()));
            }
            let pause = self
                .world
                .shared
                .pace
                .exactly(LOOK_AGAIN)
                .min(end - Instant::now());
            self.world.shared.wait(self.guest, pause).await;
        }
        let model = self.world.model();
        match model.body(self.guest, self.host).map(|body| body.domain) {
            None | Some(Domain::ShutOff) => Err(self.left(&model)),
            _ => Ok(()),
        }
    }

    fn silence(&self) -> Cause {
        let (guest, seconds) = (&self.job.brief.guest.name, self.job.deadline.as_secs());
        let mut cause = cause(
            "UNPLUG_PENDING",
            format!(
                "unplug pending: guest `{guest}` was asked for its VF and has not answered in {seconds} s; its traffic is on the standby"
            ),
        );
        cause.hint = format!("in {guest}: see who holds the VF; a reboot of the guest completes the unplug");
        cause
    }

    async fn clean(&self) -> Work<()> {
        let (guest, host) = (self.guest, self.host);
        self.each_pair("clean the VF", 20, |model, pair| {
            let has = model
                .body(guest, host)
                .is_some_and(|body| body.ports[pair].nic != Nic::None);
            if has {
                return Err(Event::Failed(cause("RELEASE", "the VF is still in the guest")));
            }
            let Some(vf) = self.job.brief.vf_here(&self.job.brief.pairs[pair]) else {
                return Ok(());
            };
            model.clean(host, vf).map_err(|why| {
                Event::Failed(Cause {
                    causes: vec![why],
                    hint: format!("mend what the cause names; then: `godwit vfs release {vf}`"),
                    ..cause(
                        "RELEASE",
                        format!("VF {vf} could not be cleaned and is quarantined"),
                    )
                })
            })
        })
        .await
    }

    pub(super) async fn release(&self) -> Work<Report> {
        self.world.seen().remove(&self.guest);
        self.clean().await?;
        // One that stays here is on its standby now.
        if !matches!(self.job.state, State::Work(Course::Withdraw, _)) {
            self.copy_off().await?;
        }
        Ok(Report::of("the VF is clean"))
    }

    /// Only watches, to report: the destination finishes by itself.
    pub(super) async fn follow(&self) -> Work<Report> {
        let end = Instant::now() + self.job.deadline;
        let mut pauses = Policy::NEAR.pauses();
        self.step("look", 5, |_| Ok(())).await?;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let record = self.world.ask_arrival(&self.job.brief, left).await;
            let record = record.map_err(Event::Failed)?;
            if record.settled || left.is_zero() {
                let acceleration = Some(words::acceleration_of(&record));
                let detail = format!("{} has told", self.job.brief.destination);
                return Ok(Report {
                    acceleration,
                    spans: words::spans(&record),
                    measured: words::measured(&record).map(Box::new),
                    ..Report::of(detail)
                });
            }
            pauses.wait().await;
        }
    }

    pub(super) async fn unreserve(&self) -> Work<Report> {
        self.step("look", 5, |_| Ok(())).await?;
        match self.world.ask_unreserve(&self.job).await {
            Ok(()) => Ok(Report::of(format!(
                "{} holds nothing",
                self.job.brief.destination
            ))),
            Err(cause) if cause.reason == "HOST_HAS_GUEST" => self.contradicted(cause).await,
            Err(cause) => Err(Event::Failed(cause)),
        }
    }
}

/// The guest lets its VF go, sooner or later.
async fn answers(shared: Arc<Shared>, guest: GuestId, host: HostId, pair: usize) {
    tokio::time::sleep(shared.pace.of(LETS_GO)).await;
    loop {
        let silent = {
            let model = shared.model();
            let guest = &model.guests[guest];
            if !guest
                .at
                .get(&host)
                .is_some_and(|body| body.ports[pair].unplug_pending)
            {
                return;
            }
            guest.silent_until.filter(|until| *until > Instant::now())
        };
        if silent.is_none() {
            break;
        }
        tokio::time::sleep(shared.pace.of(1000)).await;
    }
    shared.deed(guest, "the VF leaves", |model| {
        let pending = model
            .body(guest, host)
            .is_some_and(|body| body.ports[pair].unplug_pending);
        if pending && model.runs(guest, host) {
            model.leave(host, guest, pair);
        }
    });
}

#[cfg(test)]
mod tests;
