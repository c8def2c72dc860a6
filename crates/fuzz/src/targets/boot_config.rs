//! Boot configuration of an image, which gets kernel arguments: GRUB's script, a boot loader
//! entry, a kernel command line.

use super::directory;

/// Puts the bytes where each kind of configuration lies, and sets arguments in all of it.
pub fn run(bytes: &[u8]) {
    let directory = directory();
    let root = directory.path();
    let places = [
        "boot/grub/grub.cfg",
        "boot/loader/entries/a.conf",
        "etc/kernel/cmdline",
        "etc/default/grub",
    ];
    for place in places {
        let path = root.join(place);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }
    let extra = ["billet.try=1".to_owned(), "quiet".to_owned()];
    let Ok(changed) = billet_drives::grub::set(root, &extra) else {
        assert!(std::str::from_utf8(bytes).is_err(), "text was refused");
        return;
    };
    let read = |place: &str| std::fs::read(root.join(place)).expect("a file");
    let before: Vec<Vec<u8>> = places.iter().map(|place| read(place)).collect();
    let again = billet_drives::grub::set(root, &extra).expect("it was done before");
    assert_eq!(again, changed, "told otherwise the second time");
    let after: Vec<Vec<u8>> = places.iter().map(|place| read(place)).collect();
    assert_eq!(after, before, "changed twice");
    assert_eq!(read("etc/default/grub"), bytes, "what is the image's own");
    let entry = String::from_utf8_lossy(&before[1]).into_owned();
    let given = |line: &str| line.starts_with("options") && line.ends_with("quiet");
    assert!(
        entry
            .lines()
            .map(str::trim_start)
            .any(|line| given(line) || line.contains("billet.try=1")),
        "an entry without the arguments: {entry:?}"
    );
}
