//! OS images.

use std::path::{Path, PathBuf};

use billet_client::Client;
use billet_model::{
    Name,
    api::{ImageStarted, NewImage, Page},
    image::{BootKind, Image as Img, ImageKind, ImageState, ImageStorage},
};
use clap::{Args, Subcommand};
use std::sync::{Arc, Mutex};

use super::{build::ImageBuild, install_config, machine::Wait};
use crate::{
    app::App,
    failure::{Code, Failure},
    human,
    output::{card, list, maybe},
    progress::{self, Line},
};

/// OS images that leases are written with.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// List images.
    ///
    /// The operator's, which everyone may use, and your project's own.
    #[command(after_help = "Examples:\n  billet image list")]
    List {
        /// Only this project's.
        #[arg(long, value_name = "NAME")]
        project: Option<String>,
    },
    Add(Box<Add>),
    Build(Box<ImageBuild>),
    /// Show an image.
    ///
    /// Shows its digest, by which leases name it, its sizes and how it boots.
    #[command(after_help = "Examples:\n  billet image show debian-12")]
    Show {
        /// Its name or id.
        name: String,
    },
    /// Delete an image.
    ///
    /// Refused while a lease is being written with it.
    #[command(after_help = "Examples:\n  billet image delete debian-12")]
    Delete {
        /// Its name or id.
        name: String,
    },
}

/// Add an image, by URL or from a file; or an install configuration.
///
/// Raw or qcow2, either of them compressed with gzip, xz or zstd. It is checked against the
/// checksum, converted once, and kept by its digest. A URL is fetched by the server, which refuses
/// private addresses unless the operator allows them.
///
/// An install configuration is your own installer: a kernel with initrds and a command line, or an
/// iPXE script. A lease with it boots it from a medium, once; what it puts on the drives is its own
/// affair, and is not measured. See docs/install.md.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet image add trixie --kernel linux --initrd initrd.gz \\
      --command-line 'auto=true priority=critical url=${billet-url}/user-data'
  billet image add ours --ipxe install.ipxe --installs-within 1h
  billet image add debian-12 --file debian-12.raw.zst --checksum sha256:9f86...
  billet image add noble --url https://images.example.org/noble.qcow2 --checksum sha256:9f86...")]
pub struct Add {
    /// What to call it.
    name: Name,
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    given: install_config::Given,
    #[command(flatten)]
    about: About,
    #[command(flatten)]
    wait: Wait,
}

/// Where an image comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct From {
    /// Fetch it from here.
    #[arg(long)]
    url: Option<String>,
    /// Upload this file.
    #[arg(long)]
    file: Option<PathBuf>,
    /// An install configuration: its kernel, a file or a URL.
    #[arg(long, value_name = "FILE|URL")]
    kernel: Option<String>,
    /// An install configuration: an iPXE script, a file or a URL.
    #[arg(long, value_name = "FILE|URL")]
    ipxe: Option<String>,
}

/// What is said of an image.
#[derive(Clone, Debug, Default, Args)]
pub struct About {
    /// Checksum of the bytes as fetched or uploaded, sha256:HEX or sha512:HEX.
    #[arg(long, value_name = "sha256:HEX")]
    pub checksum: Option<String>,
    /// What it is, in a line.
    #[arg(long, default_value = "")]
    pub description: String,
    /// The project that it is for; none is the operator's, for everyone.
    #[arg(long, value_name = "NAME")]
    pub project: Option<Name>,
    /// It does not bring cloud-init: a lease is active when its port answers, and no more is known.
    #[arg(long)]
    pub no_cloud_init: bool,
    /// It boots with its root mirrored (`lease create --root-mirror`), where that cannot be told by
    /// looking: its initrd has mdadm, and it mounts file systems by UUID or label.
    #[arg(long)]
    pub root_mirror: bool,
}

impl Image {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        if let Self::Build(build) = self {
            return build.run(app).await;
        }
        let client = app.client().await?;
        match self {
            Self::Build(_) => Ok(()),
            Self::List { project } => {
                let filters = super::filters(&[("project", project.as_deref())]);
                let items = client.images(&filters).all().await?;
                app.output.result(&Page { items, next: None }, |page| {
                    list(
                        [
                            "name",
                            "state",
                            "disk#",
                            "stored#",
                            "boot",
                            "cloud-init",
                            "for",
                            "what",
                        ],
                        page.items.iter().map(|i| {
                            let content = i.content.as_ref();
                            [
                                i.name.to_string(),
                                state(i.state).to_owned(),
                                content
                                    .map(|c| human::bytes(c.virtual_bytes))
                                    .unwrap_or_default(),
                                content
                                    .map(|c| human::bytes(c.stored_bytes))
                                    .unwrap_or_default(),
                                match i.kind {
                                    ImageKind::Disk => {
                                        content.map(|c| boot(c.boot).to_owned()).unwrap_or_default()
                                    }
                                    kind => format!("installs: {kind}"),
                                },
                                if i.cloud_init { "yes" } else { "no" }.to_owned(),
                                if i.project.is_some() {
                                    "project"
                                } else {
                                    "everyone"
                                }
                                .to_owned(),
                                i.reason.clone().unwrap_or_else(|| i.description.clone()),
                            ]
                        }),
                    )
                })
            }
            Self::Add(add) => {
                let Add {
                    name,
                    from,
                    given,
                    about,
                    wait,
                } = *add;
                if from.kernel.is_some() || from.ipxe.is_some() {
                    let (kernel, script) = (from.kernel.as_deref(), from.ipxe.as_deref());
                    let parts = install_config::parts(kernel, script, given, Path::new(""));
                    let parts = parts.map_err(Failure::usage)?;
                    let new = NewImage {
                        kind: parts.kind,
                        install: Some(parts.install),
                        ..new(name, None, about)
                    };
                    let started = client.add_image(&new).await?;
                    let files = &parts.files;
                    let started = install_config::upload(app, &client, started, files).await?;
                    return finish(app, &client, started, wait).await;
                }
                let started = match from.file {
                    Some(file) => upload(app, &client, name, &file, about).await?,
                    None => client.add_image(&new(name, from.url, about)).await?,
                };
                finish(app, &client, started, wait).await
            }
            Self::Show { name } => app.output.result(&client.image(&name).await?, show),
            Self::Delete { name } => {
                client.delete_image(&name).await?;
                app.output.note(format!("Image {name} is deleted."));
                Ok(())
            }
        }
    }
}

fn new(name: Name, url: Option<String>, about: About) -> NewImage {
    NewImage {
        name,
        project: about.project,
        description: about.description,
        url,
        kind: ImageKind::Disk,
        checksum: about.checksum,
        cloud_init: !about.no_cloud_init,
        install: None,
        root_mirror: about.root_mirror,
    }
}

/// Makes an image known and uploads its bytes.
pub async fn upload(
    app: &App,
    client: &Client,
    name: Name,
    file: &Path,
    about: About,
) -> Result<ImageStarted, Failure> {
    // One that cannot be read makes nothing known.
    readable(file).map_err(|error| {
        let shown = file.display();
        Failure::usage(format!(
            "reading the image from {shown}: {error}; nothing was sent"
        ))
    })?;
    let made = client.add_image(&new(name, None, about)).await?;
    upload_to(app, client, &made.image, file).await
}

/// Whether a file can be read, as far as that is known before it is.
pub fn readable(file: &Path) -> std::io::Result<()> {
    let about = std::fs::metadata(file)?;
    if about.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    // How much a pipe or a device gives is not known before, and what a pipe holds is gone
    // once it was opened to see.
    if !about.is_file() {
        return Err(std::io::Error::other(
            "it is no file: write what it gives to one first",
        ));
    }
    if about.len() == 0 {
        return Err(std::io::Error::other("it is empty"));
    }
    std::fs::File::open(file).map(drop)
}

/// Uploads the bytes of an image that is known.
pub async fn upload_to(
    app: &App,
    client: &Client,
    image: &Img,
    file: &Path,
) -> Result<ImageStarted, Failure> {
    let label = format!("image {}", image.name);
    let id = image.id.to_string();
    let sent = uploading(app, &label, file, |tell| {
        client.upload_image(&id, file, tell)
    });
    sent.await.map_err(|failure| {
        let name = &image.name;
        failure.hint(format!(
            "the image is known and has no bytes yet: `billet image delete {name}`, then try again"
        ))
    })
}

/// Uploads a file by `send`, and shows how far it is.
///
/// # Errors
/// As every call.
pub async fn uploading<'a, F>(
    app: &App,
    label: &str,
    file: &Path,
    send: impl FnOnce(Box<dyn FnMut(u64) + Send>) -> F,
) -> Result<ImageStarted, Failure>
where
    F: Future<Output = billet_client::Result<ImageStarted>> + 'a,
{
    let total = std::fs::metadata(file)
        .map_err(|error| Failure::unreadable(file, &error))?
        .len();
    // The callback is called from the connection's task.
    let line = Arc::new(Mutex::new(Line::new(app, label, None)));
    let shown = Arc::clone(&line);
    let tell = move |sent: u64| {
        if let Ok(mut line) = shown.lock() {
            let percent = u128::from(sent) * 100 / u128::from(total.max(1));
            let (sent_text, total_text) = (human::bytes(sent), human::bytes(total));
            let text = format!("uploading, {sent_text} of {total_text} ({percent}%)");
            line.show("uploading", &text, Some((sent, total)));
        }
    };
    let sent = send(Box::new(tell)).await;
    if let Ok(line) = Arc::try_unwrap(line).map(|line| line.into_inner())
        && let Ok(line) = line
    {
        line.end(if sent.is_ok() {
            "uploaded"
        } else {
            "not uploaded"
        });
    }
    sent.map_err(Failure::from)
}

/// Follows what was begun, where that is wanted, and prints the image as it is then.
pub async fn finish(
    app: &App,
    client: &Client,
    mut started: ImageStarted,
    wait: Wait,
) -> Result<(), Failure> {
    if let (Some(operation), false) = (&started.operation, wait.no_wait) {
        let label = format!("image {}", started.image.name);
        let operation = progress::follow(app, client, &label, operation.id).await;
        let operation = operation.map_err(|failure| match failure.code == Code::Failed as u8 {
            true => failure.hint(format!(
                "`billet image delete {}`, then add it again",
                started.image.name
            )),
            false => failure,
        })?;
        started.image = client.image(&started.image.id.to_string()).await?;
        started.operation = Some(operation);
    }
    app.output.result(&started, |started| show(&started.image))
}

fn state(state: ImageState) -> &'static str {
    match state {
        ImageState::AwaitingUpload => "awaiting upload",
        ImageState::Importing => "importing",
        ImageState::Available => "available",
        ImageState::Failed => "failed",
    }
}

fn boot(kind: BootKind) -> &'static str {
    match kind {
        BootKind::Bls => "boot entries",
        BootKind::Grub => "GRUB",
        BootKind::Unknown => "unknown",
    }
}

/// What an image brings for drives beside the root's.
fn storage(brings: &ImageStorage, declared: bool) -> String {
    let word = |known: Option<bool>| match known {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not known",
    };
    format!(
        "software RAID: {}, root mirrored: {}, ext4: {}, XFS: {}",
        word(brings.mdadm),
        if declared {
            "yes, said who added it"
        } else {
            word(brings.mirror)
        },
        word(brings.ext4),
        word(brings.xfs)
    )
}

fn show(i: &Img) -> String {
    let content = i.content.as_ref();
    card([
        ("name", i.name.to_string()),
        ("description", i.description.clone()),
        ("state", state(i.state).to_owned()),
        ("reason", maybe(i.reason.as_ref())),
        ("kind", i.kind.to_string()),
        (
            "digest",
            content
                .map(|c| &c.digest)
                .or_else(|| i.install.as_ref()?.digest.as_ref())
                .cloned()
                .unwrap_or_default(),
        ),
        ("parts", install_config::shown(i)),
        (
            "disk",
            content
                .map(|c| human::bytes(c.virtual_bytes))
                .unwrap_or_default(),
        ),
        (
            "data",
            content
                .map(|c| human::bytes(c.data_bytes))
                .unwrap_or_default(),
        ),
        (
            "stored",
            content
                .map(|c| human::bytes(c.stored_bytes))
                .unwrap_or_default(),
        ),
        (
            "boots by",
            content.map(|c| boot(c.boot).to_owned()).unwrap_or_default(),
        ),
        (
            "root partition",
            content.map(|c| maybe(c.root_partition)).unwrap_or_default(),
        ),
        (
            "cloud-init",
            if i.cloud_init { "yes" } else { "no" }.to_owned(),
        ),
        (
            "drives",
            content
                .map(|c| storage(&c.storage, i.root_mirror))
                .unwrap_or_default(),
        ),
        (
            "for",
            i.project
                .map_or("everyone".to_owned(), |p| format!("project {p}")),
        ),
        ("from", i.origin.clone()),
        ("checksum", maybe(i.checksum.as_ref())),
        ("id", i.id.to_string()),
        ("added", human::time(i.created_at)),
    ])
}
