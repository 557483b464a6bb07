//! Guests without a system, which have only the devices a test gives them.

use anyhow::{Context, Result, ensure};

use crate::guest::{domain_state, remove};
use crate::{Host, Place, ssh};

/// A device of a small guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A VF; the rig takes an unused one.
    Vf,
    /// A virtio NIC on the bridge.
    Standby,
    /// The same as the standby of a pair of libvirt's own.
    TeamedStandby,
    /// And the VF of that pair, which libvirt sets up.
    TeamedVf,
    /// The agent's channel, with nobody at its other end.
    Channel,
}

/// A small guest. It goes when this is dropped.
#[derive(Debug)]
pub struct Small<'a> {
    place: &'a Place,
    host: Host,
    /// Its name.
    pub name: &'a str,
}

impl<'a> Small<'a> {
    /// Makes libvirt know it; it is shut off.
    pub fn define(place: &'a Place, host: Host, name: &'a str, devices: &[Device]) -> Result<Small<'a>> {
        remove(place, host, name)?;
        let small = Small { place, host, name };
        let mut xml = String::new();
        for device in devices {
            xml.push_str(&small.device(*device)?);
        }
        let template = std::fs::read_to_string(place.assets().join("guest/small.xml"))?;
        let xml = template.replace("@NAME@", name).replace("@DEVICES@", &xml);
        ssh::run_with(place, host, "virsh -q define /dev/stdin", xml.as_bytes())?;
        Ok(small)
    }

    /// Makes it and starts it.
    pub fn start(place: &'a Place, host: Host, name: &'a str, devices: &[Device]) -> Result<Small<'a>> {
        let small = Small::define(place, host, name, devices)?;
        ssh::run(place, host, &format!("virsh -q start {name}"))?;
        ensure!(
            domain_state(place, host, name)? == "running",
            "{name} does not run on {host}"
        );
        Ok(small)
    }

    /// All NICs of one small guest have one address, made of its name, so that a pair is a pair.
    fn mac(&self) -> String {
        let sum = self.name.bytes().fold(0u8, u8::wrapping_add);
        format!("52:54:00:aa:01:{sum:02x}")
    }

    fn device(&self, device: Device) -> Result<String> {
        let mac = self.mac();
        Ok(match device {
            Device::Standby => standby(&mac, ""),
            Device::TeamedStandby => standby(&mac, "<teaming type='persistent'/>"),
            Device::TeamedVf => {
                let address = ssh::output(self.place, self.host, &format!("rig-vf take {mac}"))?;
                let plain = crate::guest::vf_xml(self.place, address.trim(), 0)?;
                let source = plain
                    .split_once("<source>")
                    .and_then(|(_, rest)| rest.split_once("</source>"));
                let (source, _) = source.context("a VF without a source")?;
                let source = source.replace("<address ", "<address type='pci' ");
                format!(
                    "<interface type='hostdev' managed='no'><mac address='{mac}'/><source>{source}</source>\
                     <teaming type='transient' persistent='ua-standby0'/></interface>"
                )
            }
            Device::Channel => {
                "<channel type='unix'><target type='virtio' name='org.godwit.agent.0'/></channel>".into()
            }
            Device::Vf => {
                let address = ssh::output(self.place, self.host, &format!("rig-vf take {mac}"))?;
                crate::guest::vf_xml(self.place, address.trim(), 0)?
            }
        })
    }
}

fn standby(mac: &str, teaming: &str) -> String {
    format!(
        "<interface type='bridge'><mac address='{mac}'/><source bridge='br0'/><model type='virtio'/>\
         <driver name='qemu'/>{teaming}<alias name='ua-standby0'/></interface>"
    )
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let gone = remove(self.place, self.host, self.name);
        if let Err(error) = gone.and_then(|()| ssh::run(self.place, self.host, "rig-vf sweep")) {
            crate::say(format!("{} is not cleaned up: {error:#}", self.name));
        }
    }
}
