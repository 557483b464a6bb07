//! The rig as an arm.

use std::fs::File;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use godwit_rig::boots::Unasked;
use godwit_rig::faults::{self, Fault, Faults};
use godwit_rig::godwit::{self, Answer};
use godwit_rig::measure::RATE;
use godwit_rig::prober::Prober;
use godwit_rig::rig::Up;
use godwit_rig::small::{Device, Small};
use godwit_rig::supervisor::Supervisor;
use godwit_rig::{Host, Place, Rig, build, invariants, ready};

use crate::body::{Arm, Setting};

/// Datagrams come so long before anything is asked.
const BEFORE: Duration = Duration::from_secs(3);

/// The rig's place lives as long as this process, so that what is borrowed from it can be kept in here.
pub(crate) struct OnRig {
    place: &'static Place,
    faults: Vec<Faults<'static>>,
    supervisors: Vec<Supervisor<'static>>,
    occupiers: Vec<Small<'static>>,
    traffic: Option<Prober>,
    boots: Unasked,
    _alone: File,
}

impl OnRig {
    /// Brings the rig up.
    pub(crate) fn new() -> Result<OnRig> {
        let rig = Rig::from_environment()?;
        let alone = rig.place.lock_for_stories()?;
        rig.up(Up::default())?;
        Ok(OnRig {
            place: Box::leak(Box::new(rig.place)),
            faults: Vec::new(),
            supervisors: Vec::new(),
            occupiers: Vec::new(),
            traffic: None,
            boots: Unasked::default(),
            _alone: alone,
        })
    }
}

impl OnRig {
    fn rig(&self) -> Rig {
        Rig {
            place: self.place.clone(),
        }
    }
}

impl Arm for OnRig {
    fn begin(&mut self, ordered: &[(Host, Fault)], setting: Setting) -> Result<()> {
        self.traffic = None;
        self.supervisors.clear();
        self.faults.clear();
        self.occupiers.clear();
        // An emulated host dies or hangs now and then by itself; that is no fault of this scenario.
        self.rig().keep_on()?;
        for host in Host::ALL {
            faults::none(self.place, host)?;
        }
        ready::on(self.place, Host::Alpha)?;
        self.boots = Unasked::until_now(self.place);
        match setting {
            Setting::Usual => {}
            Setting::Full => {
                for name in ["occupier-1", "occupier-2"] {
                    let occupier = Small::start(self.place, Host::Beta, name, &[Device::Vf])?;
                    self.occupiers.push(occupier);
                }
            }
            Setting::Busy => {
                let probe = build::build_static(self.place, "godwit-probe")?;
                self.traffic = Some(Prober::start(self.place, &probe, RATE)?);
                sleep(BEFORE);
            }
        }
        for (host, fault) in ordered {
            self.faults.push(Faults::order(self.place, *host, &[*fault])?);
            if matches!(fault, Fault::Die(..)) {
                self.supervisors.push(Supervisor::watch(self.place, *host)?);
            }
        }
        Ok(())
    }

    fn godwit(&self, host: Host, arguments: &str) -> Result<Answer> {
        godwit::run(self.place, host, arguments)
    }

    fn end(&mut self) -> Result<()> {
        if let Some(traffic) = self.traffic.take() {
            traffic.stop(self.place)?;
        }
        for supervisor in self.supervisors.drain(..) {
            supervisor.died(Duration::from_secs(60))?;
        }
        self.faults.clear();
        self.occupiers.clear();
        invariants::hold(self.place)
    }

    fn broke(&self) -> Option<String> {
        self.rig().broke(self.boots)
    }
}
