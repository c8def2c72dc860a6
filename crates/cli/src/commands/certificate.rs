//! An erase certificate in words.

use base64::{Engine, engine::general_purpose::STANDARD};
use billet_evidence::{Envelope, Statement, statement::ERASE_CERTIFICATE};
use billet_model::{
    evidence::{DriveCertificate, EraseCertificate},
    lease::Visit,
    upkeep::UnerasedDrive,
    warm::FirstStart,
    work::{EraseMethod, NistWord, TpmClear},
};

use super::machine::mark;
use crate::{human, output::card};

/// What an envelope says, without looking at its signature: for show alone.
pub fn unchecked(bytes: &[u8]) -> Option<EraseCertificate> {
    let payload = STANDARD.decode(Envelope::parse(bytes).ok()?.payload).ok()?;
    let statement = Statement::parse(&payload).ok()?;
    let statement = statement.into_predicate(ERASE_CERTIFICATE).ok()?;
    Some(statement.predicate)
}

/// Why a certificate that was signed is still no proof that every drive is clean.
pub fn doubt(certificate: &EraseCertificate) -> Option<String> {
    if let Some(who) = &certificate.override_by {
        return Some(format!(
            "the machine was let go without a full erase, by {who}"
        ));
    }
    if certificate.drives.is_empty() {
        return Some("it names no drive".to_owned());
    }
    let unread = certificate
        .drives
        .iter()
        .find(|drive| drive.canaries_read == 0 && drive.samples_read == 0);
    unread.map(|drive| format!("nothing of drive {} was read back", drive.drive.serial))
}

fn method(method: EraseMethod) -> &'static str {
    match method {
        EraseMethod::SanitizeCrypto => "NVMe sanitize, crypto erase",
        EraseMethod::SanitizeBlock => "NVMe sanitize, block erase",
        EraseMethod::SanitizeOverwrite => "NVMe sanitize, overwrite",
        EraseMethod::FormatCrypto => "NVMe format, crypto erase",
        EraseMethod::FormatUser => "NVMe format, user data erase",
        EraseMethod::AtaSecureErase => "ATA secure erase",
        EraseMethod::WriteZeroes => "write zeroes over every block",
        EraseMethod::Overwrite => "overwrite of every block",
    }
}

fn drive(d: &DriveCertificate) -> String {
    let word = match d.nist {
        NistWord::Clear => "Clear",
        NistWord::Purge => "Purge",
    };
    let covered = if d.bytes >= d.size_bytes {
        "all".to_owned()
    } else {
        human::bytes(d.bytes)
    };
    let mut lines = vec![
        format!(
            "{}, {}: {word} (NIST SP 800-88)",
            d.drive.serial,
            human::bytes(d.size_bytes)
        ),
        format!("  by {}, over {covered} of it", method(d.method)),
        format!(
            "  read back after a power cycle: {} of {} canaries still there, {} of {} samples with data",
            d.canaries_found, d.canaries_read, d.samples_with_data, d.samples_read
        ),
    ];
    for tried in &d.tried {
        lines.push(format!(
            "  not by {}: {}",
            method(tried.method),
            tried.reason
        ));
    }
    lines.join("\n")
}

/// The certificate for people.
pub fn show(c: &EraseCertificate) -> String {
    let machine = &c.machine;
    let maker: Vec<&str> = [&machine.manufacturer, &machine.model]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let drives: Vec<String> = c.drives.iter().map(drive).collect();
    let tpm = match &c.tpm {
        TpmClear::None => "there is none".to_owned(),
        TpmClear::Cleared { readback } => format!("cleared; {readback}"),
        TpmClear::NotCleared { reason } => format!("NOT cleared: {reason}"),
    };
    let memory = format!(
        "{}; power seen off for {}; {}",
        c.memory.method,
        human::length(std::time::Duration::from_secs(c.memory.off_seconds)),
        if c.memory.verified {
            "verified"
        } else {
            "not verified"
        },
    );
    let settings = c.settings.iter().flat_map(|s| &s.changes);
    let put_back: Vec<String> = settings
        .map(|change| format!("{}; {}", change.sentence(), change.came_of_it.words()))
        .collect();
    let struck: Vec<String> = c
        .struck
        .iter()
        .map(|s| format!("{} on {}: {}", s.drive.serial, human::time(s.at), s.reason))
        .collect();
    let firmware = match &c.firmware_changes {
        None => "could not be compared".to_owned(),
        Some(changes) if changes.is_empty() => "as before the lease".to_owned(),
        Some(_) if !put_back.is_empty() => put_back.join("\n"),
        Some(changes) => changes.join("\n"),
    };
    let emulation = match mark(machine.emulation) {
        "" => String::new(),
        mark => format!("{mark}: this machine is not real silicon"),
    };
    card([
        ("machine", format!("{} ({})", machine.name, machine.id)),
        ("serial", machine.serial.clone().unwrap_or_default()),
        ("maker", maker.join(" ")),
        ("lab", emulation),
        (
            "site",
            format!("{} ({})", machine.site, machine.jurisdiction),
        ),
        (
            "lease",
            c.lease.map(|id| id.to_string()).unwrap_or_default(),
        ),
        (
            "project",
            c.project.map(|id| id.to_string()).unwrap_or_default(),
        ),
        ("erase began", human::time(c.began_at)),
        ("read back", human::time(c.verified_at)),
        ("drives", drives.join("\n")),
        ("memory", memory),
        ("gpu memory", c.memory.gpu_memory.clone()),
        ("tpm", tpm),
        ("firmware", firmware),
        (
            "visits",
            c.visits.iter().map(visit).collect::<Vec<_>>().join("\n"),
        ),
        (
            "earlier visits",
            c.earlier_visits.as_ref().map_or(String::new(), |e| {
                format!("{} more, in {}", e.count, e.recorded_in)
            }),
        ),
        (
            "first start",
            c.first_start.as_ref().map(first_start).unwrap_or_default(),
        ),
        ("drives struck", struck.join("\n")),
        (
            "NOT erased",
            c.unerased
                .iter()
                .map(UnerasedDrive::told)
                .collect::<Vec<_>>()
                .join("\n"),
        ),
        ("not done", c.not_done.join("\n")),
        ("agent", c.attestation.clone()),
        ("network", c.network_isolation.clone()),
        ("override", c.override_by.clone().unwrap_or_default()),
    ])
}

/// How a lease's system came to run, and what that means for measured boot.
pub(super) fn first_start(start: &FirstStart) -> String {
    let mut lines = vec![start.measured_boot.clone()];
    if start.prepared {
        lines.push("the image stood on the drive before the lease".to_owned());
    }
    lines.extend(start.why.iter().map(|why| format!("because: {why}")));
    lines.extend(start.kernel.iter().map(|k| format!("kernel: {k}")));
    lines.extend(start.initrd.iter().map(|i| format!("initrd: {i}")));
    lines.extend(start.cmdline.iter().map(|c| format!("command line: {c}")));
    lines.extend(start.ramdisk.iter().map(|r| format!("ramdisk: {r}")));
    lines.extend(start.done.iter().cloned());
    lines.join("\n")
}

/// A time that something of Billet's ran on a tenant's machine, in a line.
pub(super) fn visit(visit: &Visit) -> String {
    let ended = visit.ended_at.map_or_else(
        || "not ended by itself".to_owned(),
        |at| format!("until {}", human::time(at)),
    );
    format!(
        "{} from {} {ended}: {}",
        visit.kind,
        human::time(visit.began_at),
        visit.done.join("; ")
    )
}
