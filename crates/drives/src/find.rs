//! A drive is known by its serial, and by its WWN where that is named.

use billet_model::{inventory::Drive, work::DriveRef};

/// The drive of the machine's own that is meant. Never one that is remote or
/// removable, whatever its serial.
pub fn find<'a>(drives: &'a [Drive], wanted: &DriveRef) -> Option<&'a Drive> {
    drives
        .iter()
        .filter(|d| !d.remote && !d.removable)
        .find(|d| {
            let same_wwn = wanted.wwn.is_none() || d.wwn == wanted.wwn;
            d.serial.as_deref() == Some(wanted.serial.as_str()) && same_wwn
        })
}

/// How a drive of the inventory is named.
pub(crate) fn reference(drive: &Drive) -> DriveRef {
    DriveRef {
        serial: drive.serial.clone().unwrap_or_default(),
        wwn: drive.wwn.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_and_wwn_must_both_match_and_a_remote_drive_never_does() {
        let drive = |serial: &str, wwn: Option<&str>| Drive {
            serial: Some(serial.into()),
            wwn: wwn.map(str::to_owned),
            ..Drive::default()
        };
        let wanted = |serial: &str, wwn: Option<&str>| DriveRef {
            serial: serial.into(),
            wwn: wwn.map(str::to_owned),
        };
        let mut drives = vec![
            drive("A", Some("1")),
            drive("A", Some("2")),
            drive("B", None),
        ];
        let at = |drives: &[Drive], w: DriveRef| find(drives, &w).map(|d| d.wwn.clone());
        assert_eq!(at(&drives, wanted("A", Some("2"))), Some(Some("2".into())));
        assert_eq!(at(&drives, wanted("B", Some("2"))), None);
        assert_eq!(at(&drives, wanted("B", None)), Some(None));
        drives[2].remote = true;
        assert_eq!(at(&drives, wanted("B", None)), None);
        assert_eq!(at(&drives, wanted("", None)), None);
    }
}
