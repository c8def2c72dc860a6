//! The command line.

use clap::{Args, Parser, Subcommand};

use crate::{commands::*, failure::EXIT_CODES, output::Format};

/// Bare metal GPUs from machines that you own.
///
/// Billet enrolls machines, leases them whole and with root, takes them back, erases them with
/// proof, and offers them again. Operators bring machines in, tenants lease them, auditors check
/// what is on record.
#[derive(Debug, Parser)]
#[command(
    name = "billet",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "`billet help exit-codes` explains exit codes, `billet help environment` the variables."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// How to print results.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub output: Format,
    /// Print results and errors, and nothing else.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Log more to stderr; twice for still more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// How to log to stderr.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
    /// Ask this server, by the name given at `login --context`.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
}

/// In which form to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line, with its spans' fields, for programs.
    Json,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(Box<serve::Serve>),
    Backup(backup::Backup),
    Restore(backup::Restore),

    Login(login::Login),
    Logout(login::Logout),
    Whoami(login::Whoami),

    Apply(apply::Apply),
    #[command(subcommand)]
    Machine(machine::Machine),
    #[command(subcommand)]
    Site(place::Site),
    #[command(subcommand)]
    Network(place::Network),
    #[command(subcommand)]
    Type(place::Type),

    Offers(lease::Offers),
    #[command(subcommand)]
    Image(image::Image),
    #[command(subcommand)]
    Lease(lease::Lease),
    Ssh(ssh::Ssh),
    #[command(subcommand)]
    Operation(operation::Operation),

    #[command(subcommand)]
    Organisation(people::Organisation),
    #[command(subcommand)]
    Project(people::Project),
    #[command(subcommand)]
    Quota(quota::Quota),
    #[command(subcommand)]
    User(user::User),
    #[command(subcommand)]
    Group(group::Group),
    #[command(subcommand)]
    Token(token::Token),

    #[command(subcommand)]
    Evidence(evidence::Evidence),
    #[command(subcommand)]
    Audit(audit::Audit),
    Events(events::Events),
    #[command(subcommand)]
    Webhook(webhook::Webhook),
    #[command(subcommand)]
    Keys(evidence::Keys),

    #[command(subcommand)]
    Bmc(bmc::Bmc),
    #[command(subcommand)]
    Lab(lab::Lab),
    #[command(subcommand)]
    Ramdisk(build::Ramdisk),

    Completion(completion::Completion),
    Help(Help),
}

/// Explain a command or a topic.
///
/// Topics: exit-codes, environment, manifest, placeholders.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  billet help exit-codes\n  billet help lease create")]
pub struct Help {
    /// A topic, or a command with its subcommand.
    #[arg(value_name = "TOPIC")]
    pub words: Vec<String>,
}

/// What `billet help environment` prints.
pub const ENVIRONMENT: &str = "\
Variables, before which options on the command line go, and which go before the file:
  BILLET_SERVER       the server, https://HOST:PORT
  BILLET_FINGERPRINT  how BILLET_SERVER is known, where the file does not have it
  BILLET_TOKEN        the access token
  BILLET_CONTEXT      the context of the file to use
  BILLET_CONFIG       the file; else billet/config.toml in XDG_CONFIG_HOME, else in ~/.config
  BILLET_LOG          what to log to stderr, as `info` or `billet_control=debug`

The file holds tokens: it must be readable to you alone (mode 0600), and is refused otherwise.";

/// What `billet help manifest` prints.
pub const MANIFEST: &str = r#"A manifest is a TOML file. `billet apply -f` brings about all that is in it, and shows the plan
first; `billet machine enroll -f` its machines alone, with the sites, networks and machine types
that they need. Nothing is sent while anything in it is wrong. What is there already is changed to
what the file says; what the file does not say of it is left as it is.

  [[site]]
  name = "fra1"
  jurisdiction = "DE"

  [[network]]
  name = "main"
  subnet = "10.88.0.0/24"
  gateway = "10.88.0.1"                       # optional, as are dns = [...] and reached_at
  pool = ["10.88.0.10", "10.88.0.99"]         # optional: the first and last address to give out

  [[machine_type]]
  name = "h100-sxm5-80g.8x"
  description = "8 H100 SXM5, 2 TiB"
  warm = 2                                    # optional, with warm_images = [...] and cold = true
  [machine_type.expected]                     # all optional; found hardware is compared with it
  gpus = 8
  gpu_model = "H100"
  drives = 2
  min_threads = 192
  min_memory_bytes = "2TiB"
  min_nics = 2

  [[machine]]
  name = "r1-u07"
  site = "fra1"
  machine_type = "h100-sxm5-80g.8x"
  rack = "r1"                                 # optional
  serial = "S1234567"                         # optional: the serial that it should have
  rotate_password = true                      # optional: Billet gives the BMC passwords of its own
  networks = { main = "10.88.0.17" }          # or main = "auto" for the next free address
  take_over = ["S1", "S2"]                    # for `billet apply`, which takes no machine over
                                              # without: all of its drives, which are erased
  [machine.bmc]
  address = "https://10.0.0.7"
  user = "root"
  password_file = "r1-u07.password"           # or password, or password_env
  fingerprint = "..."                         # optional; else the first certificate seen is pinned

  # For `billet apply` alone:

  [[organisation]]
  name = "acme"
  quotas = { "h100-sxm5-80g.8x" = 10 }        # optional; machines at once, by type

  [[project]]
  name = "vision"
  organisation = "acme"
  quotas = { "h100-sxm5-80g.8x" = 4 }

  [[image]]
  name = "debian-12"
  url = "https://images.example.org/debian-12.raw.zst"     # or file = "debian-12.raw.zst"
  # checksum = "sha256:..."                   # optional, as are description, project, cloud_init

  [[image]]                                   # an install configuration: kernel and initrds, or
  name = "trixie-installer"                   # ipxe = "install.ipxe"; files or URLs
  kernel = "linux"
  initrds = ["initrd.gz"]
  command_line = "auto=true url=${billet-url}/user-data"
  installs_within = "1h"                      # optional, as is checksums = { kernel = "sha256:..." }

  [[lease]]
  name = "train-1"
  project = "vision"
  machine_type = "h100-sxm5-80g.8x"
  image = "debian-12"
  ssh_keys = ["alice.pub"]                    # keys, or files with some
  term = "30d"                                # optional, from when it is made; as are site, tags,
  tags = { team = "vision" }                  # kernel_args = [...], user_data_file, cold,
                                              # root_drive = "smallest-nvme", root_mirror = "2",
                                              # arrays = ["data,level=5,mount=/data"], scratch = "striped""#;

/// What `billet help placeholders` prints.
pub const PLACEHOLDERS: &str = "\
In the command line of an install configuration these stand for what is the lease's own. In an
iPXE script they are settings, set before it runs. Those of the network are empty, and not set,
where the machine has no address of Billet's.
  ${billet-url}       the installation's own address, good while the installer runs. Behind it are
                      /installed, to be called once, by GET or POST, when all is done;
                      /ssh-keys, the lease's SSH keys, one on a line; /user-data, as it was given;
                      /metadata, what the machine may know of its lease, JSON
  ${billet-lease}     the lease's id
  ${billet-hostname}  its host name
  ${billet-drive}     serial number of the drive that the root is wanted on (--root-drive)
  ${billet-ip}        the machine's address; with it ${billet-prefix}, ${billet-netmask},
                      ${billet-gateway}, ${billet-dns} and ${billet-mac}
  ${billet-args}      the lease's kernel arguments; without it they come last in a command line

The address is served with Billet's own authority, which an installer does not know: have it take
the certificate unseen (curl -k, GNU wget --no-check-certificate; busybox's own wget cannot speak
to it). There is a token in it, which can do no more than is said here.";

/// What `billet help exit-codes` prints.
pub const TOPICS: [(&str, &str); 4] = [
    ("exit-codes", EXIT_CODES),
    ("environment", ENVIRONMENT),
    ("manifest", MANIFEST),
    ("placeholders", PLACEHOLDERS),
];

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Every command that does something has a paragraph, and an example of itself.
    #[test]
    fn every_help_is_worth_reading() {
        fn walk(command: &clap::Command, path: &str, seen: &mut usize) {
            if command.get_subcommands().next().is_some() {
                for inner in command.get_subcommands() {
                    walk(inner, &format!("{path} {}", inner.get_name()), seen);
                }
                return;
            }
            *seen += 1;
            let about = command.get_about().map(ToString::to_string);
            assert!(about.is_some_and(|a| a.len() >= 10), "{path}: no about");
            let after = command.get_after_help().map(ToString::to_string);
            let after = after.unwrap_or_default();
            assert!(after.contains("Example"), "{path}: no examples");
            assert!(
                after.contains(path),
                "{path}: no example of itself: {after}"
            );
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Usage"), "{path}");
            for argument in command.get_arguments() {
                let has = argument.get_help().is_some() || argument.is_hide_set();
                assert!(has, "{path}: {} has no help", argument.get_id());
            }
        }
        let mut root = Cli::command();
        root.build();
        root.clone().debug_assert();
        let mut seen = 0;
        for inner in root.get_subcommands() {
            walk(inner, &format!("billet {}", inner.get_name()), &mut seen);
        }
        assert!(seen > 40, "{seen}");
    }
}
