//! What an NVMe controller says of itself: Identify, and its health log.
//!
//! Offsets are those of the NVM Express base specification, revision 2.0.

use std::{fs::File, io};

use billet_model::inventory::EraseCapabilities;

use crate::{
    Tree,
    sys::{self, Query},
};

/// Asks NVMe controllers. Names are the kernel's, of the controller (`nvme0`) or
/// of one of its namespaces (`nvme0n1`).
pub trait NvmeProbe {
    /// Identify Controller: 4096 bytes.
    ///
    /// # Errors
    /// Whatever the kernel or the controller says.
    fn controller(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Identify Namespace: 4096 bytes.
    ///
    /// # Errors
    /// Whatever the kernel or the controller says.
    fn namespace(&self, name: &str, nsid: u32) -> io::Result<Vec<u8>>;

    /// The list of namespaces, allocated ones where the controller manages
    /// namespaces, else active ones: 4096 bytes.
    ///
    /// # Errors
    /// Whatever the kernel or the controller says.
    fn namespace_list(&self, name: &str, allocated: bool) -> io::Result<Vec<u8>>;

    /// The health log page: 512 bytes.
    ///
    /// # Errors
    /// Whatever the kernel or the controller says.
    fn health(&self, name: &str) -> io::Result<Vec<u8>>;
}

/// Asks through the kernel.
#[derive(Clone, Debug)]
pub struct NvmeIoctl(pub Tree);

impl NvmeIoctl {
    fn query(&self, name: &str, query: Query, nsid: u32, length: usize) -> io::Result<Vec<u8>> {
        let device = File::open(self.0.path(&format!("dev/{name}")))?;
        let mut data = vec![0; length];
        sys::query(&device, query, nsid, &mut data)?;
        Ok(data)
    }
}

impl NvmeProbe for NvmeIoctl {
    fn controller(&self, name: &str) -> io::Result<Vec<u8>> {
        self.query(name, Query::Identify { cns: 1 }, 0, 4096)
    }

    fn namespace(&self, name: &str, nsid: u32) -> io::Result<Vec<u8>> {
        self.query(name, Query::Identify { cns: 0 }, nsid, 4096)
    }

    fn namespace_list(&self, name: &str, allocated: bool) -> io::Result<Vec<u8>> {
        let cns = if allocated { 0x10 } else { 0x02 };
        self.query(name, Query::Identify { cns }, 0, 4096)
    }

    fn health(&self, name: &str) -> io::Result<Vec<u8>> {
        self.query(name, Query::Log { page: 2 }, u32::MAX, 512)
    }
}

fn u16_at(data: &[u8], at: usize) -> u16 {
    let bytes = data.get(at..at + 2).and_then(|b| b.try_into().ok());
    u16::from_le_bytes(bytes.unwrap_or_default())
}

fn u32_at(data: &[u8], at: usize) -> u32 {
    let bytes = data.get(at..at + 4).and_then(|b| b.try_into().ok());
    u32::from_le_bytes(bytes.unwrap_or_default())
}

/// Ways of erasing, from Identify Controller.
pub(crate) fn capabilities(controller: &[u8]) -> EraseCapabilities {
    let oacs = u16_at(controller, 256);
    let sanicap = u32_at(controller, 328);
    let oncs = u16_at(controller, 520);
    let fna = controller.get(524).copied().unwrap_or(0);
    let format = oacs & (1 << 1) != 0;
    EraseCapabilities {
        sanitize_crypto: sanicap & 1 != 0,
        sanitize_block: sanicap & (1 << 1) != 0,
        sanitize_overwrite: sanicap & (1 << 2) != 0,
        format_crypto: format && fna & (1 << 2) != 0,
        format_user: format,
        write_zeroes: oncs & (1 << 3) != 0,
        discard: oncs & (1 << 2) != 0,
        ata_secure: false,
        locked: false,
    }
}

/// Whether the controller manages namespaces (OACS bit 3), and may so have ones
/// that are allocated and not active.
pub(crate) fn manages_namespaces(controller: &[u8]) -> bool {
    u16_at(controller, 256) & (1 << 3) != 0
}

/// Whether the controller can have one namespace and no more (NN).
pub(crate) fn has_one_namespace(controller: &[u8]) -> bool {
    u32_at(controller, 516) == 1
}

/// The namespaces in a namespace list: it ends at the first zero.
pub(crate) fn listed(list: &[u8]) -> Vec<u32> {
    list.chunks_exact(4)
        .map(|b| u32_at(b, 0))
        .take_while(|id| *id != 0)
        .collect()
}

/// NGUID, or else EUI-64, of Identify Namespace, as lower-case hex; all zero is none.
pub(crate) fn wwn(namespace: &[u8]) -> Option<String> {
    let hex = |range: std::ops::Range<usize>| {
        let bytes = namespace.get(range)?;
        let some = bytes.iter().any(|b| *b != 0);
        some.then(|| bytes.iter().map(|b| format!("{b:02x}")).collect())
    };
    hex(104..120).or_else(|| hex(120..128))
}

/// What an NVMe drive says of its health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Bits of the critical warning; 0 is well.
    pub critical_warning: u8,
    /// Percent of its rated life used (can be above 100).
    pub percentage_used: u8,
    /// Hours powered on.
    pub power_on_hours: u64,
    /// Errors of medium and data integrity.
    pub media_errors: u64,
}

impl Health {
    /// Reads the health log page.
    pub fn parse(log: &[u8]) -> Option<Self> {
        let wide = |at: usize| Some(u64::from_le_bytes(log.get(at..at + 8)?.try_into().ok()?));
        Some(Self {
            critical_warning: *log.first()?,
            percentage_used: *log.get(5)?,
            power_on_hours: wide(128)?,
            media_errors: wide(160)?,
        })
    }

    /// The critical warning in words.
    pub fn warnings(&self) -> Vec<&'static str> {
        const WORDS: [&str; 6] = [
            "spare space is low",
            "temperature is out of bounds",
            "reliability is degraded",
            "the medium is read-only",
            "the volatile memory backup failed",
            "the persistent memory region is unreliable",
        ];
        WORDS
            .iter()
            .enumerate()
            .filter(|(bit, _)| self.critical_warning & (1 << bit) != 0)
            .map(|(_, word)| *word)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_bits_are_read_where_the_specification_puts_them() {
        let mut id = vec![0; 4096];
        assert_eq!(capabilities(&id), EraseCapabilities::default());
        id[256] = 1 << 1;
        id[328] = 0b011;
        id[520] = 1 << 3;
        let found = capabilities(&id);
        assert!(found.format_user && !found.format_crypto && found.write_zeroes);
        assert!(found.sanitize_crypto && found.sanitize_block && !found.sanitize_overwrite);
        id[524] = 1 << 2;
        assert!(capabilities(&id).format_crypto);
        id[256] = 0;
        assert!(
            !capabilities(&id).format_crypto,
            "no format, no crypto format"
        );
    }

    #[test]
    fn health_is_read() {
        let mut log = vec![0; 512];
        log[0] = 0b100;
        log[5] = 7;
        log[128] = 42;
        let health = Health::parse(&log).expect("512 bytes");
        assert_eq!(health.power_on_hours, 42);
        assert_eq!(health.warnings(), ["reliability is degraded"]);
        assert_eq!(Health::parse(&log[..100]), None);
    }

    #[test]
    fn a_wwn_of_zeroes_is_none() {
        let mut id = vec![0; 4096];
        assert_eq!(wwn(&id), None);
        id[127] = 9;
        assert_eq!(wwn(&id).as_deref(), Some("0000000000000009"));
        id[104] = 0xab;
        assert_eq!(wwn(&id).map(|w| w.len()), Some(32));
    }
}
