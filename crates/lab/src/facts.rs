//! What a machine is made of, as its BMC and its agent tell it.
//!
//! One description serves both, so that what the BMC says of a machine and what its agent finds
//! agree, as they do on a healthy real machine. Every machine of the lab says
//! [`MANUFACTURER`] as its maker, and its model ends in `(emulated)` or `(phantom)`.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The maker that every machine of the lab names.
pub const MANUFACTURER: &str = "Billet Lab";

/// Which kind of machine stands behind a BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A QEMU process: real firmware, kernel and drives.
    Emulated,
    /// Only pretends, in milliseconds.
    Phantom,
}

/// One processor package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Cpu {
    pub manufacturer: String,
    pub model: String,
    pub cores: u32,
    pub threads: u32,
    pub max_mhz: u32,
}

/// One memory module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Dimm {
    /// The slot as the board prints it.
    pub slot: String,
    pub mib: u64,
    /// Megatransfers a second.
    pub mts: u32,
    /// `DDR4`, `DDR5`, or `DRAM` where it is emulated.
    pub kind: String,
    pub manufacturer: String,
    pub part: String,
    pub serial: String,
}

/// One drive. All drives of the lab are NVMe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Drive {
    pub manufacturer: String,
    pub model: String,
    pub serial: String,
    pub firmware: String,
    pub bytes: u64,
    /// World-wide name as the kernel prints it, `eui.` and 16 hexadecimal digits.
    pub wwn: Option<String>,
    /// PCI address of its controller.
    pub pci: String,
    pub numa: u32,
}

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Nic {
    pub manufacturer: String,
    pub model: String,
    pub mac: String,
    pub speed_mbps: u64,
    pub link_up: bool,
    pub pci: String,
    pub numa: u32,
    pub vendor_id: u16,
    pub device_id: u16,
}

/// One GPU, or the display device that stands in for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Gpu {
    pub manufacturer: String,
    pub model: String,
    pub serial: String,
    pub uuid: String,
    /// `0` where it has none of its own.
    pub memory_mib: u64,
    pub pci: String,
    pub numa: u32,
    pub vendor_id: u16,
    pub device_id: u16,
    pub link_gen: u8,
    pub link_width: u8,
}

/// What a machine is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Facts {
    pub kind: Kind,
    pub manufacturer: String,
    pub model: String,
    pub serial: String,
    pub uuid: String,
    /// Machine type as an operator would call it, as in `h100-sxm5-80g.8x`.
    pub machine_type: String,
    pub firmware_vendor: String,
    pub firmware_version: String,
    pub bmc_firmware: String,
    pub cpus: Vec<Cpu>,
    pub numa_nodes: u32,
    pub dimms: Vec<Dimm>,
    pub drives: Vec<Drive>,
    pub nics: Vec<Nic>,
    pub gpus: Vec<Gpu>,
    pub tpm: bool,
}

impl Facts {
    /// Installed memory in MiB.
    #[must_use]
    pub fn memory_mib(&self) -> u64 {
        self.dimms.iter().map(|d| d.mib).sum()
    }
}

/// Values that look random and are the same for the same lab, machine and purpose.
#[derive(Debug, Clone)]
pub struct Maker {
    seed: u64,
    machine: String,
}

impl Maker {
    /// For one machine of a lab.
    #[must_use]
    pub fn new(seed: u64, machine: &str) -> Self {
        Self {
            seed,
            machine: machine.to_owned(),
        }
    }

    fn digest(&self, what: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        hash.update(self.machine.as_bytes());
        hash.update([0]);
        hash.update(what.as_bytes());
        hash.finalize().into()
    }

    /// `len` capital letters and digits, at most 32, without those that are easily confused.
    #[must_use]
    pub fn letters(&self, what: &str, len: usize) -> String {
        const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKLMNPQRSTUVWX";
        self.digest(what)
            .iter()
            .take(len)
            .map(|b| char::from(ALPHABET[usize::from(b & 31)]))
            .collect()
    }

    /// `len` digits, at most 32, not starting with 0.
    #[must_use]
    pub fn digits(&self, what: &str, len: usize) -> String {
        self.digest(what)
            .iter()
            .take(len)
            .enumerate()
            .map(|(i, b)| {
                let digit = if i == 0 { 1 + b % 9 } else { b % 10 };
                char::from(b'0' + digit)
            })
            .collect()
    }

    /// `len` lower-case hexadecimal digits, at most 64.
    #[must_use]
    pub fn hex(&self, what: &str, len: usize) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.digest(what) {
            text.push_str(&format!("{byte:02x}"));
        }
        text.truncate(len);
        text
    }

    /// A locally administered unicast MAC address.
    #[must_use]
    pub fn mac(&self, what: &str) -> String {
        let d = self.digest(what);
        // 52:54:00 is the prefix that emulated NICs are known by.
        format!("52:54:00:{:02x}:{:02x}:{:02x}", d[0], d[1], d[2])
    }

    /// A UUID.
    #[must_use]
    pub fn uuid(&self, what: &str) -> String {
        let d = self.digest(what);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&d[..16]);
        uuid::Builder::from_custom_bytes(bytes)
            .into_uuid()
            .to_string()
    }

    /// The raw bytes, for keys of things that are only pretended.
    #[must_use]
    pub fn bytes(&self, what: &str) -> [u8; 32] {
        self.digest(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_machine_of_the_same_lab_always_gets_the_same_serials() {
        let one = Maker::new(7, "lab-001");
        assert_eq!(
            one.letters("drive0", 12),
            Maker::new(7, "lab-001").letters("drive0", 12)
        );
        assert_ne!(one.letters("drive0", 12), one.letters("drive1", 12));
        assert_ne!(
            one.letters("drive0", 12),
            Maker::new(8, "lab-001").letters("drive0", 12)
        );
        assert_eq!(one.mac("nic0").len(), 17);
        assert_eq!(one.hex("x", 16).len(), 16);
    }
}
