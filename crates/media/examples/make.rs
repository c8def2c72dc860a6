//! Makes ramdisk, boot media and disk images by hand, for those who work on them.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fs;
use std::path::PathBuf;

use billet_media::boot_media::BootMediaTemplate;
use billet_media::build::{BuildOptions, build};
use billet_media::image::{Checksum, ImageReader, ImportOptions, import};
use billet_media::progress::Progress;
use billet_media::ramdisk::{DEFAULT_STUB, KernelPackage, RamdiskOptions, build_ramdisk};
use billet_model::Secret;
use billet_protocol::boot::BootRecord;
use clap::Parser;

#[derive(Parser)]
enum Make {
    /// The ramdisk: a UKI with the agent in it.
    Ramdisk {
        /// The static agent.
        #[arg(long)]
        agent: PathBuf,
        /// Where kernel packages and the UKI go.
        #[arg(long)]
        out: PathBuf,
    },
    /// A disk image from a distribution's packages, raw.
    Image {
        /// The recipe.
        #[arg(default_value = "debian-12")]
        name: String,
        /// The raw image.
        #[arg(long)]
        out: PathBuf,
    },
    /// Takes a disk image in, as the control plane stores it.
    Import {
        /// Raw or qcow2, compressed or not.
        image: PathBuf,
        /// `sha256:` or `sha512:` and the digest.
        #[arg(long)]
        checksum: Option<Checksum>,
        /// The directory of stored images.
        #[arg(long)]
        out: PathBuf,
    },
    /// Checks a stored image and writes it out, raw.
    Export {
        /// The image's digest.
        digest: String,
        /// The directory of stored images.
        #[arg(long)]
        from: PathBuf,
        /// The raw image.
        #[arg(long)]
        out: PathBuf,
    },
    /// A boot medium with a sample record on it.
    Medium {
        /// The ramdisk.
        #[arg(long)]
        uki: PathBuf,
        /// The base URL of a control plane.
        #[arg(long, default_value = "https://10.0.2.2:8443")]
        server: String,
        /// The boot's token.
        #[arg(long, default_value = "sample-token")]
        token: String,
        /// The ISO image.
        #[arg(long)]
        out: PathBuf,
    },
}

fn say(progress: Progress) {
    match progress.total {
        Some(total) if progress.done == total => eprintln!("{}: {total} bytes", progress.step),
        Some(_) => {}
        None => eprintln!("{}", progress.step),
    }
}

fn main() -> anyhow::Result<()> {
    match Make::parse() {
        Make::Ramdisk { agent, out } => {
            fs::create_dir_all(&out)?;
            let kernel = KernelPackage::fetch(&out.join("kernel"), &mut say)?;
            let built = build_ramdisk(
                &RamdiskOptions {
                    agent,
                    kernel,
                    stub: DEFAULT_STUB.into(),
                    output: out.join("billet-ramdisk.efi"),
                    signing: None,
                },
                &mut say,
            )?;
            println!("{built:#?}");
        }
        Make::Image { name, out } => {
            let built = build(
                &BuildOptions {
                    name,
                    output: out,
                    size: None,
                    mirror: None,
                },
                &mut say,
            )?;
            println!("{built:#?}");
        }
        Make::Import {
            image,
            checksum,
            out,
        } => {
            let file = fs::File::open(&image)?;
            let imported = import(
                &file,
                &ImportOptions {
                    checksum,
                    max_virtual_size: 1 << 40,
                    expected_bytes: Some(file.metadata()?.len()),
                    dir: out,
                },
                &mut say,
            )?;
            println!("{imported:#?}");
        }
        Make::Export { digest, from, out } => {
            ImageReader::open(&from, &digest)?.export(&out, &mut say)?;
        }
        Make::Medium {
            uki,
            server,
            token,
            out,
        } => {
            let template = BootMediaTemplate::create(&uki, &out.with_extension("template"))?;
            let medium = template.for_record(&BootRecord {
                servers: vec![server],
                authority: String::new(),
                token: Secret::new(token),
                addresses: vec![],
                made_at: jiff::Timestamp::now(),
            })?;
            medium.write_to(&mut fs::File::create(&out)?)?;
            println!("{}: {} bytes", out.display(), medium.len());
        }
    }
    Ok(())
}
