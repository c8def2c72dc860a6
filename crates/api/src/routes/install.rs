//! Install configurations as they are asked for: looked at before anything of
//! them is kept.

use billet_media::image::Checksum;
use billet_model::{
    api::{NewImage, NewInstall, NewPart},
    image::{ImageKind, InstallConfig, InstallPart},
};
use billet_plan::install_text;
use url::Url;

use super::images::address_of;
use crate::{app::App, fetch, images::NO_IPXE, problem::Failure};

/// For how long an installer may run where nothing is said, in seconds.
const SECONDS: u64 = 4 * 3600;
/// Most initrds.
const INITRDS: usize = 16;

/// A configuration, and the addresses of its parts by their names: of all, or of
/// none.
pub(super) fn config(
    app: &App,
    new: &NewImage,
) -> Result<(InstallConfig, Vec<(String, Url)>), Failure> {
    let invalid = |field: &str, detail: String| Err(Failure::invalid(field, detail));
    if new.url.is_some() || new.checksum.is_some() {
        let detail = "an install configuration has an address and a checksum for each of its parts";
        return invalid("install", detail.into());
    }
    let Some(install) = &new.install else {
        return invalid("install", format!("a {} has parts: say which", new.kind));
    };
    let given = match new.kind {
        ImageKind::Ipxe => script(app, install)?,
        ImageKind::Disk | ImageKind::Kernel => kernel(app, install)?,
    };
    let seconds = install.seconds.unwrap_or(SECONDS);
    if !(10..=7 * 86_400).contains(&seconds) {
        let detail = format!("an installer may run for 10 seconds to a week, not for {seconds} s");
        return invalid("install.seconds", detail);
    }
    let command_line = (new.kind == ImageKind::Kernel)
        .then(|| install.command_line.clone().unwrap_or_default())
        .map(|line| line.trim().to_owned());
    if let Some(line) = &command_line {
        let checked = install_text::placeholders(line);
        checked.map_err(|e| Failure::invalid("install.command_line", e.to_string()))?;
        if line.len() > install_text::COMMAND_LINE {
            let most = install_text::COMMAND_LINE;
            let detail = format!(
                "it has {} characters, and a kernel takes {most}",
                line.len()
            );
            return invalid("install.command_line", detail);
        }
    }
    let mut parts = Vec::new();
    let mut urls = Vec::new();
    for (name, part) in given {
        let field = format!("install.{name}");
        let url = part.url.as_deref();
        let url = url.map(|url| address_of(app, url, &field)).transpose()?;
        let checksum = match part.checksum.as_deref().map(str::parse::<Checksum>) {
            None => None,
            Some(Ok(checksum)) => Some(checksum.to_string()),
            Some(Err(error)) => return invalid(&field, error.to_string()),
        };
        parts.push(InstallPart {
            name: name.clone(),
            origin: url.as_ref().map_or("upload".into(), fetch::plain),
            checksum,
            sha256: None,
            bytes: 0,
        });
        urls.extend(url.map(|url| (name, url)));
    }
    if !urls.is_empty() && urls.len() != parts.len() {
        let detail = "give the addresses of all parts, or upload all of them";
        return invalid("install", detail.into());
    }
    let config = InstallConfig {
        parts,
        command_line,
        seconds,
        digest: None,
    };
    Ok((config, urls))
}

type Given<'a> = Vec<(String, &'a NewPart)>;

fn kernel<'a>(app: &App, install: &'a NewInstall) -> Result<Given<'a>, Failure> {
    let Some(kernel) = &install.kernel else {
        return Err(Failure::invalid("install.kernel", "a kernel is needed"));
    };
    if install.script.is_some() {
        let detail = "a script goes with the kind `ipxe`, and a kernel with the kind `kernel`";
        return Err(Failure::invalid("install.script", detail));
    }
    if !(1..=INITRDS).contains(&install.initrds.len()) {
        let detail = format!("there are 1 to {INITRDS} initrds: an installer lies in one");
        return Err(Failure::invalid("install.initrds", detail));
    }
    let stub = &app.control().settings().stub;
    if !stub.is_file() {
        tracing::warn!(stub = %stub.display(), "there is no UEFI stub");
        let detail = "this server has no UEFI stub to join a kernel with: the operator installs systemd-boot-efi, or names it with --uefi-stub";
        return Err(Failure::invalid("kind", detail));
    }
    let mut given = vec![("kernel".to_owned(), kernel)];
    for (n, initrd) in install.initrds.iter().enumerate() {
        given.push((format!("initrd-{}", n + 1), initrd));
    }
    Ok(given)
}

fn script<'a>(app: &App, install: &'a NewInstall) -> Result<Given<'a>, Failure> {
    let Some(script) = &install.script else {
        return Err(Failure::invalid("install.script", "a script is needed"));
    };
    if install.kernel.is_some() || !install.initrds.is_empty() || install.command_line.is_some() {
        let detail =
            "a script says itself what is booted: leave kernel, initrds and command line out";
        return Err(Failure::invalid("install", detail));
    }
    let ipxe = app.control().settings().ipxe.as_ref();
    if !ipxe.is_some_and(|file| file.is_file()) {
        return Err(Failure::invalid("kind", NO_IPXE));
    }
    Ok(vec![("script".to_owned(), script)])
}
