//! Links: PCIe as wide and fast as device and slot both allow, and NICs that
//! see their other end.

use billet_model::{
    inventory::{Inventory, Nic, PciDevice, PciLink},
    work::{TestResult, Verdict},
};

use crate::result;

/// Tests the links of GPUs, NICs and drive controllers.
pub(crate) fn test(inventory: &Inventory) -> Vec<TestResult> {
    let pci = inventory
        .pci
        .iter()
        .filter(|d| matters(d))
        .map(|d| pcie(d, parent(inventory, d)));
    pci.chain(inventory.nics.iter().map(nic)).collect()
}

/// Mass storage, network, display, processing accelerators.
fn matters(device: &PciDevice) -> bool {
    ["01", "02", "03", "12"]
        .iter()
        .any(|class| device.class.starts_with(class))
}

fn is_gpu(device: &PciDevice) -> bool {
    device.class.starts_with("03") || device.class.starts_with("12")
}

fn parent<'a>(inventory: &'a Inventory, device: &PciDevice) -> Option<&'a PciLink> {
    let above = device.parent.as_ref()?;
    let bridge = inventory.pci.iter().find(|d| &d.address == above)?;
    bridge.link.as_ref()
}

/// The lesser of what device and slot can.
fn possible(device: Option<u32>, slot: Option<u32>) -> Option<u32> {
    match (device, slot) {
        (Some(d), Some(s)) => Some(d.min(s)),
        (one, other) => one.or(other),
    }
}

fn pcie(device: &PciDevice, slot: Option<&PciLink>) -> TestResult {
    let part = device.address.as_str();
    let told = device
        .link
        .as_ref()
        .and_then(|l| Some((l, l.width?, l.speed?)));
    let Some((link, width, speed)) = told else {
        let why = "the device has no PCIe link, or the kernel does not tell";
        return result(part, "pcie", Verdict::NotTested, None, why);
    };
    let most_width = possible(link.max_width, slot.and_then(|s| s.max_width));
    let most_speed = possible(link.max_speed, slot.and_then(|s| s.max_speed));
    let figure = Some(format!("x{width} at {}.{} GT/s", speed / 10, speed % 10));
    if most_width.is_some_and(|most| width < most) {
        let detail = format!("device and slot allow x{}", most_width.unwrap_or(0));
        return result(part, "pcie", Verdict::Failed, figure, detail);
    }
    if let Some(most) = most_speed.filter(|most| speed < *most) {
        let most = format!("{}.{} GT/s", most / 10, most % 10);
        // A GPU without its driver saves power by a slower link.
        return if is_gpu(device) {
            let detail = format!(
                "as wide as the slot allows; its speed, of up to {most}, shows only under load"
            );
            result(part, "pcie", Verdict::Passed, figure, detail)
        } else {
            let detail = format!("device and slot allow {most}");
            result(part, "pcie", Verdict::Failed, figure, detail)
        };
    }
    let detail = "as wide and fast as device and slot allow";
    result(part, "pcie", Verdict::Passed, figure, detail)
}

fn nic(nic: &Nic) -> TestResult {
    match nic.link {
        Some(true) => result(
            &nic.name,
            "link",
            Verdict::Passed,
            nic.speed_mbps.map(|s| format!("{s} Mbit/s")),
            "the other end is seen",
        ),
        _ => result(
            &nic.name,
            "link",
            Verdict::NotTested,
            None,
            "no link: nothing is plugged in, or the other end is down",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(class: &str, width: u32, max_width: u32, speed: u32, max_speed: u32) -> PciDevice {
        PciDevice {
            class: class.into(),
            parent: Some("0000:00:01.0".into()),
            link: Some(PciLink {
                width: Some(width),
                max_width: Some(max_width),
                speed: Some(speed),
                max_speed: Some(max_speed),
            }),
            ..PciDevice::default()
        }
    }

    #[test]
    fn a_link_is_judged_by_what_device_and_slot_both_allow() {
        let slot = PciLink {
            max_width: Some(8),
            max_speed: Some(160),
            ..PciLink::default()
        };
        for (device, expected) in [
            (device("010802", 4, 4, 160, 160), Verdict::Passed),
            (device("010802", 2, 4, 160, 160), Verdict::Failed),
            (device("010802", 4, 4, 80, 160), Verdict::Failed),
            (device("010802", 4, 4, 160, 320), Verdict::Passed),
            (device("030200", 8, 16, 25, 320), Verdict::Passed),
            (device("030200", 4, 16, 25, 320), Verdict::Failed),
        ] {
            let judged = pcie(&device, Some(&slot));
            assert_eq!(judged.verdict, expected, "{device:?}: {}", judged.detail);
        }
        let mut bare = device("020000", 1, 1, 1, 1);
        bare.link = None;
        assert_eq!(pcie(&bare, None).verdict, Verdict::NotTested);
    }

    #[test]
    fn a_port_without_a_cable_is_not_a_failure_and_not_a_pass() {
        assert_eq!(nic(&Nic::default()).verdict, Verdict::NotTested);
    }
}
