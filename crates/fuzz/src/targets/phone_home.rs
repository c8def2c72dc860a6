//! The form that a machine posts once its first boot is done.

use billet_protocol::phone_home::PhoneHome;

/// Reads the form: what is taken for a host key is one line that looks like one.
pub fn run(bytes: &[u8]) {
    let Ok(form) = serde_urlencoded::from_bytes::<PhoneHome>(bytes) else {
        return;
    };
    let keys = form.host_keys();
    assert!(keys.len() <= 3);
    for key in &keys {
        let words: Vec<&str> = key.split(' ').collect();
        assert_eq!(words.len(), 2, "{key:?}");
        // It goes into a file of known hosts, where a line is a host's.
        assert!(
            key.bytes()
                .all(|byte| byte.is_ascii_graphic() || byte == b' ')
        );
        assert!(key.len() < 4500, "{}", key.len());
    }
    let written = serde_urlencoded::to_string(&form).expect("a form");
    let back: PhoneHome = serde_urlencoded::from_str(&written).expect("a form");
    assert_eq!(back.host_keys(), keys);
}
