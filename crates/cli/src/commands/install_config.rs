//! Install configurations: given as files or addresses, uploaded part by part, and
//! shown.

use std::path::{Path, PathBuf};

use billet_client::Client;
use billet_model::{
    api::{ImageStarted, NewInstall, NewPart},
    image::{Image, ImageKind, InstallConfig, InstallPart},
};
use clap::Args;

use super::image::uploading;
use crate::{app::App, failure::Failure, human};

/// What an install configuration is made of, as it is given.
#[derive(Clone, Debug, Default, Args)]
pub struct Given {
    /// The installer's initrd, a file or a URL; may be repeated, in the order in which the kernel is
    /// to have them.
    #[arg(long, value_name = "FILE|URL", requires = "kernel")]
    pub initrd: Vec<String>,
    /// The kernel's command line. ${billet-url} and its like stand for what is the lease's own:
    /// `billet help placeholders` lists them.
    #[arg(
        long,
        value_name = "TEXT",
        requires = "kernel",
        allow_hyphen_values = true
    )]
    pub command_line: Option<String>,
    /// Checksum of a part, as kernel=sha256:HEX, initrd-1=sha256:HEX or script=sha256:HEX; may be
    /// repeated.
    #[arg(long, value_name = "PART=sha256:HEX", value_parser = human::parse_pair)]
    pub part_checksum: Vec<(String, String)>,
    /// For how long the installer may run before its time is over, as 2h; 4h where absent.
    #[arg(long, value_name = "TIME", value_parser = human::parse_length, allow_hyphen_values = true)]
    pub installs_within: Option<u64>,
}

/// An install configuration to be added, and the files of its parts by their names.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Which kind.
    pub kind: ImageKind,
    /// What it is made of.
    pub install: NewInstall,
    /// Files to upload.
    pub files: Vec<(String, PathBuf)>,
}

/// A kernel with initrds, or a script; `at` is where relative paths begin.
///
/// # Errors
/// When a checksum is of no part, or a file cannot be read.
pub fn parts(
    kernel: Option<&str>,
    script: Option<&str>,
    given: Given,
    at: &Path,
) -> Result<Parts, String> {
    let mut files = Vec::new();
    let mut checksums = given.part_checksum;
    let mut part = |name: String, from: &str| -> Result<NewPart, String> {
        let found = checksums.iter().position(|(of, _)| *of == name);
        let checksum = found.map(|n| checksums.swap_remove(n).1);
        if from.starts_with("http://") || from.starts_with("https://") {
            let url = Some(from.to_owned());
            return Ok(NewPart { url, checksum });
        }
        let path = at.join(from);
        let about = std::fs::metadata(&path);
        about.map_err(|error| format!("reading {}: {error}", path.display()))?;
        files.push((name, path));
        Ok(NewPart {
            url: None,
            checksum,
        })
    };
    let mut install = NewInstall {
        seconds: given.installs_within,
        ..NewInstall::default()
    };
    let kind = match (kernel, script) {
        (Some(kernel), _) => {
            install.kernel = Some(part("kernel".into(), kernel)?);
            for (n, initrd) in given.initrd.iter().enumerate() {
                let one = part(format!("initrd-{}", n + 1), initrd)?;
                install.initrds.push(one);
            }
            install.command_line = given.command_line;
            ImageKind::Kernel
        }
        (None, script) => {
            install.script = Some(part("script".into(), script.unwrap_or_default())?);
            ImageKind::Ipxe
        }
    };
    if let Some((name, _)) = checksums.first() {
        return Err(format!(
            "there is a checksum for {name}, and no such part: parts are kernel, initrd-1 and so on, or script"
        ));
    }
    Ok(Parts {
        kind,
        install,
        files,
    })
}

/// Uploads the parts that are files. What came of the last one says which operation
/// makes the medium.
///
/// # Errors
/// As every call.
pub async fn upload(
    app: &App,
    client: &Client,
    mut started: ImageStarted,
    files: &[(String, PathBuf)],
) -> Result<ImageStarted, Failure> {
    let id = started.image.id.to_string();
    for (name, file) in files {
        let image = started.image.clone();
        let label = format!("image {}, {name}", image.name);
        let sent = uploading(app, &label, file, |tell| {
            client.upload_part(&id, name, file, tell)
        });
        started = sent.await.map_err(|failure| {
            let name = &image.name;
            failure.hint(format!(
                "the image is known and not whole yet: `billet image delete {name}`, then try again"
            ))
        })?;
    }
    Ok(started)
}

/// An install configuration's parts, for people.
pub fn shown(image: &Image) -> String {
    let Some(config) = &image.install else {
        return String::new();
    };
    let InstallConfig { parts, seconds, .. } = config;
    let mut lines: Vec<String> = parts.iter().map(part).collect();
    if let Some(line) = &config.command_line {
        lines.push(format!("command line: {line}"));
    }
    let within = std::time::Duration::from_secs(*seconds);
    lines.push(format!("installs within {}", human::length(within)));
    lines.join("\n")
}

/// A part with its digest.
pub fn part(part: &InstallPart) -> String {
    let from = match part.origin.as_str() {
        "upload" => String::new(),
        origin => format!(", from {origin}"),
    };
    match &part.sha256 {
        Some(sha256) => format!(
            "{}: {}, SHA-256 {sha256}{from}",
            part.name,
            human::bytes(part.bytes)
        ),
        None => format!("{}: not there yet{from}", part.name),
    }
}
