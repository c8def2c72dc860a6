//! `billet lab`: an emulated datacentre on this machine.

use std::path::{Path, PathBuf};

use billet_lab::{Lab as Running, LabError, LabOptions, Model, Summary, manifest};
use clap::{Args, Subcommand};

use super::serve::stop_signal;
use crate::{
    app::App,
    failure::{Failure, chain},
    human,
    output::{card, list, maybe},
};

/// An emulated datacentre, to try things out.
#[derive(Debug, Subcommand)]
pub enum Lab {
    Up(Box<Up>),
}

/// Start emulated machines and phantoms behind Redfish BMCs.
///
/// An emulated machine is a QEMU machine with real firmware, a real kernel and real drives; a
/// phantom only pretends, takes no memory to speak of, and can be had by the thousand. Both say
/// what they are wherever their data shows. The lab runs until it is interrupted; with --dir the
/// same machines are there again next time.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet lab up --machines 2 --manifest lab.toml
  billet lab up --phantom 1000 --phantom-model h100 --dir ./lab --base-port 9000
  billet machine enroll -f lab.toml")]
pub struct Up {
    /// How many emulated machines.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    machines: u32,
    /// How many phantoms.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    phantom: u32,
    /// What phantoms pretend to be; may be repeated, and is dealt out in turn. All where absent.
    #[arg(long, value_name = "MODEL", value_parser = parse_model)]
    phantom_model: Vec<Model>,
    /// Keep drives, certificates and settings here; a temporary directory where absent.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Write a manifest for `billet machine enroll` to this file.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Write the summary as JSON to this file, once all is up.
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// The lab's own API listens here, BMCs from the next port on, two ports each; free ones where
    /// absent.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    base_port: u16,
    /// File with the BMCs' password; one is made up where absent.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Makes the serial numbers; kept in --dir, made up where absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Processors of an emulated machine, an even number.
    #[arg(long, value_name = "COUNT")]
    cpus: Option<u32>,
    /// Memory of an emulated machine.
    #[arg(long, value_name = "SIZE", value_parser = human::parse_bytes)]
    memory: Option<u64>,
    /// Drives of an emulated machine, 1 to 8; 2 where absent.
    #[arg(long, value_name = "COUNT")]
    drives: Option<u32>,
    /// Size of each of them.
    #[arg(long, value_name = "SIZE", value_parser = human::parse_bytes)]
    drive: Option<u64>,
    /// Stand-ins for GPUs in an emulated machine, 1 to 8.
    #[arg(long, value_name = "COUNT")]
    gpus: Option<u32>,
}

fn parse_model(text: &str) -> Result<Model, String> {
    text.parse().map_err(|_| {
        let known: Vec<&str> = Model::ALL.into_iter().map(Model::name).collect();
        format!("there is no model {text:?}; known are {}", known.join(", "))
    })
}

impl Up {
    fn options(&self) -> Result<LabOptions, Failure> {
        let mut options = LabOptions {
            machines: self.machines,
            phantoms: self.phantom,
            phantom_models: self.phantom_model.clone(),
            dir: self.dir.clone(),
            base_port: self.base_port,
            seed: self.seed,
            ..LabOptions::default()
        };
        if let Some(file) = &self.password_file {
            let password = crate::manifest::password_file(file).map_err(Failure::usage)?;
            options.password = Some(password.expose().to_owned());
        }
        options.cpus = self.cpus.unwrap_or(options.cpus);
        options.memory_mib = self.memory.map_or(options.memory_mib, |bytes| bytes >> 20);
        options.drives = self.drives.unwrap_or(options.drives);
        options.drive_bytes = self.drive.unwrap_or(options.drive_bytes);
        options.gpus = self.gpus.unwrap_or(options.gpus);
        Ok(options)
    }
}

impl Lab {
    /// Runs the lab until it is stopped.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let Self::Up(up) = self;
        if up.machines == 0 && up.phantom == 0 {
            return Err(Failure::usage(
                "a lab of no machines: give --machines or --phantom",
            ));
        }
        let options = up.options()?;
        let mut stopping = stop_signal()?;
        if up.machines > 0 {
            app.output
                .note("Trying whether KVM works, and starting the BMCs.");
        }
        let lab = Running::start(options.clone()).await.map_err(|error| {
            let sentence = chain(&error);
            match error {
                LabError::Options(_) => Failure::usage(sentence),
                _ => Failure::failed(sentence),
            }
        })?;
        let told = tell(app, &up, &lab.summary(), &options);
        if told.is_ok() {
            app.output.note("The lab runs until you press Ctrl-C.");
            stopping.recv().await;
            app.output.note("Stopping all machines.");
        }
        lab.stop().await;
        told
    }
}

fn tell(app: &App, up: &Up, summary: &Summary, options: &LabOptions) -> Result<(), Failure> {
    if let Some(path) = &up.manifest {
        write(path, &manifest(summary, options))?;
    }
    if let Some(path) = &up.summary {
        let text = serde_json::to_string_pretty(summary)
            .map_err(|error| Failure::failed(format!("writing JSON: {error}")))?;
        write(path, &text)?;
    }
    app.output.result(summary, |summary| {
        let mut text = list(
            ["name", "type", "bmc", "console (ssh)", "address", "ssh"],
            summary.machines.iter().map(|m| {
                [
                    m.name.clone(),
                    m.machine_type.clone(),
                    m.bmc.clone(),
                    m.console.to_string(),
                    maybe(m.address),
                    maybe(m.ssh),
                ]
            }),
        );
        let account = summary.machines.first();
        text.push_str("\n\n");
        text.push_str(&card([
            (
                "BMCs' user",
                account.map(|m| m.user.clone()).unwrap_or_default(),
            ),
            (
                "BMCs' password",
                account.map(|m| m.password.clone()).unwrap_or_default(),
            ),
            ("lab's own API", summary.api.clone()),
            ("files", summary.dir.display().to_string()),
            (
                "run by",
                summary
                    .accel
                    .and_then(|accel| serde_json::to_value(accel).ok())
                    .and_then(|accel| accel.as_str().map(str::to_owned))
                    .unwrap_or_default(),
            ),
            (
                "this machine",
                format!("{}, as emulated machines see it", summary.host_alias),
            ),
            (
                "manifest",
                up.manifest
                    .as_ref()
                    .map(|path| path.display().to_string())
                    .unwrap_or_default(),
            ),
            ("notes", summary.notes.join("\n")),
        ]));
        text
    })
}

/// Writes a file that may hold the lab's password, whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let failed = |error: std::io::Error| Failure::file("writing", path, &error);
    let directory = match path.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
