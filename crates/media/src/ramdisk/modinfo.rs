//! Reads what a kernel module says of itself (`.modinfo`), so that neither kmod nor depmod is needed.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSection as _};

/// Why a module cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// A file could not be read.
    #[error("reading kernel module {}: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not a kernel module.
    #[error("{} is not a kernel module: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A module that the agent cannot do without is neither there nor built in.
    #[error("this kernel has no module `{0}`, which the ramdisk cannot do without")]
    Missing(String),
}

/// What a module says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleInfo {
    /// Names of the modules whose symbols it uses.
    pub depends: Vec<String>,
    /// Modalias globs that it answers to.
    pub aliases: Vec<String>,
    /// Names or aliases that are to be loaded before it.
    pub soft_depends: Vec<String>,
}

/// A module's name as the kernel has it: `xhci-pci.ko.zst` is `xhci_pci`.
pub fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let stem = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"]
        .iter()
        .find_map(|suffix| file.strip_suffix(suffix))?;
    Some(stem.replace('-', "_"))
}

/// The module's bytes, decompressed.
pub fn read_module(path: &Path) -> Result<Vec<u8>, ModuleError> {
    let error = |source| ModuleError::Read {
        path: path.to_owned(),
        source,
    };
    let stored = fs::read(path).map_err(error)?;
    let mut plain = Vec::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => liblzma::read::XzDecoder::new(&stored[..]).read_to_end(&mut plain),
        Some("zst") => {
            zstd::Decoder::new(&stored[..]).and_then(|mut decoder| decoder.read_to_end(&mut plain))
        }
        Some("gz") => flate2::read::GzDecoder::new(&stored[..]).read_to_end(&mut plain),
        _ => return Ok(stored),
    }
    .map_err(error)?;
    Ok(plain)
}

/// Reads `.modinfo` out of a module's bytes.
pub fn parse(path: &Path, module: &[u8]) -> Result<ModuleInfo, ModuleError> {
    let malformed = |reason: String| ModuleError::Malformed {
        path: path.to_owned(),
        reason,
    };
    let elf =
        ElfFile64::<object::LittleEndian>::parse(module).map_err(|e| malformed(e.to_string()))?;
    let section = elf
        .section_by_name(".modinfo")
        .ok_or_else(|| malformed("it has no .modinfo section".to_owned()))?;
    let data = section.data().map_err(|e| malformed(e.to_string()))?;
    Ok(fields(data))
}

/// True when a program needs a dynamic loader.
pub fn is_dynamic(program: &[u8]) -> bool {
    ElfFile64::<object::LittleEndian>::parse(program)
        .is_ok_and(|elf| elf.section_by_name(".interp").is_some())
}

fn fields(modinfo: &[u8]) -> ModuleInfo {
    let mut info = ModuleInfo::default();
    for field in modinfo.split(|byte| *byte == 0) {
        let Ok(field) = std::str::from_utf8(field) else {
            continue;
        };
        match field.split_once('=') {
            Some(("depends", names)) => info.depends.extend(
                names
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .map(|name| name.replace('-', "_")),
            ),
            Some(("alias", pattern)) => info.aliases.push(pattern.to_owned()),
            Some(("softdep", text)) => info.soft_depends.extend(pre(text)),
            _ => {}
        }
    }
    info
}

/// The names between `pre:` and `post:`.
fn pre(softdep: &str) -> Vec<String> {
    softdep
        .split_whitespace()
        .skip_while(|word| *word != "pre:")
        .skip(1)
        .take_while(|word| *word != "post:")
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_modinfo_are_told_apart() {
        let info = fields(
            b"license=GPL\0alias=pci:v*d*\0depends=mbcache,jbd2,nvme-core\0softdep=pre: crc32c post: x\0",
        );
        assert_eq!(info.depends, ["mbcache", "jbd2", "nvme_core"]);
        assert_eq!(info.aliases, ["pci:v*d*"]);
        assert_eq!(info.soft_depends, ["crc32c"]);
        assert_eq!(fields(b"depends=\0"), ModuleInfo::default());
    }

    #[test]
    fn names_are_as_the_kernel_has_them() {
        let name = |path: &str| module_name(Path::new(path));
        assert_eq!(name("/a/xhci-pci.ko"), Some("xhci_pci".to_owned()));
        assert_eq!(name("nvme.ko.zst"), Some("nvme".to_owned()));
        assert_eq!(name("modules.dep"), None);
    }

    #[test]
    fn a_file_that_is_no_module_is_refused() {
        assert!(parse(Path::new("x.ko"), b"not ELF").is_err());
    }
}
