//! A unified kernel image has what was put into it, and is the same every time.

#![allow(clippy::print_stdout)] // A test says that it is skipped.

use crate::common;

use std::path::Path;
use std::process::Command;

use billet_media::ramdisk::{DEFAULT_STUB, Section, SigningKey, join, sections, sign};

fn stub() -> Option<Vec<u8>> {
    if Path::new(DEFAULT_STUB).exists() {
        return Some(std::fs::read(DEFAULT_STUB).unwrap());
    }
    println!("SKIPPED: {DEFAULT_STUB} is not there (package systemd-boot-efi)");
    None
}

#[test]
fn sections_come_out_as_they_went_in() {
    let Some(stub) = stub() else { return };
    let kernel: Vec<u8> = (0..3_000_001u32).map(|at| (at % 253) as u8).collect();
    let added = [
        Section::new(".cmdline", b"panic=10"),
        Section::new(".initrd", &[7; 5000]),
        Section::new(".linux", &kernel),
    ];
    let uki = join(&stub, &added).unwrap();
    let found = sections(&uki).unwrap();
    for section in &added {
        let (_, data) = found
            .iter()
            .find(|(name, _)| name == section.name)
            .unwrap_or_else(|| panic!("no {}", section.name));
        assert!(data == section.data, "{}", section.name);
    }
    for (name, data) in sections(&stub).unwrap() {
        assert!(
            found.contains(&(name, data)),
            "the stub's own are untouched"
        );
    }
    assert_eq!(uki, join(&stub, &added).unwrap());
}

#[test]
fn a_signature_covers_the_whole_image() {
    let Some(stub) = stub() else { return };
    for program in ["openssl", "sbsign", "sbverify"] {
        if !common::have(program, "signing") {
            return;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let signing = SigningKey {
        key: path("key.pem"),
        certificate: path("certificate.pem"),
    };
    common::sh(
        Command::new("openssl")
            .args(["req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes"])
            .args(["-subj", "/CN=test", "-keyout"])
            .arg(&signing.key)
            .arg("-out")
            .arg(&signing.certificate),
    );
    let uki = path("uki.efi");
    std::fs::write(
        &uki,
        join(&stub, &[Section::new(".linux", &[3; 70_001])]).unwrap(),
    )
    .unwrap();
    sign(&uki, &signing).unwrap();
    let verify = || {
        Command::new("sbverify")
            .arg("--cert")
            .arg(&signing.certificate)
            .arg(&uki)
            .output()
            .unwrap()
    };
    let output = verify();
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("gap"), "{said}");

    let mut changed = std::fs::read(&uki).unwrap();
    let place = changed.len() - 40_000;
    changed[place] ^= 1;
    std::fs::write(&uki, changed).unwrap();
    assert!(!verify().status.success());
}

#[test]
fn what_is_no_stub_is_refused() {
    for bytes in [&b""[..], b"MZ", &[0; 4096]] {
        assert!(join(bytes, &[]).is_err());
    }
    if let Some(stub) = stub() {
        for keep in [64, 128, 200, 500] {
            assert!(join(&stub[..keep], &[]).is_err(), "{keep}");
        }
        let many = vec![Section::new(".x", b"x"); 40];
        assert!(join(&stub, &many).is_err());
    }
}
