//! `billet image build` and `billet ramdisk build`: what machines boot, made here.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

use billet_media::{
    build::{BuildOptions, RECIPES, build},
    progress::Progress,
    ramdisk::{DEFAULT_STUB, KernelPackage, RamdiskOptions, SigningKey, build_ramdisk},
};
use billet_model::Name;
use clap::{Args, Subcommand};

use super::{
    image::{self, About},
    machine::Wait,
};
use crate::{
    app::App,
    failure::{Failure, chain},
    human,
    output::card,
    progress::Line,
};

/// Build an image from a distribution's packages.
///
/// A bootable UEFI disk image with cloud-init and OpenSSH. It needs mmdebstrap, and no root where
/// the system allows user namespaces. With --add it is uploaded to the server and not kept here.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet image build debian-12
  billet image build debian-12 --out /srv/images/debian-12.raw
  billet image build debian-12 --add debian-12")]
pub struct ImageBuild {
    /// Which: debian-12.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(RECIPES.iter().map(|r| r.name)))]
    recipe: String,
    /// The file to write; RECIPE.raw here where absent. Compressed where its name ends in .zst.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Add it to the server under this name.
    #[arg(long, value_name = "NAME", conflicts_with = "out")]
    add: Option<Name>,
    /// Size of the disk; the root file system grows at the first boot.
    #[arg(long, value_parser = human::parse_bytes)]
    size: Option<u64>,
    /// The package archive to take packages from.
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    #[command(flatten)]
    wait: Wait,
}

impl ImageBuild {
    /// Builds it.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        // Who is not signed in should know before the minutes that this takes.
        let client = match &self.add {
            Some(_) => Some(app.client().await?),
            None => None,
        };
        let scratch = tempfile::tempdir()
            .map_err(|error| Failure::failed(format!("making a temporary directory: {error}")))?;
        let out = self
            .out
            .unwrap_or_else(|| PathBuf::from(format!("{}.raw", self.recipe)));
        // Before the minutes that the build takes, not after.
        if let Some(directory) = out.parent()
            && self.add.is_none()
        {
            std::fs::create_dir_all(directory).map_err(|error| {
                Failure::failed(format!("making {}: {error}", directory.display()))
            })?;
        }
        let packed = out.extension().is_some_and(|extension| extension == "zst");
        let output = if packed || self.add.is_some() {
            scratch.path().join("image.raw")
        } else {
            out.clone()
        };
        let options = BuildOptions {
            name: self.recipe.clone(),
            output,
            size: self.size,
            mirror: self.mirror,
        };
        let label = format!("image {}", self.recipe);
        let mut built = shown(app, &label, move |tell| build(&options, tell)).await?;
        if packed {
            let from = std::mem::replace(&mut built.path, out.clone());
            shown(app, &label, move |tell| pack(&from, &out, tell)).await?;
        }
        let (Some(client), Some(name)) = (client, self.add) else {
            return app.output.result(&built, |built| {
                card([
                    ("image", built.path.display().to_string()),
                    ("disk", human::bytes(built.size)),
                    ("kernel", built.kernel_release.clone()),
                ])
            });
        };
        let about = About {
            description: format!("{}, kernel {}", self.recipe, built.kernel_release),
            ..About::default()
        };
        let started = image::upload(app, &client, name, &built.path, about).await?;
        image::finish(app, &client, started, self.wait).await
    }
}

/// Compresses an image; what stands at `to` is whole or not there.
fn pack(from: &Path, to: &Path, tell: &mut dyn FnMut(Progress)) -> std::io::Result<()> {
    const STEP: &str = "compressing";
    let total = std::fs::metadata(from)?.len();
    let mut image = std::fs::File::open(from)?;
    let directory = match to.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    };
    let file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(directory)?;
    let mut packed = zstd::Encoder::new(file, 3)?;
    packed.include_checksum(true)?;
    let mut piece = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        let read = image.read(&mut piece)?;
        if read == 0 {
            break;
        }
        packed.write_all(&piece[..read])?;
        done += read as u64;
        tell(Progress {
            step: STEP,
            done,
            total: Some(total),
        });
    }
    packed.finish()?.persist(to).map_err(|error| error.error)?;
    Ok(())
}

/// The ramdisk that machines boot to be worked on.
#[derive(Debug, Subcommand)]
pub enum Ramdisk {
    /// Build the ramdisk: the distribution's kernel and the agent, in one UEFI program.
    ///
    /// It is the same for every machine. The same agent and kernel give the same file, bit for
    /// bit. Kernel and modules are fetched from the packages of the distribution that this runs
    /// on; systemd's UEFI stub must be installed.
    #[command(after_help = "Examples:
  billet ramdisk build --agent billet-agent --out ./ramdisk
  billet ramdisk build --agent billet-agent --out ./ramdisk --sign-key db.key --sign-cert db.pem")]
    Build(Box<RamdiskBuild>),
    /// Get iPXE, which runs the scripts of install configurations.
    ///
    /// It comes from the distribution's package `ipxe`, which is unpacked and not installed. Debian
    /// 12 has one that is too old to run a script from a medium: there the package of the release
    /// after it is taken, by apt and with Debian's own keys.
    #[command(after_help = "Examples:
  billet ramdisk ipxe --out ./ramdisk")]
    Ipxe {
        /// Directory to write ipxe.efi to; beside the ramdisk the server finds it by itself.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// What a ramdisk is made of.
#[derive(Debug, Args)]
pub struct RamdiskBuild {
    /// The agent, a static program.
    #[arg(long, value_name = "FILE")]
    agent: PathBuf,
    /// Directory to write billet.efi to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Keep the unpacked kernel packages here; in DIR/kernel where absent.
    #[arg(long, value_name = "DIR")]
    kernel: Option<PathBuf>,
    /// systemd's UEFI stub.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_STUB)]
    stub: PathBuf,
    /// Private key to sign it with for Secure Boot, PEM.
    #[arg(long, value_name = "FILE", requires = "sign_cert")]
    sign_key: Option<PathBuf>,
    /// The key's certificate, which the machines' firmware must know, PEM.
    #[arg(long, value_name = "FILE", requires = "sign_key")]
    sign_cert: Option<PathBuf>,
}

impl Ramdisk {
    /// Builds it.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let wanted = match self {
            Self::Build(wanted) => wanted,
            Self::Ipxe { out } => return ipxe(app, &out).await,
        };
        std::fs::create_dir_all(&wanted.out)
            .map_err(|error| Failure::file("making the directory", &wanted.out, &error))?;
        let directory = wanted.kernel.unwrap_or_else(|| wanted.out.join("kernel"));
        let kernel = shown(app, "ramdisk", move |tell| {
            KernelPackage::fetch(&directory, tell)
        })
        .await?;
        let options = RamdiskOptions {
            agent: wanted.agent,
            kernel,
            stub: wanted.stub,
            output: wanted.out.join("billet.efi"),
            signing: wanted
                .sign_key
                .zip(wanted.sign_cert)
                .map(|(key, certificate)| SigningKey { key, certificate }),
        };
        let built = shown(app, "ramdisk", move |tell| build_ramdisk(&options, tell)).await?;
        app.output.result(&built, |built| {
            card([
                ("ramdisk", built.uki_path.display().to_string()),
                ("sha256", built.digest.clone()),
                ("kernel", built.kernel_release.clone()),
                ("modules", built.modules.to_string()),
                ("size", human::bytes(built.uki_size)),
            ])
        })
    }
}

/// What was got.
#[derive(serde::Serialize)]
struct Ipxe {
    path: PathBuf,
    version: String,
}

async fn ipxe(app: &App, out: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(out)
        .map_err(|error| Failure::file("making the directory", out, &error))?;
    let path = out.join("ipxe.efi");
    let to = path.clone();
    let version = shown(app, "iPXE", move |tell| {
        billet_media::ipxe::fetch(&to, tell)
    })
    .await?;
    app.output.result(&Ipxe { path, version }, |got| {
        card([
            ("iPXE", got.path.display().to_string()),
            ("version", got.version.clone()),
        ])
    })
}

/// Runs work that blocks, and shows how far it is.
async fn shown<T, E>(
    app: &App,
    label: &str,
    work: impl FnOnce(&mut dyn FnMut(Progress)) -> Result<T, E> + Send + 'static,
) -> Result<T, Failure>
where
    T: Send + 'static,
    E: std::error::Error + Send + 'static,
{
    let (tell, mut heard) = tokio::sync::mpsc::unbounded_channel::<Progress>();
    let working = tokio::task::spawn_blocking(move || {
        work(&mut |progress| {
            let _ = tell.send(progress);
        })
    });
    let mut line = Line::new(app, label, None);
    while let Some(mut progress) = heard.recv().await {
        // Told often: only the last counts.
        while let Ok(later) = heard.try_recv() {
            progress = later;
        }
        match progress.total.filter(|total| *total > 0) {
            Some(total) => {
                let percent = u128::from(progress.done) * 100 / u128::from(total);
                let text = format!("{} ({percent}%)", progress.step);
                line.show(progress.step, &text, Some((progress.done, total)));
            }
            None => line.show(progress.step, progress.step, None),
        }
    }
    let done = working
        .await
        .map_err(|error| Failure::failed(format!("{label}: {error}")))?;
    line.end(if done.is_ok() { "done" } else { "failed" });
    done.map_err(|error| Failure::failed(format!("{label}: {}", chain(&error))))
}
