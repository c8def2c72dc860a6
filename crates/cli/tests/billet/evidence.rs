//! Evidence and slices of the audit log are checked with no server, and any doubt is a failure.

use billet_evidence::{
    Checkpoint, SiteKey, Statement, Subject, TreeHash,
    audit::{Export, ExportedRow, Salt, leaf_hash},
    erase::erase_statement,
    sign_statement,
};
use billet_model::{
    evidence::{DriveCertificate, EraseCertificate, MachineSubject, MemoryCleared},
    inventory::Emulation,
    work::{DriveRef, EraseMethod, NistWord, TpmClear},
};
use serde_json::json;

use crate::support::{Home, text};

fn key() -> SiteKey {
    SiteKey::from_seed(&[7; 32])
}

fn certificate() -> EraseCertificate {
    EraseCertificate {
        machine: MachineSubject {
            id: "01940000-0000-7000-8000-000000000001"
                .parse()
                .expect("an id"),
            name: "r1-u07".parse().expect("a name"),
            serial: Some("S1".to_owned()),
            manufacturer: Some("Billet Lab".to_owned()),
            model: None,
            emulation: Emulation::Emulated,
            site: "fra1".to_owned(),
            jurisdiction: "DE".to_owned(),
        },
        lease: None,
        project: None,
        began_at: "2026-11-22T15:00:00Z".parse().expect("a time"),
        verified_at: "2026-11-22T15:04:00Z".parse().expect("a time"),
        drives: vec![DriveCertificate {
            drive: DriveRef {
                serial: "S64GNX0T1".to_owned(),
                wwn: None,
            },
            size_bytes: 4 << 30,
            method: EraseMethod::FormatCrypto,
            tried: Vec::new(),
            nist: NistWord::Purge,
            bytes: 4 << 30,
            canaries_planted: 32,
            canaries_read: 32,
            canaries_found: 0,
            samples_read: 1024,
            samples_with_data: 0,
        }],
        memory: MemoryCleared {
            method: "power cycle".to_owned(),
            off_seconds: 10,
            verified: false,
            gpu_memory: "there is none".to_owned(),
        },
        tpm: TpmClear::None,
        firmware_changes: Some(Vec::new()),
        settings: None,
        struck: Vec::new(),
        first_start: None,
        visits: Vec::new(),
        earlier_visits: None,
        unerased: Vec::new(),
        not_done: Vec::new(),
        attestation: "agent unattested".to_owned(),
        network_isolation: "network isolation: not by Billet".to_owned(),
        override_by: None,
    }
}

fn signed(certificate: EraseCertificate) -> Vec<u8> {
    let statement = erase_statement(certificate).expect("a statement");
    sign_statement(&statement, &key()).expect("signed")
}

#[tokio::test]
async fn good_evidence_holds_and_says_what_it_says() {
    let home = Home::new();
    let pem = home.write("key.pem", key().public().to_pem().expect("PEM"));
    let file = home.write("erase.json", signed(certificate()));
    let ran = home
        .run(&["evidence", "verify", text(&file), "--trust", text(&pem)])
        .await
        .good();
    insta::assert_snapshot!(ran.stdout.replace(text(&file), "erase.json").replace(&key().id().0, "KEYID"), @r"
    file       erase.json
    holds      yes: signed by a key you trust, not a byte changed
    signed by  KEYID

    machine      r1-u07 (01940000-0000-7000-8000-000000000001)
    serial       S1
    maker        Billet Lab
    lab          emulated: this machine is not real silicon
    site         fra1 (DE)
    erase began  2026-11-22 15:00
    read back    2026-11-22 15:04
    drives       S64GNX0T1, 4 GiB: Purge (NIST SP 800-88)
                   by NVMe format, crypto erase, over all of it
                   read back after a power cycle: 0 of 32 canaries still there, 0 of 1024 samples with data
    memory       power cycle; power seen off for 10s; not verified
    gpu memory   there is none
    tpm          there is none
    firmware     as before the lease
    agent        agent unattested
    network      network isolation: not by Billet
    ");
    let json = home
        .run(&[
            "evidence",
            "verify",
            text(&file),
            "--trust",
            text(&pem),
            "-o",
            "json",
        ])
        .await
        .good()
        .json();
    assert_eq!(json["items"][0]["verified"], true);
    assert_eq!(json["items"][0]["keyid"], key().id().0);
}

#[tokio::test]
async fn any_doubt_is_a_failure() {
    let home = Home::new();
    let good = signed(certificate());
    let trusted = home.write("key.pem", key().public().to_pem().expect("PEM"));
    let stranger = SiteKey::from_seed(&[8; 32]).public().to_pem().expect("PEM");
    let stranger = home.write("stranger.pem", stranger);

    let mut changed = good.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let mut overridden = certificate();
    overridden.override_by = Some("alice: drive shredded".to_owned());
    let mut unread = certificate();
    unread.drives[0].samples_read = 0;
    unread.drives[0].canaries_planted = 0;
    unread.drives[0].canaries_read = 0;
    let mut none = certificate();
    none.drives.clear();
    // What no site of good will signs, signed all the same.
    let mut found = certificate();
    found.drives[0].canaries_found = 1;
    let honest = erase_statement(certificate()).expect("a statement");
    let found = Statement::new(honest.predicate_type.clone(), honest.subject.clone(), found);
    let other = Statement::new(
        honest.predicate_type,
        vec![Subject::sha256("machine x", b"x")],
        certificate(),
    );
    let sign = |statement| sign_statement(statement, &key()).expect("signed");

    for (name, bytes, trust, wanted) in [
        ("changed", changed, &trusted, "NO: "),
        ("stranger", good.clone(), &stranger, "which is not trusted"),
        (
            "overridden",
            signed(overridden),
            &trusted,
            "without a full erase, by alice: drive shredded",
        ),
        (
            "unread",
            signed(unread),
            &trusted,
            "nothing of drive S64GNX0T1 was read back",
        ),
        ("none", signed(none), &trusted, "it names no drive"),
        (
            "found",
            sign(&found),
            &trusted,
            "data was still found on drive S64GNX0T1",
        ),
        (
            "other",
            sign(&other),
            &trusted,
            "its subjects are not the machine and drives",
        ),
        ("empty", Vec::new(), &trusted, "it is not a DSSE envelope"),
    ] {
        let file = home.write(name, bytes);
        let ran = home
            .run(&["evidence", "verify", text(&file), "--trust", text(trust)])
            .await;
        assert_eq!(ran.code, 1, "{name}");
        assert!(ran.stdout.contains(wanted), "{name}: {}", ran.stdout);
        assert!(
            ran.stderr.starts_with("error: 1 of 1 file does not hold\n"),
            "{name}"
        );
    }
    // One bad file among good ones is a failure of all.
    let (good, bad) = (home.write("good", good), home.path("empty"));
    let arguments = [
        "evidence",
        "verify",
        text(&good),
        text(&bad),
        "--trust",
        text(&trusted),
    ];
    let ran = home.run(&arguments).await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr
            .starts_with("error: 1 of 2 files does not hold\n")
    );
    // Keys that are none are a wrong use.
    let arguments = ["evidence", "verify", text(&good), "--trust", text(&bad)];
    assert_eq!(home.run(&arguments).await.code, 2);
}

#[tokio::test]
async fn a_slice_of_the_audit_log_holds_or_not() {
    let home = Home::new();
    let trusted = home.write("key.pem", key().public().to_pem().expect("PEM"));
    let (row, salt) = (json!({ "action": "lease.create" }), Salt([3; 16]));
    // A log of one row: its hash is the root, and nothing is needed to prove it.
    let root: TreeHash = leaf_hash(&row, &salt).expect("a hash");
    let checkpoint = Checkpoint {
        origin: "billet.example.org/audit".to_owned(),
        size: 1,
        root,
    };
    let mut export = Export {
        checkpoint: checkpoint.sign(&key()).expect("signed"),
        rows: vec![ExportedRow {
            index: 0,
            row,
            salt,
            proof: Vec::new(),
        }],
    };
    let write =
        |name: &str, export: &Export| home.write(name, serde_json::to_vec(export).expect("JSON"));
    let file = write("good.json", &export);
    let arguments = ["audit", "verify", text(&file), "--trust", text(&trusted)];
    let ran = home.run(&arguments).await.good();
    assert!(
        ran.stdout.contains("billet.example.org/audit"),
        "{}",
        ran.stdout
    );

    export.rows[0].row = json!({ "action": "lease.release" });
    let file = write("bad.json", &export);
    let arguments = ["audit", "verify", text(&file), "--trust", text(&trusted)];
    let ran = home.run(&arguments).await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr
            .contains("row 0 is not in the log as it is shown"),
        "{}",
        ran.stderr
    );

    let file = home.path("good.json");
    let mut arguments = vec!["audit", "verify", text(&file), "--trust", text(&trusted)];
    arguments.extend(["--origin", "another.example.org/audit"]);
    assert_eq!(home.run(&arguments).await.code, 1);
}
