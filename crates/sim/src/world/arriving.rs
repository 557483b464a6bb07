//! Await, plug and fail back: the arrival at the destination and the undo on the source alike.

use std::time::Duration;

use futures_util::future::join_all;
use godwit_migration::{Event, PciAddress, Report};

use super::{Work, attempt::Attempt, cause};
use crate::model::{Domain, Nic, Port};

/// An arrival wakes who waits for it; this often it is looked for all the same.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Attempt<'_> {
    /// Until the guest runs here. One that is shut off after it ran here has come and gone.
    pub(super) async fn arrival(&self) -> Work<Report> {
        let (guest, host, id) = (self.guest, self.host, &self.job.brief.id);
        self.make_ready().await;
        loop {
            let arrived = {
                let model = self.world.model();
                let transfer = model.guests[guest].transfer.as_ref();
                let came =
                    transfer.is_some_and(|transfer| transfer.migration == *id && transfer.events.ran_there);
                match model.body(guest, host).map(|body| body.domain) {
                    Some(Domain::Running) => true,
                    Some(Domain::ShutOff) if came => return Err(self.left(&model)),
                    _ => false,
                }
            };
            if arrived {
                break;
            }
            self.world
                .shared
                .wait(guest, self.world.shared.pace.exactly(LOOK_AGAIN))
                .await;
        }
        self.step("see the guest arrive", 10, |_| Ok(())).await?;
        Ok(Report::of(format!("the guest runs on {}", self.world.name)))
    }

    /// The held VFs get all of their settings but the MAC while the guest is on its way.
    async fn make_ready(&self) {
        let (guest, host, brief) = (self.guest, self.host, &self.job.brief);
        tokio::time::sleep(self.world.shared.pace.of(30)).await;
        self.world.shared.deed(guest, "make the VFs ready", |model| {
            for pair in &brief.pairs {
                if let Some(vf) = brief.vf_here(pair) {
                    model.set_profile(host, vf, pair.profile.unwrap_or_default());
                }
            }
        });
    }

    pub(super) async fn plug(&self) -> Work<Report> {
        let (guest, host) = (self.guest, self.host);
        if let Some(transfer) = self.world.model().guests[guest].transfer.as_mut() {
            transfer.events.seen_there |= transfer.migration == self.job.brief.id;
        }
        self.look().await?;
        self.copy_on().await?;
        let vfs: Vec<Option<PciAddress>> = {
            let brief = &self.job.brief;
            brief.pairs.iter().map(|pair| brief.vf_here(pair)).collect()
        };
        // All have ended before it is said what came of them.
        let attach = vfs.iter().enumerate().filter_map(|(pair, vf)| {
            let vf = (*vf)?;
            Some(async move { (pair, self.attach(pair, vf).await) })
        });
        let (mut there, mut failed) = (Vec::new(), None);
        for (pair, attached) in join_all(attach).await {
            match attached {
                Ok(()) => there.push(pair),
                Err(left @ Event::Left(_)) => return Err(left),
                Err(event) => failed = failed.or(Some(event)),
            }
        }
        self.each_pair("put the MAC on", 20, |model, pair| {
            if let Some(vf) = vfs[pair].filter(|_| there.contains(&pair)) {
                model.steer(host, guest, pair, vf);
            }
            Ok(())
        })
        .await?;
        self.each_pair("driver up", 700, |model, pair| {
            self.agent(model)?;
            let ports = model.ports_mut(guest, host).and_then(|ports| ports.get_mut(pair));
            match ports {
                Some(ports) if ports.nic != Nic::None => ports.nic = Nic::Up,
                _ if !there.contains(&pair) => {}
                _ => return Err(Event::Failed(cause("PLUG", "the VF left again"))),
            }
            Ok(())
        })
        .await?;
        if let Some(failed) = failed {
            // Each pair that has its VF uses it meanwhile.
            self.switch_back(&there).await?;
            return Err(failed);
        }
        let plugged: Vec<String> = vfs
            .iter()
            .flatten()
            .map(|vf| format!("{vf} is plugged"))
            .collect();
        Ok(Report::of(plugged.join("; ")))
    }

    async fn attach(&self, pair: usize, vf: PciAddress) -> Work<()> {
        let (guest, host) = (self.guest, self.host);
        self.step("set the profile", 30, |model| {
            let has = model
                .body(guest, host)
                .is_some_and(|body| body.ports[pair].nic != Nic::None);
            let recorded = model.guests[guest].pairs[pair].recorded;
            let profile = self.job.brief.pairs[pair].profile.or(recorded);
            if !has {
                model.set_profile(host, vf, profile.unwrap_or_default());
            }
            Ok(())
        })
        .await?;
        self.step("attach", 300, |model| {
            if !model.runs(guest, host) {
                return Err(self.left(model));
            }
            let has = model
                .body(guest, host)
                .is_some_and(|body| body.ports[pair].nic != Nic::None);
            if !has {
                model.attach(host, guest, pair, vf);
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn fail_back(&self) -> Work<Report> {
        self.look().await?;
        let back = self.back().await;
        if let Err(Event::Failed(_)) = &back {
            self.world.model().check_rest(self.guest, self.host);
        }
        back?;
        self.copy_off().await?;
        Ok(Report::of("traffic on the VF, frame after 2 ms"))
    }

    async fn back(&self) -> Work<()> {
        let (guest, host) = (self.guest, self.host);
        let all: Vec<usize> = (0..self.job.brief.pairs.len()).collect();
        // Of a fail over that is undone the VF may be without it.
        let steered = self
            .each_pair("put the MAC back", 20, |model, pair| {
                let vf = model.body(guest, host).and_then(|body| body.ports[pair].vf);
                if let Some(vf) = vf {
                    model.steer(host, guest, pair, vf);
                }
                Ok(())
            })
            .await;
        match steered {
            Ok(()) => self.switch_back(&all).await,
            failed => {
                self.steer_away_again(&all);
                failed
            }
        }
    }

    /// A VF that does not get the traffic gets nothing, until it is tried again.
    fn steer_away_again(&self, pairs: &[usize]) {
        let what = "take the MAC off again";
        self.world.shared.deed(self.guest, what, |model| {
            for pair in pairs {
                model.starve(self.host, self.guest, *pair);
            }
        });
    }

    /// These pairs' traffic goes to their VFs.
    async fn switch_back(&self, pairs: &[usize]) -> Work<()> {
        let switched = self.try_switch_back(pairs).await;
        if switched.is_err() {
            self.steer_away_again(pairs);
        }
        switched
    }

    async fn try_switch_back(&self, pairs: &[usize]) -> Work<()> {
        let (guest, host) = (self.guest, self.host);
        self.accept_both().await?;
        self.each_pair("send by the VF", 30, |model, pair| {
            self.agent(model)?;
            let mac = model.guests[guest].pairs[pair].mac;
            let steered = model.hosts[host].switch.get(&mac).copied();
            let ports = model.ports_mut(guest, host).and_then(|ports| ports.get_mut(pair));
            match ports {
                _ if !pairs.contains(&pair) => Ok(()),
                Some(ports) if ports.nic == Nic::Up && ports.vf.is_some() && ports.vf == steered => {
                    ports.active = Port::Vf;
                    Ok(())
                }
                // It was on its standby before, and is put back there.
                _ if self.job.brief.vf_here(&self.job.brief.pairs[pair]).is_none() => Ok(()),
                _ => Err(Event::Failed(cause("FAIL_BACK", "the VF is not up in the guest"))),
            }
        })
        .await?;
        self.announce().await?;
        self.each_pair("accept on one", 1000, |model, pair| {
            self.agent(model)?;
            if let Some(ports) = model.ports_mut(guest, host)
                && pairs.contains(&pair)
            {
                ports[pair].accepts_all = false;
            }
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use godwit_api::v1::{CreateMigrationRequest, migration_service_server::MigrationService};
    use godwit_coordinator::MigrationDesk;
    use godwit_migration::Phase;

    use crate::{
        Layout,
        cluster::{Cluster, Journals},
        faults::{Fault, Kind},
        model::{Model, Nic, Port},
        pace::Pace,
    };

    const BETA: usize = 1;
    /// In a plug, after the look and the copy to the PF.
    const FIRST_ATTACH: u8 = 2;

    async fn until(cluster: &Cluster, what: &str, so: impl Fn(&Model) -> bool) {
        for _ in 0..10_000 {
            if so(&cluster.shared.model()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{what}: {:?}", cluster.shared.model().body(0, BETA));
    }

    /// The pair that has its VF uses it, and the other waits on its standby; then both are on their VFs.
    #[tokio::test(start_paused = true)]
    async fn a_plug_that_fails_keeps_no_other_from_being_plugged() {
        let layout = Layout {
            extras: false,
            pairs: 2,
            ..Layout::new(2, 1)
        };
        let mut model = layout.build();
        model.knobs.set(Fault {
            step: FIRST_ATTACH,
            ..Fault::new(Phase::Plug, Kind::Fail)
        });
        let (cluster, _orders) = Cluster::new(model, Pace::Speed(1.0), &Journals::InMemory, true).unwrap();
        for host in 0..2 {
            cluster.start(host).await.unwrap();
        }
        let alpha = cluster.shared.seat(0).clone().unwrap();
        let request = CreateMigrationRequest {
            guest: "web-1".into(),
            destination: "beta".into(),
            ..CreateMigrationRequest::default()
        };
        let desk = MigrationDesk(alpha.coordinator);
        desk.create_migration(tonic::Request::new(request)).await.unwrap();

        let nics = |model: &Model| {
            let ports = model
                .body(0, BETA)
                .map(|body| body.ports.clone())
                .unwrap_or_default();
            ports
                .iter()
                .map(|ports| (ports.nic, ports.active))
                .collect::<Vec<_>>()
        };
        let half = [(Nic::None, Port::Standby), (Nic::Up, Port::Vf)];
        until(&cluster, "one of two is on its VF", |model| nics(model) == half).await;
        let whole = [(Nic::Up, Port::Vf); 2];
        until(&cluster, "both are on their VFs", |model| nics(model) == whole).await;
        assert_eq!(cluster.shared.model().wrong, [""; 0]);
        cluster.stop();
    }
}
