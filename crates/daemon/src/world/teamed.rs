//! Guests whose pairs are libvirt's own (`<teaming>`): in them `net_failover` carries the traffic by the VF while that is there
//! and has a link, and by the standby as soon as it has gone. It cannot be told to do otherwise, so there is no make before
//! break: the VF leaves with the traffic on it. What the emulator's own way lacks is done here: the VF is asked for before the
//! transfer begins and with a deadline, what is for the guest has the way to its standby before, and what came of it is looked
//! at, by an agent if there is one, and else by what this host sees of the standby.
//!
//! One that another tool brings (`Brief::teamed`) comes with its VF: its emulator plugs it in the moment in which it starts here,
//! and there is only to look.

use std::time::Duration;

use godwit_coordinator::Job;
use godwit_migration::{Brief, Event, Pair, PciAddress, Phase, Report, preflight::PairSeen};
use tokio::time::{Instant, sleep};
use tracing::info;
use uuid::Uuid;

use super::{RealWorld, Work, accelerate::plugged, channel_in, facts::sentence, failed, open_channel_of};
use crate::{
    agent,
    cause::{CauseExt, cause},
    libvirt::{XmlOf, edit::teamed::with_vfs_of, xml::DomainDevices},
    vf::Tap,
};

/// An agent that is there answers an inspection at once.
const INSPECT: Duration = Duration::from_secs(3);

/// A guest that has anything to say says it through its standby within this time, or is not waited for.
const HEARD: Duration = Duration::from_secs(2);

/// How often its standby is listened to.
const LISTEN: Duration = Duration::from_millis(50);

/// How often it is looked whether the guest uses its VF, and how long of one that another tool brought.
const LOOK: Duration = Duration::from_millis(500);
const USES: Duration = Duration::from_secs(20);

/// The libvirt alias of the pair's standby, if the pair is one of libvirt's own.
pub(super) fn teamed_with<'a>(devices: &'a DomainDevices, pair: &Pair) -> Option<&'a str> {
    let nic = devices.nics.iter().find(|nic| nic.mac == pair.mac)?;
    nic.alias.as_deref().filter(|_| nic.is_teamed())
}

/// Nothing is begun without an agent, where a pair needs one.
pub(super) fn check_channel(devices: &DomainDevices, brief: &Brief) -> Work<()> {
    let bond = |pair: &Pair| teamed_with(devices, pair).is_none();
    match brief.pairs.iter().any(bond) {
        true => channel_in(devices, brief).map(drop),
        false => Ok(()),
    }
}

/// What is known of a pair in the guest.
#[derive(Debug)]
enum Word {
    /// No agent is there.
    Nobody,
    /// One is there and does not answer, or knows no such pair.
    Unknown(String),
    Seen(PairSeen),
}

impl RealWorld {
    /// The phase's work of a guest that another tool brought, where it is another than that of any guest.
    pub(super) async fn work_teamed(&self, job: &Job, phase: Phase) -> Option<Work<Report>> {
        Some(match phase {
            Phase::Await => self.teamed_arrival(job).await,
            Phase::Plug => self.teamed_plug(job).await,
            Phase::FailBack => self.teamed_used(job).await,
            _ => return None,
        })
    }

    async fn teamed_arrival(&self, job: &Job) -> Work<Report> {
        self.arrived(job).await?;
        Ok(Report {
            figures: self.completed(job).await?,
            ..Report::of(format!("the guest runs on {}", self.host))
        })
    }

    /// The domain has what was held for it. If it came with something else, another hand was in it, and nothing is held any
    /// longer.
    async fn teamed_plug(&self, job: &Job) -> Work<Report> {
        self.await_libvirt(job).await?;
        let devices = self.devices(&job.brief).await?;
        let mut told = Vec::new();
        for pair in &job.brief.pairs {
            let Some(vf) = job.brief.vf_here(pair) else {
                continue;
            };
            if !devices.hostdevs.iter().any(|device| device.host_address == vf) {
                let (guest, host) = (&job.brief.guest.name, &self.host);
                return Err(Event::Left(cause(
                    "GUEST_LEFT",
                    format!("guest `{guest}` runs on {host} without VF {vf}, which was held for it"),
                )));
            }
            told.push(self.teamed_state(pair, vf).await);
        }
        self.correct_persistent(job).await;
        Ok(Report::of(told.join("; ")))
    }

    /// libvirt's XML has the VF also where the emulator could not take it, and no event tells.
    async fn teamed_state(&self, pair: &Pair, vf: PciAddress) -> String {
        match self.vfs.holders(vf).await {
            Ok(holders) if holders.is_empty() => format!(
                "{vf} is in the domain and not open in its emulator: the pair {} is on its standby (its emulator's log \
                 says why)",
                pair.mac
            ),
            _ => format!("{vf} is in the guest"),
        }
    }

    /// For the record alone: nothing could be done.
    async fn teamed_used(&self, job: &Job) -> Work<Report> {
        let end = Instant::now() + job.deadline.min(USES);
        let mut told = Vec::new();
        for pair in job.brief.pairs_here() {
            told.push(match self.teamed_uses(&job.brief, pair, end).await {
                Ok(told) => told,
                Err(Event::Failed(cause)) => cause.message,
                Err(other) => return Err(other),
            });
        }
        Ok(Report::of(told.join("; ")))
    }

    /// Of the stored domain of a guest that Godwit does not manage: libvirt took it over with the VFs of the source. Nobody
    /// else would give it a VF when it is started, so its VFs are those that it has here now.
    pub(super) async fn correct_teamed(&self, brief: &Brief, id: Uuid) -> anyhow::Result<()> {
        if !brief.teamed {
            return Ok(());
        }
        let here = brief.pairs.iter();
        let here: Vec<_> = here
            .filter_map(|pair| Some((pair.mac, brief.vf_here(pair)?)))
            .collect();
        let now = self.libvirt.xml(id, XmlOf::Persistent).await?;
        let right = with_vfs_of(&now, &here)?;
        if right == now {
            return Ok(());
        }
        info!(migration = %brief.id, "the stored domain gets the addresses of this host");
        Ok(self.libvirt.define(right).await?)
    }

    /// Nothing is moved: whether the standby could carry the traffic when the VF leaves.
    pub(super) async fn teamed_ready(&self, devices: &DomainDevices, pair: &Pair) -> Work<String> {
        let tap = self.vfs.tap(pair.mac).await;
        let word = self.word(devices, pair).await;
        let evidence = fit(tap.as_ref(), word).map_err(|what| {
            let message = format!(
                "the standby of pair {} cannot carry its traffic: {what}",
                pair.mac
            );
            Event::Failed(cause("FAIL_OVER", message))
        })?;
        Ok(format!(
            "net_failover goes to its standby when the VF leaves; {evidence}"
        ))
    }

    /// Just before the unplug: the standby carries the traffic, or could.
    pub(super) async fn lets_go(&self, job: &Job, pair: &Pair, devices: &DomainDevices) -> Work<()> {
        match teamed_with(devices, pair) {
            Some(_) => self.teamed_ready(devices, pair).await.map(drop),
            None => self.let_go(job, pair).await,
        }
    }

    /// After its VF has left: the switch gives it nothing more, and what is seen of the guest on its standby. Nothing of a bond,
    /// which was on its standby before. `devices`, `before`: as they were before the unplug.
    pub(super) async fn teamed_left(
        &self,
        job: &Job,
        pair: &Pair,
        devices: &DomainDevices,
        before: Option<Tap>,
    ) -> Work<String> {
        if teamed_with(devices, pair).is_none() {
            return Ok(String::new());
        }
        let kept = self.steer_away(job, pair).await?;
        let heard = match before {
            Some(before) => self.hear(pair, &before).await,
            None => String::new(),
        };
        let word = match self.word(devices, pair).await {
            Word::Seen(PairSeen {
                problem: Some(problem),
                ..
            }) => format!("; its agent says that {problem}"),
            Word::Seen(_) => "; its agent sees that the standby has a link".into(),
            Word::Unknown(why) => format!("; its agent says nothing: {why}"),
            Word::Nobody => String::new(),
        };
        Ok(format!("{kept}{heard}{word}"))
    }

    /// Evidence of this host's own, and the only one of a guest without an agent.
    async fn hear(&self, pair: &Pair, before: &Tap) -> String {
        let begun = Instant::now();
        while begun.elapsed() < HEARD {
            let now = self.vfs.tap(pair.mac).await;
            if now.is_some_and(|now| now.heard > before.heard) {
                let ms = begun.elapsed().as_millis();
                return format!("; {} hears the guest, {ms} ms after", before.name);
            }
            sleep(LISTEN).await;
        }
        let seconds = HEARD.as_secs();
        format!(
            "; {} has heard nothing of the guest in {seconds} s: it may have nothing to say",
            before.name
        )
    }

    /// Until the guest uses its VF: by its agent's word, or, with none, until its emulator has it open.
    pub(super) async fn teamed_uses(&self, brief: &Brief, pair: &Pair, end: Instant) -> Work<String> {
        loop {
            let Some(held) = brief.vf_here(pair) else {
                return Ok(format!("the pair {} stays on its standby", pair.mac));
            };
            let devices = self.devices(brief).await?;
            // As everywhere after a plug: what the domain has, which may not be what is held now.
            let vf = plugged(&devices, pair, held).map_or(held, |has| has.1);
            let holders = self.vfs.holders(vf).await;
            let open = holders
                .map_err(|error| {
                    failed(
                        "FAIL_BACK",
                        format!("who has VF {vf} open cannot be seen"),
                        &error,
                    )
                })?
                .iter()
                .any(|holder| holder.guest.is_some() && holder.guest == brief.guest.uuid.parse().ok());
            let over = Instant::now() >= end;
            let missing = match uses(vf, open, self.word(&devices, pair).await, over) {
                Ok(told) => return Ok(told),
                Err(missing) => missing,
            };
            if over {
                let message = format!("the guest does not use VF {vf} of pair {}: {missing}", pair.mac);
                return Err(Event::Failed(
                    cause("FAIL_BACK", message).hint(format!("in {}: dmesg | tail", brief.guest.name)),
                ));
            }
            sleep(LOOK).await;
        }
    }

    async fn word(&self, devices: &DomainDevices, pair: &Pair) -> Word {
        let Some(path) = open_channel_of(devices) else {
            return Word::Nobody;
        };
        match self.agents.inspect(&path, INSPECT).await {
            Err(error) => Word::Unknown(sentence(&error)),
            Ok(inspection) => {
                let seen = agent::seen(&inspection.pairs)
                    .into_iter()
                    .find(|seen| seen.mac == pair.mac);
                seen.map_or_else(|| Word::Unknown("it knows no such pair".into()), Word::Seen)
            }
        }
    }
}

/// What speaks for a standby that is to take the traffic, or what is wrong with it.
fn fit(tap: Option<&Tap>, word: Word) -> Result<String, String> {
    if let Some(tap) = tap.filter(|tap| !tap.up) {
        return Err(format!("its end on this host, {}, is down", tap.name));
    }
    match (word, tap) {
        (
            Word::Seen(PairSeen {
                problem: Some(problem),
                ..
            }),
            _,
        ) => Err(problem),
        (Word::Seen(_), _) => Ok("the guest's agent sees that it has a link".into()),
        (Word::Unknown(why), _) => Ok(format!("what the guest sees of it is not known: {why}")),
        (Word::Nobody, Some(tap)) => Ok(format!("no agent says more than that {} is up here", tap.name)),
        (Word::Nobody, None) => Ok("no agent looks at it".into()),
    }
}

/// What speaks for the guest's using its VF, or what is missing. An agent that is there and says nothing is waited for.
fn uses(vf: PciAddress, open: bool, word: Word, over: bool) -> Result<String, String> {
    match word {
        Word::Seen(seen) if seen.on_primary => Ok(format!("net_failover uses {vf}, by the guest's agent")),
        _ if !open => Err(
            "its emulator has not opened it: the guest's virtio driver has not asked for net_failover, or the emulator's log \
             says why"
                .into(),
        ),
        Word::Nobody => Ok(format!(
            "{vf} is open in the emulator; no agent says that net_failover uses it"
        )),
        Word::Unknown(why) if over => Ok(format!(
            "{vf} is open in the emulator; its agent says nothing: {why}"
        )),
        Word::Unknown(why) => Err(format!("its agent says nothing: {why}")),
        Word::Seen(_) => Err("in the guest it has no link".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libvirt::edit::hostdev_xml;

    fn seen(on_primary: bool, problem: Option<&str>) -> Word {
        Word::Seen(PairSeen {
            mac: "52:54:00:aa:00:50".parse().unwrap(),
            on_primary,
            has_primary: true,
            failover: true,
            problem: problem.map(Into::into),
            unmonitored: false,
            vlans: Vec::new(),
        })
    }

    fn silent() -> Word {
        Word::Unknown("no answer within 3000 ms".into())
    }

    #[test]
    fn a_standby_without_a_link_is_found_before_the_vf_leaves() {
        let tap = |up| Tap {
            name: "vnet3".into(),
            up,
            heard: 0,
        };
        let (up, down) = (tap(true), tap(false));
        assert!(
            fit(Some(&down), seen(true, None))
                .unwrap_err()
                .contains("vnet3, is down")
        );
        assert_eq!(
            fit(Some(&up), seen(true, Some("it has no carrier"))).unwrap_err(),
            "it has no carrier"
        );
        assert!(fit(Some(&up), seen(true, None)).unwrap().contains("agent sees"));
        // Weaker, and said.
        assert!(
            fit(Some(&up), Word::Nobody)
                .unwrap()
                .contains("no agent says more than that vnet3 is up")
        );
        assert!(fit(None, Word::Nobody).unwrap().contains("no agent"));
        assert!(fit(Some(&up), silent()).unwrap().contains("not known: no answer"));
    }

    #[test]
    fn a_vf_is_used_by_the_agents_word_or_open_where_there_is_none() {
        let vf = "0000:01:10.2".parse().unwrap();
        let told = |open, word, over| uses(vf, open, word, over);
        assert!(
            told(true, seen(true, None), false)
                .unwrap()
                .contains("by the guest's agent")
        );
        assert!(
            told(true, seen(false, None), true)
                .unwrap_err()
                .contains("no link")
        );
        assert!(told(true, Word::Nobody, false).unwrap().contains("no agent says"));
        // libvirt shows it in the domain, and its emulator hides it from the guest.
        assert!(
            told(false, Word::Nobody, true)
                .unwrap_err()
                .contains("has not opened it")
        );
        assert!(told(true, silent(), false).is_err(), "it is waited for");
        assert!(told(true, silent(), true).unwrap().contains("says nothing"));
    }

    const DOMAIN: &str = "<domain><name>team-1</name><uuid>60d01700-0000-4000-8000-000000000050</uuid><memory>1</memory>
        <os><type machine='q35'>hvm</type></os><devices>
        <interface type='bridge'><mac address='52:54:00:aa:00:50'/><model type='virtio'/>
        <teaming type='persistent'/><alias name='ua-standby0'/></interface>
        <interface type='bridge'><mac address='52:54:00:aa:00:51'/><model type='virtio'/><alias name='ua-other'/></interface>
        </devices></domain>";

    fn pair(mac: &str) -> Pair {
        Pair {
            mac: mac.parse().unwrap(),
            primary_mac: mac.parse().unwrap(),
            standby: "ua-standby0".into(),
            primary: "ua-primary0".into(),
            pool: "fabric".into(),
            source_vf: None,
            destination_vf: None,
            profile: None,
        }
    }

    /// The VF comes back as the other half of the pair that libvirt has: the emulator takes it for no other.
    #[test]
    fn a_pair_of_libvirts_own_is_known_by_its_standby_and_its_vf_is_plugged_into_it() {
        let devices = DomainDevices::parse(DOMAIN).unwrap();
        let (teamed, bond) = (pair("52:54:00:aa:00:50"), pair("52:54:00:aa:00:51"));
        assert_eq!(teamed_with(&devices, &teamed), Some("ua-standby0"));
        assert_eq!(teamed_with(&devices, &bond), None);
        assert_eq!(teamed_with(&devices, &pair("52:54:00:aa:00:52")), None);
        let vf: PciAddress = "0000:01:10.2".parse().unwrap();
        let plug = hostdev_xml(vf, "ua-primary0", None, teamed_with(&devices, &teamed));
        let domain = DOMAIN.replace("</devices>", &format!("{plug}</devices>"));
        // As libvirt's hook finds it when the guest is moved from here by another tool.
        let coming = crate::libvirt::edit::teamed::coming(&domain).unwrap();
        assert_eq!(coming.teamed.len(), 1);
        assert_eq!(
            (coming.teamed[0].vf, coming.teamed[0].standby_mac),
            (vf, teamed.mac)
        );
        assert!(!coming.teamed[0].set_by_libvirt);
    }
}
