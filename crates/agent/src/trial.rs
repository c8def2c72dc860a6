//! A machine's trial of kexec: the ramdisk starts itself, for the next boot.

use std::{
    io::{Cursor, Write},
    thread,
    time::{Duration, Instant},
};

use billet_drives::boots::section;
use billet_hardware::Tree;
use billet_model::work::{StartReport, TrialOrder};
use billet_protocol::boot::{BootRecord, CREDENTIAL};
use cpio::newc;

use crate::{
    channel::Channel,
    console::say,
    start::{Stage, StartError, intended},
};

/// How long the ramdisk may be out of reach.
const PATIENCE: Duration = Duration::from_secs(120);

/// Loads the ramdisk with a record for the boot that the order names.
///
/// # Errors
/// See [`StartError`].
pub fn load(
    order: &TrialOrder,
    record: &BootRecord,
    channel: &Channel,
) -> Result<StartReport, StartError> {
    let wrong = |detail: &str| StartError::Ramdisk(detail.to_owned());
    let token = order
        .token
        .as_ref()
        .ok_or_else(|| wrong("the control plane gave no token for the boot that is to follow"))?;
    let next = BootRecord {
        token: token.0.clone(),
        ..record.clone()
    };
    say(format!("fetching the ramdisk for boot {}", order.next));
    let program = fetch(channel)?;
    let part = |name| section(&program, name).ok_or_else(|| wrong("it is no unified kernel image"));
    let cmdline = String::from_utf8_lossy(part(".cmdline")?)
        .trim_matches(['\0', '\n', ' '])
        .to_owned();
    let mut stage = Stage::new()?;
    let writing = |source| StartError::Stage {
        doing: "copying the ramdisk",
        source,
    };
    stage
        .kernel()?
        .write_all(part(".linux")?)
        .map_err(writing)?;
    stage
        .initrd()?
        .write_all(part(".initrd")?)
        .map_err(writing)?;
    let archive = archive(&next).map_err(writing)?;
    stage.initrd()?.write_all(&archive).map_err(writing)?;
    let mut done = vec![format!("the ramdisk itself, for boot {}", order.next)];
    // The initrd's digest would be of the token as well: it is not told.
    done.extend(stage.load(&cmdline)?.into_iter().take(1));
    done.extend(intended(&Tree::new("/")));
    Ok(StartReport {
        kernel: "the ramdisk's".into(),
        initrd: Some("the ramdisk's, with a record of the next boot".into()),
        cmdline,
        done,
    })
}

fn fetch(channel: &Channel) -> Result<Vec<u8>, StartError> {
    let began = Instant::now();
    loop {
        match channel.ramdisk() {
            Err(error) if error.passes() && began.elapsed() < PATIENCE => {
                say(format!("fetching the ramdisk: {error}"));
                thread::sleep(Duration::from_secs(2));
            }
            other => return other.map_err(|e| StartError::Ramdisk(e.to_string())),
        }
    }
}

/// An archive with a boot record where the UEFI stub would put it.
fn archive(record: &BootRecord) -> std::io::Result<Vec<u8>> {
    let credential = format!(".extra/credentials/{CREDENTIAL}");
    let files = [
        (".extra", 0o040_500, vec![]),
        (".extra/credentials", 0o040_500, vec![]),
        (credential.as_str(), 0o100_400, record.to_json()),
    ];
    let inputs = files
        .into_iter()
        .zip(1u32..)
        .map(|((name, mode, data), n)| {
            let builder = newc::Builder::new(name).mode(mode).ino(n).nlink(1);
            (builder, Cursor::new(data))
        });
    cpio::write_cpio(inputs, Vec::new())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use billet_model::Secret;

    use super::*;

    #[test]
    fn the_record_stands_where_init_looks_for_it() {
        let record = BootRecord {
            servers: vec!["https://10.88.0.1:8443".into()],
            authority: "-----BEGIN CERTIFICATE-----".into(),
            token: Secret::new("t0ken"),
            addresses: vec![],
            made_at: serde_json::from_str("\"2026-01-01T00:00:00Z\"").expect("a time"),
        };
        let archive = archive(&record).expect("an archive");
        let mut rest = Cursor::new(archive);
        let mut names = Vec::new();
        loop {
            let mut reader = newc::Reader::new(rest).expect("an entry");
            let name = reader.entry().name().to_owned();
            if reader.entry().is_trailer() {
                break;
            }
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).expect("its bytes");
            if name.ends_with(CREDENTIAL) {
                assert_eq!(BootRecord::from_json(&bytes).expect("a record"), record);
            }
            names.push(name);
            rest = reader.finish().expect("the next");
        }
        assert_eq!(
            names,
            [
                ".extra",
                ".extra/credentials",
                ".extra/credentials/billet-boot.cred"
            ]
        );
    }
}
