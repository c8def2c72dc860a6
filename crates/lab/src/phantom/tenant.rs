//! A phantom that booted the tenant's system: it phones home as cloud-init would, with host keys
//! that it makes up.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use billet_model::work::Seed;
use billet_protocol::phone_home::{PATH, PhoneHome};

use super::agent::reach;
use super::{Shared, installer};

/// How often cloud-init tries to phone home, where it is not told otherwise.
const TRIES: usize = 10;
/// How long between two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// A system on a drive.
#[derive(Clone)]
pub(crate) struct Installed {
    pub lease: String,
    /// Serial of the drive that it is on.
    pub drive: String,
    pub seed: Option<Seed>,
    /// An installer put it there, and left it to say so: where.
    pub report: Option<String>,
}

/// Boot it, and keep running.
pub(super) async fn run(shared: &Arc<Shared>, installed: &Installed) {
    shared.say("Linux version 6.1.0-phantom: nothing real boots here");
    // What somebody types while it boots is there when it asks.
    let mut terminal = Terminal::connect(shared);
    if let Some(seed) = &installed.seed {
        phone_home(shared, installed, seed).await;
    }
    if let Some(url) = &installed.report
        && installer::report(shared, url).await
        && let Some(i) = &mut shared.state().installed
    {
        i.report = None;
    }
    terminal.run(&host_name(installed)).await
}

/// The serial line's far end, until the power goes.
struct Terminal<'a> {
    shared: &'a Shared,
    typed: tokio::sync::mpsc::Receiver<Vec<u8>>,
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.shared.console.disconnect();
    }
}

impl<'a> Terminal<'a> {
    fn connect(shared: &'a Shared) -> Self {
        let (input, typed) = tokio::sync::mpsc::channel(16);
        shared.console.connect(input);
        Self { shared, typed }
    }

    /// A login and a shell that know very little: all that is typed is echoed.
    async fn run(&mut self, host: &str) {
        let console = &self.shared.console;
        let (mut line, mut user) = (String::new(), None);
        console.wrote(format!("\r\n{host} login: ").as_bytes());
        while let Some(typed) = self.typed.recv().await {
            for &byte in &typed {
                if byte != b'\r' && byte != b'\n' {
                    console.wrote(&[byte]);
                    line.push(char::from(byte));
                    continue;
                }
                let entered = std::mem::take(&mut line);
                let said = match (&user, entered.trim()) {
                    (None, "") => String::new(),
                    (None, name) => {
                        user = Some(name.to_owned());
                        "Welcome to a phantom.\r\n".to_owned()
                    }
                    (Some(_), "exit") => {
                        user = None;
                        "logout\r\n".to_owned()
                    }
                    (Some(_), "") => String::new(),
                    (Some(_), "hostname") => format!("{host}\r\n"),
                    (Some(_), text) => match text.strip_prefix("echo ") {
                        Some(text) => format!("{text}\r\n"),
                        None => format!("{text}: not found\r\n"),
                    },
                };
                let prompt = match &user {
                    Some(user) => format!("{user}@{host}:~# "),
                    None => format!("{host} login: "),
                };
                console.wrote(format!("\r\n{said}{prompt}").as_bytes());
            }
        }
        std::future::pending().await
    }
}

fn host_name(installed: &Installed) -> String {
    installed
        .seed
        .as_ref()
        .and_then(|s| value_of(&s.meta_data, "local-hostname"))
        .unwrap_or_else(|| "localhost".into())
}

/// The value of a key in a simple YAML or JSON mapping of texts.
fn value_of(text: &str, key: &str) -> Option<String> {
    text.split(['\n', ',', '{', '}']).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let quotes = |c: char| c == '"' || c == '\'' || c.is_whitespace();
        (name.trim_matches(quotes) == key).then(|| value.trim_matches(quotes).to_owned())
    })
}

/// The address to phone home to, wherever in the seed it stands.
fn address(seed: &Seed) -> Option<String> {
    [&seed.vendor_data, &seed.user_data]
        .into_iter()
        .find_map(|text| {
            text.split(|c: char| c.is_whitespace() || "\"',[]{}".contains(c))
                .find(|word| word.starts_with("http") && word.contains(PATH))
                .map(str::to_owned)
        })
}

/// A public key of 32 bytes that nobody has the other half of.
pub(super) fn host_key(shared: &Shared, whose: &str) -> String {
    let name = b"ssh-ed25519";
    let mut blob = Vec::new();
    let mut part = |bytes: &[u8]| {
        blob.extend((bytes.len() as u32).to_be_bytes());
        blob.extend(bytes);
    };
    part(name);
    part(&shared.maker.bytes(&format!("host key {whose}")));
    format!("ssh-ed25519 {} root@phantom", STANDARD.encode(blob))
}

async fn phone_home(shared: &Arc<Shared>, installed: &Installed, seed: &Seed) {
    // A phantom mounts nothing, and says so where it is asked.
    let said = |url: String| url.replace("BILLET-DRIVES", "nothing+is+mounted+on+a+phantom");
    let Some(url) = address(seed).map(said).and_then(|u| reach(shared, &u)) else {
        return;
    };
    let form = PhoneHome {
        pub_key_rsa: Some("N/A".into()),
        pub_key_ecdsa: Some("N/A".into()),
        pub_key_ed25519: Some(host_key(shared, &installed.lease)),
        instance_id: value_of(&seed.meta_data, "instance-id"),
        hostname: Some(host_name(installed)),
        fqdn: Some(host_name(installed)),
        drives: None,
    };
    let Ok(client) = shared.clients.careless() else {
        return;
    };
    for _ in 0..TRIES {
        match client.post(url.clone()).form(&form).send().await {
            Ok(response) if response.status().is_success() => {
                // Once is enough for the life of the system.
                if let Some(i) = &mut shared.state().installed {
                    i.seed = i.seed.take().map(without_phone_home);
                }
                shared.say("cloud-init: phoned home");
                return;
            }
            Ok(response) => shared.say(format!("cloud-init: phone home: {}", response.status())),
            Err(e) => shared.say(format!("cloud-init: phone home: {e}")),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn without_phone_home(mut seed: Seed) -> Seed {
    seed.vendor_data.clear();
    seed.user_data.clear();
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_however_the_seed_is_written() {
        let url = "https://10.88.0.1:8443/phone-home/v1/abc";
        for vendor_data in [
            format!("#cloud-config\nphone_home:\n  url: {url}\n  post: all\n"),
            format!("#cloud-config\nphone_home: {{\"url\": \"{url}\", \"tries\": 3}}\n"),
            format!("{{\"phone_home\":{{\"url\":\"{url}\",\"post\":[\"instance_id\"]}}}}"),
        ] {
            let seed = Seed {
                meta_data: String::new(),
                user_data: String::new(),
                vendor_data,
                network_config: String::new(),
            };
            assert_eq!(address(&seed).as_deref(), Some(url));
        }
    }

    #[test]
    fn names_are_read_from_yaml_and_json() {
        let yaml = "instance-id: 0190\nlocal-hostname: \"m1\"\n";
        let json = "{\"instance-id\":\"0190\",\"local-hostname\":\"m1\"}";
        for text in [yaml, json] {
            assert_eq!(value_of(text, "instance-id").as_deref(), Some("0190"));
            assert_eq!(value_of(text, "local-hostname").as_deref(), Some("m1"));
        }
    }
}
