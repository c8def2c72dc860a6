//! Memory: modules from SMBIOS type 17, the sum from them or from the kernel.

use billet_model::inventory::{Memory, MemoryModule};

use crate::{
    Tree,
    smbios::{Structure, Tables},
};

pub(crate) fn memory(tree: &Tree, tables: &Tables) -> Memory {
    let modules: Vec<MemoryModule> = tables.of(17).filter_map(module).collect();
    let sum: u64 = modules.iter().map(|m| m.size_bytes).sum();
    Memory {
        total_bytes: if sum > 0 { sum } else { kernel_total(tree) },
        modules,
    }
}

/// `MemTotal` of the kernel: less than what is fitted, by what firmware keeps.
fn kernel_total(tree: &Tree) -> u64 {
    let text = tree.text("proc/meminfo").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

/// One module; `None` for an empty slot.
fn module(s: &Structure) -> Option<MemoryModule> {
    let size_bytes = match s.word(0x0c)? {
        0 | 0xffff => return None,
        // The size did not fit: it stands in the extended field, in MiB.
        0x7fff => u64::from(s.dword(0x1c)? & 0x7fff_ffff) << 20,
        size if size & 0x8000 != 0 => u64::from(size & 0x7fff) << 10,
        size => u64::from(size) << 20,
    };
    Some(MemoryModule {
        slot: s.text(0x10).unwrap_or_default(),
        size_bytes,
        speed_mts: s
            .word(0x15)
            .filter(|v| *v != 0 && *v != 0xffff)
            .map(u32::from),
        manufacturer: s.text(0x17),
        serial: s.text(0x18),
        part: s.text(0x1a),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type17(size: u16, extended: u32, strings: &[&str]) -> Vec<u8> {
        let mut data = vec![0; 0x28];
        data[0] = 17;
        data[1] = 0x28;
        data[0x0c..0x0e].copy_from_slice(&size.to_le_bytes());
        data[0x10] = 1;
        data[0x15..0x17].copy_from_slice(&4800u16.to_le_bytes());
        data[0x17] = 2;
        data[0x1c..0x20].copy_from_slice(&extended.to_le_bytes());
        for s in strings {
            data.extend(s.bytes());
            data.push(0);
        }
        if strings.is_empty() {
            data.push(0);
        }
        data.push(0);
        data
    }

    #[test]
    fn modules_are_read_and_empty_slots_left_out() {
        let mut table = type17(0x7fff, 65536, &["DIMM_A1", "Samsung"]);
        table.extend(type17(0, 0, &[]));
        table.extend(type17(2048, 0, &["DIMM_B1", "Not Specified"]));
        table.extend([127, 4, 0, 0, 0, 0]);
        let modules: Vec<_> = Tables::parse(&table).of(17).filter_map(module).collect();
        assert_eq!(modules.len(), 2);
        assert_eq!(modules[0].size_bytes, 64 << 30);
        assert_eq!(modules[0].slot, "DIMM_A1");
        assert_eq!(modules[0].manufacturer.as_deref(), Some("Samsung"));
        assert_eq!(modules[0].speed_mts, Some(4800));
        assert_eq!(modules[1].size_bytes, 2 << 30);
        assert_eq!(modules[1].manufacturer, None);
    }

    #[test]
    fn a_table_cut_short_ends_the_list() {
        let table = type17(1024, 0, &["A"]);
        for cut in 0..table.len() {
            assert!(Tables::parse(&table[..cut]).of(17).count() == 0);
        }
    }
}
