//! A control plane, opened: settings, keys, store, boot media.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
};

use billet_media::boot_media::{BootMediaError, BootMediaTemplate};
use billet_model::{Secret, api::SigningKey};
use billet_plan::Policy;
use billet_store::{Batch, Store, StoreError, StoreUrl, Write};
use sha2::{Digest as _, Sha256};

use crate::{
    Core, System,
    bmcs::Bmcs,
    consoles::Consoles,
    keys::{Keys, KeysError},
    warm::WarmChoices,
};

/// Where the keys' check value is kept.
const KEYS_CHECK: &str = "control.keys_check";

/// The ramdisk's own copy, in the data directory.
const RAMDISK: &str = "ramdisk.efi";

/// Copies the ramdisk, and says its SHA-256.
fn copy_of(uki: &Path, own: &Path) -> Result<String, OpenError> {
    let failed = |source| OpenError::Ramdisk {
        path: uki.to_owned(),
        source,
    };
    let bytes = std::fs::read(uki).map_err(failed)?;
    // Whole or not at all: it may even be the file that was given.
    let new = own.with_extension("new");
    std::fs::write(&new, &bytes).map_err(failed)?;
    std::fs::rename(&new, own).map_err(failed)?;
    let digest = Sha256::digest(&bytes);
    let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    Ok(format!("sha256:{hex}"))
}

/// How a control plane is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Database, images, boot media.
    pub data: PathBuf,
    /// Keys: outside of `data`.
    pub keys: PathBuf,
    /// `postgres://…`; SQLite in `data` where absent.
    pub database: Option<Secret>,
    /// Base URLs under which machines reach the control plane.
    pub servers: Vec<String>,
    /// Base URL under which BMCs fetch boot media.
    pub media_base: String,
    /// The ramdisk, a UKI; without, no machine can be taken over.
    pub ramdisk: Option<PathBuf>,
    /// systemd's UEFI stub: what a tenant's own kernel is joined with.
    pub stub: PathBuf,
    /// iPXE as a UEFI program; without, no install configuration is a script.
    pub ipxe: Option<PathBuf>,
    /// The control plane's authority, PEM: what agents trust.
    pub authority: String,
    /// How long things may take.
    pub policy: Policy,
}

/// Why a control plane could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory.
    #[error("making the data directory {path}: {source}", path = path.display())]
    Data {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The keys lie where a copy of the data would carry them along.
    #[error("the keys ({keys}) lie inside the data directory ({data}): a backup of the data would hold the keys that protect it; put them elsewhere with --keys", keys = keys.display(), data = data.display())]
    KeysInData {
        /// Keys.
        keys: PathBuf,
        /// Data.
        data: PathBuf,
    },
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The keys are not those that the data was made with.
    #[error("the keys in {keys} are not those that this data was made with, so its BMC passwords cannot be read: bring the right keys back, or start with other data", keys = keys.display())]
    OtherKeys {
        /// Keys.
        keys: PathBuf,
    },
    /// The database.
    #[error("opening the database: {0}")]
    Store(#[from] StoreError),
    /// The ramdisk could not be read or kept.
    #[error("keeping the ramdisk {path}: {source}", path = path.display())]
    Ramdisk {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Its boot media.
    #[error("making boot media of the ramdisk: {0}")]
    Media(#[from] BootMediaError),
}

/// A control plane. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    core: Core,
    settings: Settings,
    template: Option<BootMediaTemplate>,
    bmcs: Bmcs,
    consoles: Consoles,
    digesting: std::sync::Mutex<std::collections::HashSet<billet_model::BootId>>,
}

impl Deref for Control {
    type Target = Core;
    fn deref(&self) -> &Core {
        &self.inner.core
    }
}

impl Control {
    /// Opens a control plane; makes what is not there yet.
    ///
    /// # Errors
    /// When data or keys cannot be used, or the database is of a newer Billet.
    pub async fn open(settings: Settings) -> Result<Self, OpenError> {
        let world = System;
        std::fs::create_dir_all(&settings.data).map_err(|source| OpenError::Data {
            path: settings.data.clone(),
            source,
        })?;
        if let (Ok(data), Some(keys)) = (
            settings.data.canonicalize(),
            settings.keys.canonicalize().ok().or_else(|| {
                let name = settings.keys.file_name()?.to_owned();
                let above = settings.keys.parent().filter(|p| !p.as_os_str().is_empty());
                let above = above.unwrap_or_else(|| std::path::Path::new("."));
                Some(above.canonicalize().ok()?.join(name))
            }),
        ) && keys.starts_with(&data)
        {
            return Err(OpenError::KeysInData { keys, data });
        }
        let keys = Keys::open(&settings.keys, &world)?;
        let url = match &settings.database {
            Some(url) => StoreUrl::Postgres {
                url: url.expose().to_owned(),
            },
            None => StoreUrl::Sqlite {
                path: settings.data.join("billet.db"),
            },
        };
        let store = Store::open(&url).await?;
        let value = keys.check_value();
        match store.meta(KEYS_CHECK).await? {
            Some(kept) if kept == value => {}
            Some(_) => {
                return Err(OpenError::OtherKeys {
                    keys: settings.keys,
                });
            }
            None => {
                let key = KEYS_CHECK.to_owned();
                let batch = Batch::new().with(Write::PutMeta { key, value });
                store.commit(batch).await?;
            }
        }
        let (template, ramdisk) = match &settings.ramdisk {
            Some(uki) => {
                // A copy of its own: the file may be renewed while this runs, and
                // what is booted and what is tried by kexec must be the same.
                let own = settings.data.join(RAMDISK);
                let digest = copy_of(uki, &own)?;
                let medium = settings.data.join("boot-media.iso");
                let template = BootMediaTemplate::create(&own, &medium)?;
                (Some(template), Some(digest))
            }
            None => (None, None),
        };
        let core = Core {
            store,
            policy: settings.policy.clone(),
            world: Arc::new(world),
            keys,
            decide: billet_plan::next_step,
            servers: settings.servers.clone(),
            authority: settings.authority.clone(),
            ramdisk,
            warm: WarmChoices::default(),
            changed: tokio::sync::Notify::new(),
            turned_away: Default::default(),
            followers: Default::default(),
        };
        let consoles = Consoles::new(settings.data.join("console"));
        Ok(Self {
            inner: Arc::new(Inner {
                core,
                consoles,
                settings,
                template,
                bmcs: Bmcs::default(),
                digesting: std::sync::Mutex::default(),
            }),
        })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.inner.core.store
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// The keys that sign or signed evidence.
    pub fn evidence_keys(&self) -> Vec<SigningKey> {
        self.inner.core.keys.signing_keys()
    }

    pub(crate) fn template(&self) -> Option<&BootMediaTemplate> {
        self.inner.template.as_ref()
    }

    /// Where the ramdisk that machines boot lies.
    pub(crate) fn ramdisk_file(&self) -> PathBuf {
        self.inner.settings.data.join(RAMDISK)
    }

    pub(crate) fn consoles(&self) -> &Consoles {
        &self.inner.consoles
    }

    /// Boots whose media are being digested.
    pub(crate) fn digesting(
        &self,
    ) -> std::sync::MutexGuard<'_, std::collections::HashSet<billet_model::BootId>> {
        let digesting = self.inner.digesting.lock();
        digesting.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn bmcs(&self) -> &Bmcs {
        &self.inner.bmcs
    }
}
