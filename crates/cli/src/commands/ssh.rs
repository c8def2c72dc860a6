//! `billet ssh`: the system's ssh, with the host keys that the machine sent to Billet.

use std::{ffi::OsString, io::Write, os::unix::process::ExitStatusExt};

use billet_model::{api::LeaseView, lease::LeaseState};
use clap::Args;

use crate::{
    app::App,
    failure::{Code, Failure},
};

/// Get root on a lease's machine by SSH.
///
/// Runs the system's ssh with the host keys that the machine itself sent when its first boot was
/// done, and with no others: a machine that shows another key is refused. Input, terminal and exit
/// status are passed through.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet ssh train-1
  billet ssh train-1 -- nvidia-smi -L
  billet ssh train-1 -i ~/.ssh/work -- 'cat > /root/data' < data")]
pub struct Ssh {
    /// The lease's name or id.
    lease: String,
    /// Sign in as this user.
    #[arg(short, long, default_value = "root")]
    user: String,
    /// Private key to sign in with.
    #[arg(short, long, value_name = "FILE")]
    identity: Option<OsString>,
    /// Port of the machine's SSH.
    #[arg(short, long, default_value_t = 22)]
    port: u16,
    /// A further option of ssh, as `ForwardAgent=yes`; may be repeated.
    #[arg(long = "option", value_name = "OPTION")]
    options: Vec<String>,
    /// Take the first host key shown, where the machine sent none (an image without cloud-init).
    #[arg(long)]
    accept_host_key: bool,
    /// Command to run there.
    #[arg(last = true)]
    command: Vec<OsString>,
}

impl Ssh {
    /// Runs ssh.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let client = app.client().await?;
        let lease = client.lease(&self.lease).await?;
        let address = address(&lease)?;
        // The ramdisk that runs for the tenant has keys of its own.
        let host_keys = match (&lease.rescue, lease.state) {
            (Some(rescue), LeaseState::Rescue) => &rescue.host_keys,
            _ => &lease.host_keys,
        };
        if host_keys.is_empty() && !self.accept_host_key {
            return Err(Failure::new(
                Code::Refused,
                format!(
                    "no host key of {} is known: its image did not send one",
                    lease.name
                ),
            )
            .hint("take the first one shown with --accept-host-key"));
        }
        let mut known = tempfile::NamedTempFile::new()
            .map_err(|error| Failure::failed(format!("making a file of host keys: {error}")))?;
        known
            .write_all(known_hosts(&address, self.port, host_keys).as_bytes())
            .map_err(|error| Failure::file("writing", known.path(), &error))?;
        let strict = if host_keys.is_empty() {
            "accept-new"
        } else {
            "yes"
        };

        let mut ssh = tokio::process::Command::new("ssh");
        let mut option = |text: String| {
            ssh.arg("-o").arg(text);
        };
        option(format!("UserKnownHostsFile={}", known.path().display()));
        option("GlobalKnownHostsFile=/dev/null".to_owned());
        option(format!("StrictHostKeyChecking={strict}"));
        option("UpdateHostKeys=no".to_owned());
        option("VerifyHostKeyDNS=no".to_owned());
        // The address says more than a Host block of one's own for it could mean.
        option(format!("HostName={address}"));
        self.options.into_iter().for_each(&mut option);
        if let Some(identity) = &self.identity {
            ssh.arg("-i")
                .arg(identity)
                .arg("-o")
                .arg("IdentitiesOnly=yes");
        }
        ssh.arg("-p").arg(self.port.to_string());
        ssh.arg("-l").arg(&self.user);
        ssh.arg("--").arg(&address).args(&self.command);

        // Ctrl-C is the remote program's, not ours.
        let interrupts = tokio::spawn(async { while tokio::signal::ctrl_c().await.is_ok() {} });
        let status = ssh.status().await;
        interrupts.abort();
        let status = status.map_err(|error| {
            let failure = Failure::failed(format!("running ssh: {error}"));
            failure.hint("install OpenSSH's client (Debian: openssh-client)")
        })?;
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(()),
            (Some(code), _) => Err(Failure::silent(u8::try_from(code).unwrap_or(255))),
            (None, signal) => {
                let signal = u8::try_from(signal.unwrap_or(0)).unwrap_or(0);
                Err(Failure::silent(128_u8.saturating_add(signal)))
            }
        }
    }
}

fn address(lease: &LeaseView) -> Result<String, Failure> {
    let name = &lease.name;
    let rescued = lease.state == LeaseState::Rescue && lease.rescue.is_some();
    if lease.state != LeaseState::Active && !rescued {
        let hint = match lease.state {
            LeaseState::Installing => {
                format!("its own installer runs: `billet lease console {name}` shows it")
            }
            LeaseState::Deploying
            | LeaseState::Reinstalling
            | LeaseState::Rescue
            | LeaseState::Measuring => {
                format!("wait for it: billet operation follow {}", lease.operation)
            }
            _ => "see `billet lease list`".to_owned(),
        };
        let sentence = format!("lease {name} is {}, not active", lease.state);
        return Err(Failure::new(Code::Refused, sentence).hint(hint));
    }
    lease
        .addresses
        .first()
        .map(|address| address.reached_at.to_string())
        .ok_or_else(|| {
            Failure::new(
                Code::Refused,
                format!("the machine of lease {name} has no address"),
            )
            .hint("an operator puts it on a network with `billet machine enroll`")
        })
}

/// Lines of a known_hosts file: OpenSSH wants the port with the address where it is not 22.
fn known_hosts(address: &str, port: u16, keys: &[String]) -> String {
    let host = if port == 22 {
        address.to_owned()
    } else {
        format!("[{address}]:{port}")
    };
    // A key is one line: what else a machine may have sent does not become a line of its own.
    keys.iter()
        .map(|key| {
            let words: Vec<&str> = key.split_whitespace().collect();
            format!("{host} {}\n", words.join(" "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::known_hosts;

    #[test]
    fn host_keys_become_lines() {
        let keys = [
            "ssh-ed25519 AAAA".to_owned(),
            "ssh-rsa BBBB\n* ssh-rsa EVIL".to_owned(),
        ];
        assert_eq!(
            known_hosts("127.88.0.11", 22, &keys),
            "127.88.0.11 ssh-ed25519 AAAA\n127.88.0.11 ssh-rsa BBBB * ssh-rsa EVIL\n"
        );
        assert_eq!(
            known_hosts("10.0.0.1", 2222, &keys[..1]),
            "[10.0.0.1]:2222 ssh-ed25519 AAAA\n"
        );
    }
}
