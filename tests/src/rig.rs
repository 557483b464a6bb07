//! The whole rig: up, down, and what it is doing.

use std::time::Instant;

use anyhow::Result;
use rustix::process::geteuid;

use crate::boots::Unasked;
use crate::guest::Guest;
use crate::images::Images;
use crate::{Host, Place, build, clock, host, images, install, network, say, setup, ssh};

/// A rig in its place.
#[derive(Clone, Debug)]
pub struct Rig {
    /// Where it is.
    pub place: Place,
}

/// How to bring the hosts up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Up {
    /// On empty disks, whatever was there.
    pub fresh: bool,
    /// Without Godwit's binaries; for work on the rig itself.
    pub without_godwit: bool,
    /// With optimised binaries on the hosts; for figures.
    pub optimised: bool,
}

impl Rig {
    /// The rig this process' environment names.
    pub fn from_environment() -> Result<Rig> {
        Ok(Rig {
            place: Place::from_environment()?,
        })
    }

    /// From whatever there is to two hosts that run this checkout's binaries.
    pub fn up(&self, up: Up) -> Result<()> {
        anyhow::ensure!(
            geteuid().is_root(),
            "the rig makes network namespaces and disks: run it as root"
        );
        setup::install()?;
        let parts = match up.without_godwit {
            true => build::build_without_godwit(&self.place)?,
            false => build::build(&self.place, up.optimised)?,
        };
        let _lock = self.place.lock()?;
        let images = images::build(&self.place)?;
        self.power_on_all(&images, up.fresh)?;
        install::install(&self.place, &images, &parts)
    }

    /// Both hosts on and ready.
    fn power_on_all(&self, images: &Images, fresh: bool) -> Result<()> {
        self.place.make_run()?;
        network::up(&self.place)?;
        let started = Instant::now();
        let mut switched = Vec::new();
        for host in Host::ALL {
            if self.hangs(host) {
                say(format!("{host} runs and does not answer: it begins anew"));
                host::power_off(&self.place, host)?;
            }
            if fresh || !host::disk_is_current(&self.place, images, host) {
                host::power_off(&self.place, host)?;
                host::new_disk(&self.place, images, host)?;
            }
            if host::power_on(&self.place, images, host, "")? {
                switched.push(host);
            }
        }
        images::prune(&self.place, images)?;
        for host in Host::ALL {
            self.ready(host)?;
            if switched.contains(&host) {
                say(format!(
                    "{host} is ready after {:.1} s",
                    started.elapsed().as_secs_f64()
                ));
            }
        }
        Ok(())
    }

    /// It is on, and nobody answers. Where nobody else switches it on meanwhile, it is not one that starts.
    fn hangs(&self, host: Host) -> bool {
        host::process(&self.place, host).is_some() && !ssh::answers(&self.place, host)
    }

    /// Waits for a host's services, opens its connection and sets its clock.
    fn ready(&self, host: Host) -> Result<()> {
        host::wait(&self.place, host)?;
        ssh::connect(&self.place, host)?;
        clock::set(&self.place, host)
    }

    /// Switches one host on and waits until it is ready.
    pub fn power_on(&self, host: Host) -> Result<()> {
        self.power_on_with(host, "")
    }

    /// The same, with words for its kernel that count more than the usual ones.
    pub fn power_on_with(&self, host: Host, words: &str) -> Result<()> {
        let _lock = self.place.lock()?;
        let images = images::build(&self.place)?;
        self.place.make_run()?;
        network::up(&self.place)?;
        host::power_on(&self.place, &images, host, words)?;
        self.ready(host)
    }

    /// Switches on what is off, and off and on what hangs: a story may have pulled a plug, and the emulation itself
    /// can die, lose an interrupt for ever, or lose its clock.
    pub fn keep_on(&self) -> Result<()> {
        for host in Host::ALL {
            let dead = host::process(&self.place, host).is_none() || !ssh::answers(&self.place, host);
            if dead || clock::ran_away(&self.place, host) || clock::lost_timers(&self.place, host) {
                say(format!("{host} is off, hangs, or has lost its clock or timers"));
                self.power_off(host)?;
                self.power_on(host)?;
            }
        }
        Ok(())
    }

    /// Whether the emulation failed by itself, and how: a host's died of an assertion of its own, or the host answers
    /// nobody or has lost its clock or its timers, or a guest runs and answers nobody, or one was reset unasked since `before`. What a story saw then says nothing of Godwit. A plug that a
    /// story pulled is not meant.
    pub fn broke(&self, before: Unasked) -> Option<String> {
        let reset = || {
            let since = Unasked::until_now(&self.place).since(before);
            since.map(Into::into)
        };
        let hangs = || {
            let guest = Guest::ALL.into_iter().find(|guest| guest.hangs(&self.place))?;
            Some(format!("{guest} runs and does not answer on its own line"))
        };
        self.host_broke().or_else(reset).or_else(hangs)
    }

    fn host_broke(&self) -> Option<String> {
        Host::ALL.into_iter().find_map(|host| {
            let log = self.place.run().join(format!("{host}.qemu.log"));
            let said = std::fs::read_to_string(log).unwrap_or_default();
            match host::process(&self.place, host) {
                Some(_) if self.hangs(host) => Some(format!("{host} hangs")),
                Some(_) if clock::ran_away(&self.place, host) => {
                    Some(format!("the clock of {host} ran away"))
                }
                Some(_) => {
                    clock::lost_timers(&self.place, host).then(|| format!("the timers of {host} stand still"))
                }
                None => {
                    let last = said.lines().find(|line| line.contains("Assertion"))?;
                    Some(format!("the emulator of {host} died: {last}"))
                }
            }
        })
    }

    /// Pulls one host's plug.
    pub fn power_off(&self, host: Host) -> Result<()> {
        let _lock = self.place.lock()?;
        host::power_off(&self.place, host)
    }

    /// Ends hosts and network. The hosts' disks stay.
    pub fn down(&self) -> Result<()> {
        let _lock = self.place.lock()?;
        std::thread::scope(|scope| {
            let ends = Host::ALL.map(|host| scope.spawn(move || host::shut_down(&self.place, host)));
            ends.into_iter()
                .try_for_each(|end| end.join().map_err(|_| anyhow::anyhow!("panicked"))?)
        })?;
        network::down(&self.place)
    }

    /// Lines for a person: hosts, services, VFs, guest.
    pub fn status(&self) -> Result<String> {
        let mut text = format!("directory {}\n", self.place.dir.display());
        for host in Host::ALL {
            let Some(pid) = host::process(&self.place, host) else {
                text.push_str(&format!("{host}: off\n"));
                continue;
            };
            text.push_str(&format!(
                "{host}: on, process {}, {}\n",
                pid.as_raw_nonzero(),
                host.address()
            ));
            let ask = "rig-service status libvirtd; rig-service status godwitd; rig-vf list; \
                 bridge link show master br0; virsh -q list --all";
            let command = format!("{{ {ask}; }} 2>&1 | sed 's/^/  /'");
            let answer = ssh::output(&self.place, host, &command);
            text.push_str(&answer.unwrap_or_else(|_| "  does not answer; it may be starting\n".into()));
        }
        for guest in Guest::ALL {
            let found = match guest.locate(&self.place) {
                Ok(Some(host)) => format!("guest {guest} runs on {host}\n"),
                Ok(None) => format!("guest {guest} does not run\n"),
                Err(_) => format!("guest {guest} is not found while a host does not answer\n"),
            };
            text.push_str(&found);
        }
        Ok(text)
    }
}
