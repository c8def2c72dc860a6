//! Whether an erase is accepted, and the certificate that says so.

use std::collections::BTreeMap;

use billet_model::{
    Time,
    evidence::{DriveCertificate, EarlierVisits, EraseCertificate, MachineSubject, MemoryCleared},
    lease::Lease,
    machine::Machine,
    site::Site,
    upkeep::{Restoration, UnerasedDrive},
    work::{DriveErase, DriveRef, DriveVerify, TpmClear},
};

/// Why an erase is not accepted, if it is not: each drive that may be erased
/// must have been, wholly, and no drive of the machine's may be left over. `sizes`
/// are those that the drives had before, in bytes by serial number.
pub fn erase_failure(
    ordered: &[DriveRef],
    sizes: &BTreeMap<String, u64>,
    erased: &[DriveErase],
    unordered: &[DriveRef],
) -> Option<String> {
    if let Some(stranger) = unordered.first() {
        return Some(format!(
            "drive {} is in the machine and nobody confirmed it for erasure",
            stranger.serial
        ));
    }
    for drive in ordered {
        let Some(erase) = erased.iter().find(|e| e.drive.serial == drive.serial) else {
            return Some(format!("drive {} was not erased", drive.serial));
        };
        if let Some(failure) = &erase.failure {
            return Some(format!("drive {}: {failure}", drive.serial));
        }
        if erase.method.is_none() {
            return Some(format!("drive {}: no method worked", drive.serial));
        }
        if erase.bytes < erase.size_bytes || erase.size_bytes == 0 {
            return Some(format!(
                "drive {}: {} of {} bytes were erased",
                drive.serial, erase.bytes, erase.size_bytes
            ));
        }
        // A namespace made smaller, a protected area: by whoever had root.
        let had = sizes.get(&drive.serial).copied().unwrap_or_default();
        if erase.size_bytes < had {
            return Some(format!(
                "drive {serial}: it shows {} bytes, and had {had}: what it hides was not erased; \
                 give it its whole size again, or strike it from the list and add it anew",
                erase.size_bytes,
                serial = drive.serial,
            ));
        }
        if erase.canaries.is_empty() {
            return Some(format!("drive {}: no canaries were planted", drive.serial));
        }
    }
    None
}

/// The drives whose erase must succeed: all but those that an operator lets go.
pub fn to_erase(machine: &Machine) -> Vec<DriveRef> {
    machine
        .drives
        .iter()
        .filter(|d| !machine.upkeep.lets_go(&d.serial))
        .cloned()
        .collect()
}

/// What a certificate is made from.
pub struct EraseFacts<'a> {
    /// The machine, with its erase record.
    pub machine: &'a Machine,
    /// Its site.
    pub site: Option<&'a Site>,
    /// The lease whose data it was.
    pub lease: Option<&'a Lease>,
    /// When the read-back ended.
    pub now: Time,
    /// Canaries and samples that each drive must have had: all of its blocks,
    /// where it has fewer.
    pub canaries: u32,
    /// See `canaries`.
    pub samples: u32,
    /// What the read-back found.
    pub drives: &'a [DriveVerify],
    /// What came of clearing the TPM.
    pub tpm: TpmClear,
}

/// The certificate, if the read-back allows one.
///
/// # Errors
/// The first thing that stands against it, in a sentence: a drive not read
/// back, a canary found, a sample with data, power not seen off.
pub fn certificate(facts: EraseFacts<'_>) -> Result<EraseCertificate, String> {
    let machine = facts.machine;
    let record = machine.erase.clone().unwrap_or_default();
    if let Some(failure) = erase_failure(
        &to_erase(machine),
        &machine.upkeep.sizes,
        &record.drives,
        &[],
    ) {
        return Err(failure);
    }
    if machine.drives.is_empty() {
        return Err("no drive of the machine is known, so none can be said to be erased".into());
    }
    let (Some(from), Some(until)) = (record.off_from, record.off_until) else {
        return Err("power was not seen off between erase and read-back".into());
    };
    let mut drives = Vec::new();
    let mut unerased = Vec::new();
    for wanted in &machine.drives {
        let erase = record
            .drives
            .iter()
            .find(|e| e.drive.serial == wanted.serial);
        let erased = match erase {
            Some(erase) => drive(&facts, erase),
            None => Err(format!("drive {} was not there", wanted.serial)),
        };
        let let_go = &machine.upkeep.let_go;
        let let_go = let_go.iter().find(|u| u.drive.serial == wanted.serial);
        match (erased, let_go) {
            (Ok(erased), _) => drives.push(erased),
            (Err(failure), Some(let_go)) => unerased.push(UnerasedDrive {
                failure: Some(failure),
                ..let_go.clone()
            }),
            (Err(failure), None) => return Err(failure),
        }
    }
    let lease = facts.lease.filter(|l| record.lease == Some(l.id));
    let mut not_done = Vec::new();
    if let TpmClear::NotCleared { reason } = &facts.tpm {
        not_done.push(format!("TPM not cleared: {reason}"));
    }
    match (&record.firmware_changes, lease) {
        (None, Some(_)) => not_done.push(
            "firmware settings not compared with those before the lease: they could not be read"
                .into(),
        ),
        (None, None) => {
            not_done.push("firmware settings not compared: there is no reading from before".into())
        }
        _ => {}
    }
    let settings = record.restoring.map(|r| {
        let mut report = r.report;
        for change in &mut report.changes {
            change.user = None;
            if change.came_of_it == Restoration::Pending {
                change.came_of_it = Restoration::Left {
                    why: "it was not looked at again".into(),
                };
            }
            if let Restoration::Left { why } = &change.came_of_it {
                not_done.push(format!("{} not put back: {why}", change.what));
            }
        }
        not_done.extend(
            report
                .not_compared
                .iter()
                .map(|n| format!("not compared: {n}")),
        );
        report
    });
    for struck in &machine.upkeep.struck {
        let (serial, reason) = (&struck.drive.serial, &struck.reason);
        not_done.push(format!(
            "drive {serial} not erased: it left the machine before, on an operator's word ({reason})"
        ));
    }
    not_done.extend(unerased.iter().map(UnerasedDrive::told));
    let override_by = unerased
        .iter()
        .map(|u| format!("{} (drive {}: {})", u.by, u.drive.serial, u.reason))
        .collect::<Vec<_>>()
        .join("; ");
    let gpus = machine.inventory.as_ref().map_or(0, |i| i.gpus.len());
    let inventory = machine.inventory.as_ref();
    Ok(EraseCertificate {
        machine: MachineSubject {
            id: machine.id,
            name: machine.name.clone(),
            serial: inventory.and_then(|i| i.system.serial.clone()),
            manufacturer: inventory.and_then(|i| i.system.manufacturer.clone()),
            model: inventory.and_then(|i| i.system.model.clone()),
            emulation: machine.emulation,
            site: facts.site.map_or_else(String::new, |s| s.name.to_string()),
            jurisdiction: facts
                .site
                .map_or_else(String::new, |s| s.jurisdiction.clone()),
        },
        lease: record.lease,
        project: lease.map(|l| l.project),
        began_at: record.began.unwrap_or(from),
        verified_at: facts.now,
        drives,
        memory: MemoryCleared {
            method: "power off".into(),
            off_seconds: u64::try_from(until.duration_since(from).as_secs()).unwrap_or(0),
            verified: false,
            gpu_memory: if gpus == 0 {
                "no GPU".into()
            } else {
                "GPUs: not tested, memory not wiped by software; lost its power with the machine"
                    .into()
            },
        },
        tpm: facts.tpm,
        firmware_changes: record.firmware_changes,
        settings,
        struck: machine.upkeep.struck.clone(),
        visits: lease.map_or_else(Vec::new, |l| l.visits.clone()),
        earlier_visits: lease.filter(|l| l.earlier_visits > 0).map(|l| EarlierVisits {
            count: l.earlier_visits,
            recorded_in: format!(
                "the audit log, as lease.reinstall, lease.rescue, lease.measure and machine.break_fix of lease {}",
                l.id
            ),
        }),
        first_start: lease.and_then(|l| l.first_start.clone()),
        not_done,
        attestation: "agent unattested".into(),
        network_isolation: "network isolation: not by Billet".into(),
        unerased,
        override_by: Some(override_by).filter(|by| !by.is_empty()),
    })
}

/// What the certificate says of a drive, if its erase and read-back allow it.
fn drive(facts: &EraseFacts<'_>, erase: &DriveErase) -> Result<DriveCertificate, String> {
    let serial = &erase.drive.serial;
    let alone = std::slice::from_ref(erase);
    if let Some(failure) = erase_failure(
        std::slice::from_ref(&erase.drive),
        &facts.machine.upkeep.sizes,
        alone,
        &[],
    ) {
        return Err(failure);
    }
    let read = facts
        .drives
        .iter()
        .find(|v| v.drive.serial == *serial)
        .ok_or_else(|| format!("drive {serial} was not read back"))?;
    if let Some(failure) = &read.failure {
        return Err(format!("drive {serial}: {failure}"));
    }
    let planted = u32::try_from(erase.canaries.len()).unwrap_or(u32::MAX);
    // What was ordered is the floor: one canary and one sample prove little.
    let blocks = erase.size_bytes / 4096;
    for (what, is, floor) in [
        ("canaries were planted", planted, facts.canaries),
        ("blocks were sampled", read.samples_read, facts.samples),
    ] {
        if u64::from(is) < u64::from(floor).min(blocks) {
            return Err(format!("drive {serial}: {is} {what}, of {floor} ordered"));
        }
    }
    if read.canaries_read != planted {
        return Err(format!(
            "drive {serial}: {} of {planted} canaries were looked for",
            read.canaries_read
        ));
    }
    if read.canaries_found > 0 {
        return Err(format!(
            "drive {serial}: {} of {planted} canaries are still there after the erase",
            read.canaries_found
        ));
    }
    if read.samples_with_data > 0 {
        return Err(format!(
            "drive {serial}: {} of {} sampled blocks hold data after the erase",
            read.samples_with_data, read.samples_read
        ));
    }
    let method = erase.method.ok_or("no method")?;
    Ok(DriveCertificate {
        drive: erase.drive.clone(),
        size_bytes: erase.size_bytes,
        method,
        tried: erase.tried.clone(),
        nist: method.nist(),
        bytes: erase.bytes,
        canaries_planted: planted,
        canaries_read: read.canaries_read,
        canaries_found: 0,
        samples_read: read.samples_read,
        samples_with_data: 0,
    })
}
