//! Evidence as a file: it verifies as it was signed, and in no other way.

use base64::{Engine, engine::general_purpose::STANDARD};
use billet_evidence::{
    Envelope, EnvelopeError, EvidenceError, Keyring, SiteKey, Statement, Subject, TrustedKeys,
    dsse::{IN_TOTO, pre_authentication_encoding},
    sign_statement,
    statement::ERASE_CERTIFICATE,
    verify_file, verify_file_in_time,
};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

fn site() -> SiteKey {
    SiteKey::from_seed(&[42; 32])
}

fn trusted() -> TrustedKeys {
    site().public().clone().into()
}

fn statement() -> Statement {
    let subject = Subject::sha256("S64GNX0T1", b"drive S64GNX0T1");
    let predicate =
        json!({"finishedAt": "2026-11-22T14:00:00Z", "drives": [{"method": "crypto-erase"}]});
    Statement::new(ERASE_CERTIFICATE, vec![subject], predicate)
}

fn file() -> Vec<u8> {
    sign_statement(&statement(), &site()).expect("signed")
}

fn envelope_error(bytes: &[u8], trusted: &TrustedKeys) -> EnvelopeError {
    match verify_file(bytes, trusted) {
        Err(EvidenceError::Envelope(error)) => error,
        other => panic!("expected an envelope error, got {other:?}"),
    }
}

#[test]
fn holds_as_it_was_signed() {
    let verified = verify_file(&file(), &trusted()).expect("verified");
    assert_eq!(verified.statement, statement());
    assert_eq!(verified.predicate_type, ERASE_CERTIFICATE);
    assert_eq!(verified.keyid, *site().id());
}

/// The example in DSSE's protocol document.
#[test]
fn encodes_as_the_specification_says() {
    let encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
    assert_eq!(
        encoded,
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
}

#[test]
fn has_the_shape_of_the_specification() {
    let envelope: serde_json::Value = serde_json::from_slice(&file()).expect("JSON");
    assert_eq!(envelope["payloadType"], "application/vnd.in-toto+json");
    assert_eq!(envelope["signatures"][0]["keyid"], site().id().0);
    let payload = STANDARD
        .decode(envelope["payload"].as_str().expect("text"))
        .expect("base64");
    assert_eq!(
        Statement::parse(&payload).expect("a statement"),
        statement()
    );
}

/// All of them: every bit of every byte of the file.
#[test]
fn a_changed_bit_anywhere_is_a_failure() {
    let (file, trusted) = (file(), trusted());
    for position in 0..file.len() {
        for bit in 0..8 {
            let mut changed = file.clone();
            changed[position] ^= 1 << bit;
            assert!(
                verify_file(&changed, &trusted).is_err(),
                "byte {position}, bit {bit}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_changed_byte_anywhere_is_a_failure(position in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut changed = file();
        let position = position.index(changed.len());
        prop_assume!(changed[position] != byte);
        changed[position] = byte;
        prop_assert!(verify_file(&changed, &trusted()).is_err());
    }

    #[test]
    fn a_lost_or_added_byte_changes_nothing_that_is_said(
        position in any::<prop::sample::Index>(), added in any::<Option<u8>>(),
    ) {
        let mut changed = file();
        let position = position.index(changed.len());
        match added {
            Some(byte) => changed.insert(position, byte),
            None => { changed.remove(position); }
        }
        // White space between tokens may come and go.
        if let Ok(verified) = verify_file(&changed, &trusted()) {
            prop_assert_eq!(verified.statement, statement());
        }
    }

    #[test]
    fn any_payload_comes_back_as_it_was(payload in prop::collection::vec(any::<u8>(), 0..200), seed in any::<[u8; 32]>()) {
        let key = SiteKey::from_seed(&seed);
        let bytes = Envelope::sign("text/plain", &payload, &key).to_bytes();
        let verified = Envelope::parse(&bytes).expect("an envelope")
            .verify("text/plain", &key.public().clone().into()).expect("verified");
        prop_assert_eq!(verified.payload, payload);
    }
}

#[test]
fn each_failure_says_what_it_is() {
    let stranger: TrustedKeys = SiteKey::from_seed(&[1; 32]).public().clone().into();
    assert!(matches!(
        envelope_error(&file(), &stranger),
        EnvelopeError::UnknownSigner { .. }
    ));
    assert!(matches!(
        envelope_error(&file(), &TrustedKeys::default()),
        EnvelopeError::UnknownSigner { .. }
    ));
    assert!(matches!(
        envelope_error(b"{}", &trusted()),
        EnvelopeError::Malformed { .. }
    ));
    assert!(matches!(
        envelope_error(b"", &trusted()),
        EnvelopeError::Malformed { .. }
    ));

    let other = Envelope::sign("text/plain", b"{}", &site()).to_bytes();
    assert!(matches!(
        envelope_error(&other, &trusted()),
        EnvelopeError::WrongPayloadType { .. }
    ));

    let mut envelope = Envelope::parse(&file()).expect("an envelope");
    let payload = statement().to_bytes().expect("JSON");
    let forged = String::from_utf8(payload)
        .expect("UTF-8")
        .replace("crypto-erase", "sanitize");
    envelope.payload = STANDARD.encode(forged);
    assert!(matches!(
        envelope_error(&envelope.to_bytes(), &trusted()),
        EnvelopeError::BadSignature { keyid } if keyid == *site().id()
    ));

    envelope.signatures.clear();
    assert!(matches!(
        envelope_error(&envelope.to_bytes(), &trusted()),
        EnvelopeError::Malformed { .. }
    ));

    let no_statement = Envelope::sign(IN_TOTO, b"signed, and no statement", &site()).to_bytes();
    assert!(matches!(
        verify_file(&no_statement, &trusted()),
        Err(EvidenceError::Statement(_))
    ));
}

#[test]
fn a_signature_does_not_pass_to_another_key() {
    let mut envelope = Envelope::parse(&file()).expect("an envelope");
    let stranger = SiteKey::from_seed(&[1; 32]);
    envelope.signatures[0].keyid = stranger.id().clone();
    let both: TrustedKeys = [site().public().clone(), stranger.public().clone()]
        .into_iter()
        .collect();
    assert!(matches!(
        envelope_error(&envelope.to_bytes(), &both),
        EnvelopeError::BadSignature { keyid } if keyid == *stranger.id()
    ));
}

#[test]
fn others_may_add_a_signature() {
    let mut envelope = Envelope::parse(&file()).expect("an envelope");
    let payload = statement().to_bytes().expect("JSON");
    let auditor = SiteKey::from_seed(&[1; 32]);
    envelope
        .signatures
        .extend(Envelope::sign(IN_TOTO, &payload, &auditor).signatures);
    envelope.signatures.reverse();
    let verified = verify_file(&envelope.to_bytes(), &trusted()).expect("verified");
    assert_eq!(verified.keyid, *site().id());
}

#[test]
fn a_printed_copy_still_holds() {
    let envelope = Envelope::parse(&file()).expect("an envelope");
    let pretty = serde_json::to_vec_pretty(&envelope).expect("JSON");
    assert_eq!(
        verify_file(&pretty, &trusted())
            .expect("verified")
            .statement,
        statement()
    );
}

#[test]
fn a_retired_key_signs_no_later_evidence() {
    let time = |text: &str| text.parse::<Timestamp>().expect("a time");
    let finished = |statement: &Statement| statement.predicate["finishedAt"].as_str()?.parse().ok();
    let next = SiteKey::from_seed(&[1; 32]);

    let mut ring = Keyring::default();
    ring.rotate(site().public().clone(), time("2026-01-01T00:00:00Z"));
    ring.rotate(next.public().clone(), time("2026-11-23T00:00:00Z"));
    assert!(verify_file_in_time(&file(), &ring, finished).is_ok());
    assert!(verify_file_in_time(&file(), &ring, |_| None).is_err());

    let mut ring = Keyring::default();
    ring.rotate(site().public().clone(), time("2026-01-01T00:00:00Z"));
    ring.rotate(next.public().clone(), time("2026-11-21T00:00:00Z"));
    assert!(verify_file_in_time(&file(), &ring, finished).is_err());
}
