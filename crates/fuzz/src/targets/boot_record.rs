//! What stands beside the ramdisk on a boot medium.

use billet_protocol::boot::{BootRecord, MAX_BYTES};

/// Finds the record; one that is found is found again where it is written.
pub fn run(bytes: &[u8]) {
    let found = BootRecord::find(bytes).or_else(|| BootRecord::from_json(bytes).ok());
    let Some(record) = found else { return };
    let json = record.to_json();
    assert_eq!(BootRecord::from_json(&json).expect("a record"), record);
    let mut tail = vec![0; 512];
    tail.extend(record.to_tail());
    tail.extend([0; 64]);
    if json.len() <= MAX_BYTES {
        assert_eq!(BootRecord::find(&tail), Some(record.clone()));
    }
    let shown = format!("{record:?}");
    let token = record.token.expose();
    let elsewhere = format!(
        "{:?}{:?}{:?}",
        record.servers, record.authority, record.addresses
    );
    assert!(
        token.len() < 8 || elsewhere.contains(token) || !shown.contains(token),
        "a token is shown"
    );
}
