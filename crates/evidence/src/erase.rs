//! The erase certificate as a statement: which things it is about, and whether it agrees with itself.
//!
//! Its subjects are the machine and each drive, so that whoever holds a drive finds the certificate
//! by it. The digest of a drive is the SHA-256 of its reference in canonical JSON, such as
//! `{"serial":"S64GNX0T1","wwn":null}`: it identifies the drive, not what is on it.

use billet_model::{
    evidence::{DriveCertificate, EraseCertificate},
    work::DriveRef,
};
use serde_json::json;

use crate::{
    canonical::{self, CanonicalError},
    statement::{ERASE_CERTIFICATE, Statement, StatementError, Subject},
    verify::Verified,
};

/// Why an erase certificate could not be made, or is not to be believed although it was signed.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// A subject has no canonical form.
    #[error("naming what an erase certificate is about")]
    Subject(#[from] CanonicalError),
    /// What was signed is no erase certificate.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The certificate says two things that cannot both be so.
    #[error("checking an erase certificate: {what}")]
    Contradiction {
        /// What cannot be so.
        what: String,
    },
}

fn contradiction(what: impl Into<String>) -> EraseError {
    EraseError::Contradiction { what: what.into() }
}

/// The statement to sign for `certificate`.
///
/// # Errors
/// When the certificate contradicts itself: nothing untrue is to be signed.
pub fn erase_statement(
    certificate: EraseCertificate,
) -> Result<Statement<EraseCertificate>, EraseError> {
    check(&certificate)?;
    // Not asked of certificates that are read: what a method counts for may change with the years.
    if let Some(drive) = certificate
        .drives
        .iter()
        .find(|drive| drive.nist != drive.method.nist())
    {
        let serial = &drive.drive.serial;
        return Err(contradiction(format!(
            "drive {serial} has another NIST word than its method"
        )));
    }
    let subjects = subjects(&certificate)?;
    Ok(Statement::new(ERASE_CERTIFICATE, subjects, certificate))
}

/// The erase certificate in evidence that [`crate::verify_file`] accepted.
///
/// # Errors
/// When the evidence is of another kind, or contradicts itself.
pub fn erase_certificate(verified: Verified) -> Result<EraseCertificate, EraseError> {
    let statement = verified
        .statement
        .into_predicate::<EraseCertificate>(ERASE_CERTIFICATE)?;
    if statement.subject != subjects(&statement.predicate)? {
        return Err(contradiction(
            "its subjects are not the machine and drives that it describes",
        ));
    }
    check(&statement.predicate)?;
    Ok(statement.predicate)
}

fn subjects(certificate: &EraseCertificate) -> Result<Vec<Subject>, CanonicalError> {
    let machine = &certificate.machine;
    let identity = canonical::to_vec(&json!({"id": machine.id, "serial": machine.serial}))?;
    let mut subjects = vec![Subject::sha256(
        format!("machine {}", machine.id),
        &identity,
    )];
    for drive in &certificate.drives {
        subjects.push(drive_subject(&drive.drive)?);
    }
    Ok(subjects)
}

/// How a drive is named among the subjects of an erase certificate.
///
/// # Errors
/// None that a drive's reference can cause.
pub fn drive_subject(drive: &DriveRef) -> Result<Subject, CanonicalError> {
    let identity = canonical::to_vec(drive)?;
    Ok(Subject::sha256(
        format!("drive {}", drive.serial),
        &identity,
    ))
}

fn check(certificate: &EraseCertificate) -> Result<(), EraseError> {
    if certificate.verified_at < certificate.began_at {
        return Err(contradiction("the read-back is earlier than the erase"));
    }
    for (position, drive) in certificate.drives.iter().enumerate() {
        if certificate.drives[..position]
            .iter()
            .any(|other| other.drive == drive.drive)
        {
            return Err(contradiction(format!(
                "drive {} is on it twice",
                drive.drive.serial
            )));
        }
        check_drive(drive)?;
    }
    for unerased in &certificate.unerased {
        let serial = &unerased.drive.serial;
        if certificate.override_by.is_none() {
            return Err(contradiction(format!(
                "drive {serial} was not erased, and nobody let it go"
            )));
        }
        if certificate.drives.iter().any(|d| d.drive.serial == *serial) {
            return Err(contradiction(format!(
                "drive {serial} was erased, and was not"
            )));
        }
    }
    Ok(())
}

fn check_drive(drive: &DriveCertificate) -> Result<(), EraseError> {
    let serial = &drive.drive.serial;
    if drive.canaries_found > 0 || drive.samples_with_data > 0 {
        return Err(contradiction(format!(
            "data was still found on drive {serial}"
        )));
    }
    if drive.canaries_read != drive.canaries_planted {
        return Err(contradiction(format!(
            "of {} canaries on drive {serial}, {} were looked for",
            drive.canaries_planted, drive.canaries_read
        )));
    }
    Ok(())
}
