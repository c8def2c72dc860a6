//! The erase certificate: signed only if it agrees with itself, and read back whole.

use billet_evidence::{
    SiteKey, Statement, Subject,
    erase::{EraseError, drive_subject, erase_certificate, erase_statement},
    sign_statement,
    statement::{ERASE_CERTIFICATE, HANDOVER_REPORT, StatementError},
    verify_file,
};
use billet_model::{
    MachineId,
    evidence::{DriveCertificate, EraseCertificate, MachineSubject, MemoryCleared},
    inventory::Emulation,
    work::{DriveRef, EraseMethod, NistWord, TpmClear},
};
use jiff::{Timestamp, ToSpan};
use serde::Serialize;

fn drive(serial: &str, method: EraseMethod) -> DriveCertificate {
    DriveCertificate {
        drive: DriveRef {
            serial: serial.to_owned(),
            wwn: None,
        },
        size_bytes: 8 << 30,
        method,
        tried: vec![],
        nist: method.nist(),
        bytes: 8 << 30,
        canaries_planted: 64,
        canaries_read: 64,
        canaries_found: 0,
        samples_read: 4096,
        samples_with_data: 0,
    }
}

fn certificate() -> EraseCertificate {
    let began_at: Timestamp = "2026-11-22T14:00:00Z".parse().expect("a time");
    EraseCertificate {
        machine: MachineSubject {
            id: MachineId::from_parts(1_700_000_000_000, [7; 10]),
            name: "m1".parse().expect("a name"),
            serial: Some("LAB0001".to_owned()),
            manufacturer: Some("QEMU".to_owned()),
            model: None,
            emulation: Emulation::Emulated,
            site: "here".to_owned(),
            jurisdiction: "DE".to_owned(),
        },
        lease: None,
        project: None,
        began_at,
        verified_at: began_at + 90.seconds(),
        drives: vec![
            drive("D1", EraseMethod::FormatUser),
            drive("D2", EraseMethod::SanitizeCrypto),
        ],
        memory: MemoryCleared {
            method: "power cycle".to_owned(),
            off_seconds: 12,
            verified: false,
            gpu_memory: "no GPUs".to_owned(),
        },
        tpm: TpmClear::Cleared {
            readback: "no owner".to_owned(),
        },
        firmware_changes: None,
        settings: None,
        struck: Vec::new(),
        first_start: None,
        visits: Vec::new(),
        earlier_visits: None,
        unerased: Vec::new(),
        not_done: vec![],
        attestation: "agent unattested".to_owned(),
        network_isolation: "network isolation: not by Billet".to_owned(),
        override_by: None,
    }
}

fn read<P: Serialize>(statement: &Statement<P>) -> Result<EraseCertificate, EraseError> {
    let key = SiteKey::from_seed(&[9; 32]);
    let file = sign_statement(statement, &key).expect("signed");
    erase_certificate(verify_file(&file, &key.public().clone().into()).expect("verified"))
}

#[test]
fn is_read_back_whole() {
    let statement = erase_statement(certificate()).expect("a statement");
    assert_eq!(statement.subject.len(), 3);
    assert_eq!(statement.subject[1].name, "drive D1");
    let identity = br#"{"serial":"D1","wwn":null}"#;
    assert_eq!(statement.subject[1], Subject::sha256("drive D1", identity));
    assert_eq!(
        statement.subject[2],
        drive_subject(&certificate().drives[1].drive).expect("a subject")
    );
    assert_eq!(read(&statement).expect("a certificate"), certificate());
}

fn contradictory(change: impl FnOnce(&mut EraseCertificate), expected: &str) {
    let mut certificate = certificate();
    change(&mut certificate);
    let error = erase_statement(certificate)
        .expect_err(expected)
        .to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn nothing_untrue_is_signed() {
    contradictory(
        |it| it.drives[0].canaries_found = 1,
        "still found on drive D1",
    );
    contradictory(
        |it| it.drives[1].samples_with_data = 1,
        "still found on drive D2",
    );
    contradictory(|it| it.drives[0].canaries_read = 63, "63 were looked for");
    contradictory(
        |it| it.drives[0].nist = NistWord::Purge,
        "another NIST word",
    );
    contradictory(|it| it.drives[1] = it.drives[0].clone(), "on it twice");
    contradictory(
        |it| it.verified_at = it.began_at - 1.seconds(),
        "earlier than the erase",
    );
}

#[test]
fn what_was_signed_wrongly_is_refused() {
    let good = erase_statement(certificate()).expect("a statement");

    let mut other = good.clone();
    other.subject[1].name = "drive D3".to_owned();
    assert!(matches!(
        read(&other),
        Err(EraseError::Contradiction { .. })
    ));

    let mut other = good.clone();
    other.predicate.drives[0].samples_with_data = 3;
    assert!(matches!(
        read(&other),
        Err(EraseError::Contradiction { .. })
    ));

    let mut other = good;
    other.predicate_type = HANDOVER_REPORT.to_owned();
    assert!(matches!(
        read(&other),
        Err(EraseError::Statement(
            StatementError::WrongPredicateType { .. }
        ))
    ));

    let hollow = Statement::new(ERASE_CERTIFICATE, vec![], serde_json::json!({}));
    assert!(matches!(
        read(&hollow),
        Err(EraseError::Statement(
            StatementError::MalformedPredicate { .. }
        ))
    ));
}

#[test]
fn what_was_not_erased_names_who_let_it_go() {
    let mut told = certificate();
    told.unerased.push(billet_model::upkeep::UnerasedDrive {
        drive: billet_model::work::DriveRef {
            serial: "DEAD".into(),
            wwn: None,
        },
        reason: "dead".into(),
        by: "alice".into(),
        at: told.began_at,
        failure: Some("it does not answer".into()),
    });
    let refused = erase_statement(told.clone());
    assert!(matches!(refused, Err(EraseError::Contradiction { .. })));
    told.override_by = Some("alice".into());
    erase_statement(told.clone()).expect("it says who");
    told.unerased[0].drive = told.drives[0].drive.clone();
    let refused = erase_statement(told);
    assert!(matches!(refused, Err(EraseError::Contradiction { .. })));
}
