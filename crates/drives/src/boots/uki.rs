//! Unified kernel images: kernel, initrd and command line as sections of one
//! UEFI program (<https://uapi-group.org/specifications/specs/unified_kernel_image/>).

use object::{Object as _, ObjectSection as _, read::pe::PeFile64};

use super::{BootError, Boots, Loader, Piece};

/// A section of a UEFI program, without padding; `None` where it has none of
/// that name, or is no such program. Of several it is the first, which belongs
/// to the profile that boots by itself.
pub fn section<'a>(program: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let file = PeFile64::parse(program).ok()?;
    let section = file.sections().find(|s| s.name() == Ok(name))?;
    let data = section.data().ok()?;
    // The file's alignment pads sections; the stated size does not.
    let size = usize::try_from(section.size()).unwrap_or(usize::MAX);
    Some(&data[..data.len().min(size)])
}

/// Whether a program is a unified kernel image.
pub(super) fn is_one(program: &[u8]) -> bool {
    section(program, ".linux").is_some()
}

/// A text section, without what ends it.
pub(super) fn said(program: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(section(program, name)?).into_owned();
    Some(text.trim_matches(['\0', '\n', ' ']).to_owned())
}

/// What an image boots.
pub(super) fn boots(
    volume: usize,
    path: &str,
    program: &[u8],
    loader: Loader,
) -> Result<Boots, BootError> {
    let unknown = |detail: &str| BootError::unknown(path, detail);
    if section(program, ".linux").is_none() {
        return Err(unknown("it is no unified kernel image"));
    }
    let release = said(program, ".osrel").unwrap_or_default();
    let piece = |section| Piece {
        volume,
        path: path.to_owned(),
        section: Some(section),
    };
    Ok(Boots {
        loader,
        entry: os_release(&release, "PRETTY_NAME").unwrap_or_else(|| path.to_owned()),
        kernel: piece(".linux"),
        // Microcode comes first, or the kernel does not find it.
        initrds: [".ucode", ".initrd"]
            .into_iter()
            .filter(|name| section(program, name).is_some())
            .map(piece)
            .collect(),
        cmdline: said(program, ".cmdline").unwrap_or_default(),
    })
}

/// A field of `os-release`.
pub(super) fn os_release(text: &str, field: &str) -> Option<String> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix('='))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}
