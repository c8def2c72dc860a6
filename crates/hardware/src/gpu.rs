//! GPUs: told from the display controllers of BMCs by class and vendor.

use billet_model::inventory::{Emulation, Gpu, PciDevice};

const NVIDIA: &str = "10de";
const AMD: &str = "1002";
const INTEL: &str = "8086";

/// The GPUs among PCI functions. In an emulated machine every display
/// controller stands in for one, and says so.
pub(crate) fn gpus(devices: &[PciDevice], emulation: Emulation) -> Vec<Gpu> {
    let emulated = emulation != Emulation::None;
    devices
        .iter()
        .filter(|d| is_gpu(d) || (emulated && d.class.starts_with("03")))
        .map(|d| Gpu {
            address: d.address.clone(),
            model: Some(
                d.name
                    .clone()
                    .unwrap_or_else(|| format!("{}:{}", d.vendor, d.device)),
            ),
            manufacturer: maker(&d.vendor).map(str::to_owned),
            numa: d.numa,
            stand_in: emulated,
            ..Gpu::default()
        })
        .collect()
}

/// Classes 0300, 0302 and 0380 are display controllers, 1200 is a processing
/// accelerator (AMD's Instinct). Intel's built-in graphics are of class 0300.
fn is_gpu(d: &PciDevice) -> bool {
    match d.vendor.as_str() {
        NVIDIA => d.class.starts_with("03"),
        AMD => d.class.starts_with("03") || d.class.starts_with("1200"),
        INTEL => d.class.starts_with("0380"),
        _ => false,
    }
}

fn maker(vendor: &str) -> Option<&'static str> {
    match vendor {
        NVIDIA => Some("NVIDIA"),
        AMD => Some("AMD"),
        INTEL => Some("Intel"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(vendor: &str, class: &str) -> PciDevice {
        PciDevice {
            vendor: vendor.into(),
            class: class.into(),
            ..PciDevice::default()
        }
    }

    #[test]
    fn a_bmcs_display_is_no_gpu_and_the_labs_is_a_stand_in() {
        let devices = [
            device("10de", "030200"),
            device("1002", "120000"),
            device("1a03", "030000"),
            device("8086", "030000"),
            device("10de", "040300"),
        ];
        let real = gpus(&devices, Emulation::None);
        assert_eq!(real.len(), 2);
        assert!(real.iter().all(|g| !g.stand_in));
        let lab = gpus(&devices, Emulation::Emulated);
        assert_eq!(lab.len(), 4);
        assert!(lab.iter().all(|g| g.stand_in));
    }
}
