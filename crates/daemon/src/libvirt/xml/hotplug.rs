//! How a guest is asked for a device: by ACPI, or by the button of its PCIe slot.
//!
//! QEMU's q35 asks by ACPI since machine type 6.1 (`pc_compat_6_0` in hw/i386/pc.c turns it off for older ones), unless
//! that is switched off on its command line. PCIe's own way is the slot's attention button: Linux blinks for 5 s, in which
//! a second press cancels the removal, and takes another second to switch the slot off (drivers/pci/hotplug/pciehp_ctrl.c:
//! `BLINKINGOFF_STATE`, `button_work`, `remove_board`).

use std::time::Duration;

use roxmltree::Node;

/// How long after one press of the button another would cancel it, or meet a slot that is just being switched off; with a
/// little to spare for a slow guest.
pub(crate) const BUTTON: Duration = Duration::from_secs(8);

/// How long a guest is waited for that was asked for a device: until the deadline, and never less than a button takes.
pub(crate) fn patience(native: bool, deadline: Duration) -> Duration {
    if native { deadline.max(BUTTON) } else { deadline }
}

/// The switch of QEMU's command line, for q35.
const ACPI_OFF: &str = "acpi-pci-hotplug-with-bridge-support=off";

/// Whether the guest's slots have only their button.
pub(super) fn is_native(machine: &str, domain: Node<'_, '_>) -> bool {
    let switched_off = domain
        .descendants()
        .filter(|node| node.tag_name().name() == "arg")
        .filter_map(|node| node.attribute("value"))
        .any(|value| value.ends_with(ACPI_OFF));
    // Other families than the PC's (`virt` ...) have the button alone.
    let pc = machine.starts_with("pc-") || machine == "pc" || machine == "q35";
    switched_off || !pc || old_q35(machine)
}

/// `pc-q35-6.0` and older. libvirt writes the version into the XML; a name without one is the newest.
fn old_q35(machine: &str) -> bool {
    let Some(version) = machine.strip_prefix("pc-q35-") else {
        return false;
    };
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) <= (6, 0),
        // A vendor's own (`pc-q35-rhel9.2.0`): what it is like is not known, so it is given its time.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(machine: &str, more: &str) -> bool {
        let text = format!("<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>{more}</domain>");
        let document = roxmltree::Document::parse(&text).unwrap();
        is_native(machine, document.root_element())
    }

    #[test]
    fn old_machine_types_and_other_families_have_the_button_alone() {
        for machine in [
            "pc-q35-6.0",
            "pc-q35-5.2",
            "pc-q35-2.12",
            "pc-q35-rhel8.2.0",
            "virt-9.1",
        ] {
            assert!(native(machine, ""), "{machine}");
        }
        for machine in ["pc-q35-6.1", "pc-q35-10.0", "pc-i440fx-2.4", "q35", "pc"] {
            assert!(!native(machine, ""), "{machine}");
        }
    }

    /// Between two requests lies this time at least.
    #[test]
    fn a_button_is_given_its_time_whatever_the_deadline_is() {
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(60));
        assert_eq!(patience(true, short), BUTTON);
        assert_eq!(patience(true, long), long);
        assert_eq!(patience(false, short), short);
        // Linux' five seconds in which a second press would cancel, and the one that it takes to switch off.
        assert!(BUTTON > Duration::from_secs(6));
    }

    #[test]
    fn acpi_may_be_switched_off() {
        let off = "<qemu:commandline><qemu:arg value='-global'/>\
                   <qemu:arg value='ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off'/></qemu:commandline>";
        assert!(native("pc-q35-10.0", off));
        assert!(!native("pc-q35-10.0", &off.replace("=off", "=on")));
    }
}
