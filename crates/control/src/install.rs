//! A tenant's own installer: the medium that it is served on, what it finds at its
//! own address, and its word that it is done.

use std::path::PathBuf;

use billet_media::{boot_media::BootMedium, install_media::InstallMedia};
use billet_model::{
    BootId, LeaseId, MachineId, Secret,
    image::{Image, ImageKind},
    lease::{ActiveBecause, Install, InstallEnded, InstallMedium, Lease},
    machine::Machine,
    operation::Operation,
    people::Actor,
    step::{Boot, BootOf, InstallStep, Step},
    work::DriveRef,
};
use billet_plan::{
    install_text::{self, Values},
    tenant,
};
use billet_protocol::install::{InstallRecord, METADATA, PATH, SSH_KEYS, USER_DATA};
use billet_store::{Batch, StoreError, Write};

use crate::{AgentError, Control, Core, Refusal, keys};

/// What an installer reads at its own address.
#[derive(Clone, Copy)]
enum InstallFile {
    /// SSH public keys, one on a line.
    SshKeys,
    /// User data.
    UserData,
    /// What the machine is told of its lease, JSON.
    Metadata,
}

impl InstallFile {
    /// By its name in the address.
    fn named(name: &str) -> Option<Self> {
        match name {
            SSH_KEYS => Some(Self::SshKeys),
            USER_DATA => Some(Self::UserData),
            METADATA => Some(Self::Metadata),
            _ => None,
        }
    }
}

/// What is served of an image, for a lease's record.
pub(crate) fn of_image(image: &Image, hostname: String) -> Option<Install> {
    let config = image.install.as_ref()?;
    Some(Install {
        kind: image.kind,
        digest: config.digest.clone()?,
        parts: config.parts.clone(),
        command_line: config.command_line.clone(),
        seconds: config.seconds,
        hostname,
        medium: None,
        began_at: None,
        ended: None,
    })
}

/// The host name that a lease's system gets.
pub(crate) fn hostname(lease: &Lease) -> String {
    let given = lease.spec.hostname.clone();
    given.unwrap_or_else(|| lease.name.to_string())
}

/// Why this machine cannot run this installer, if it cannot.
fn unfit(install: &Install, machine: &Machine) -> Option<String> {
    let secure_boot = machine.firmware.as_ref().and_then(|f| f.secure_boot);
    if secure_boot == Some(true) {
        return Some(
            "its firmware has Secure Boot on and starts signed programs alone, which a tenant's own installer is not: use a disk image"
                .into(),
        );
    }
    let line = install.command_line.as_deref().unwrap_or_default();
    if install_text::needs_address(line) && machine.addresses.is_empty() {
        return Some(
            "it has no address of Billet's, which the command line has a place for".into(),
        );
    }
    None
}

impl Core {
    /// Why a lease's installer cannot run on this machine, if it cannot; its root
    /// is wanted on that drive.
    pub(crate) fn cannot_install(
        &self,
        lease: &Lease,
        machine: &Machine,
        root: &DriveRef,
    ) -> Option<String> {
        let install = lease.install.as_ref()?;
        if let Some(why) = unfit(install, machine) {
            return Some(why);
        }
        let lease = Lease {
            root_drive: Some(root.clone()),
            ..lease.clone()
        };
        let text = self.install_text(&lease, machine, install, "");
        text.err().map(|e| format!("its command line: {e}"))
    }

    fn install_url(&self, lease: &Lease) -> Secret {
        let token = self.keys.install_token(lease);
        let server = self.servers.first().map_or("", String::as_str);
        Secret::new(format!(
            "{}{PATH}{}",
            server.trim_end_matches('/'),
            token.expose()
        ))
    }

    /// The command line or script of a lease's installer, with what is its own;
    /// `script` is the tenant's.
    ///
    /// # Errors
    /// When it is longer than a kernel takes.
    pub(crate) fn install_text(
        &self,
        lease: &Lease,
        machine: &Machine,
        install: &Install,
        script: &str,
    ) -> Result<Secret, install_text::TextError> {
        let values = Values {
            lease,
            machine,
            url: self.install_url(lease),
        };
        if install.kind == ImageKind::Ipxe {
            return Ok(install_text::script(script, &values));
        }
        let line = install.command_line.as_deref().unwrap_or_default();
        install_text::command_line(line, &values)
    }

    /// The lease and machine that an installer's token is of, while it runs.
    async fn installing(&self, token: &str) -> Result<(Lease, Machine), AgentError> {
        let id = keys::Keys::install_names(token).ok_or(AgentError::Unknown)?;
        let lease = self.store.lease(id).await?.ok_or(AgentError::Unknown)?;
        let expected = self.keys.install_token(&lease);
        if !keys::same(token, expected.expose()) {
            return Err(AgentError::Unknown);
        }
        let machine = self.store.machine(lease.machine).await?;
        let machine = machine.ok_or(AgentError::Unknown)?;
        // It may be quicker than the BMC is to say that power is on; and what it
        // installed may be what says that it is done, after the medium is out.
        let runs = matches!(machine.step, Step::Install { at, .. } if !matches!(
            at,
            InstallStep::Off | InstallStep::Insert | InstallStep::SetBoot | InstallStep::Settle
        ));
        if !runs || machine.lease != Some(lease.id) || machine.unconfirmed {
            return Err(AgentError::Unknown);
        }
        Ok((lease, machine))
    }

    /// An installer, or what it installed, says that it is done. Once: a repeat, as
    /// of one whose answer was lost, is told the same and changes nothing.
    ///
    /// # Errors
    /// When the token is not that of a lease whose installer runs.
    pub async fn installed(&self, token: &str) -> Result<MachineId, AgentError> {
        let mut tries = 0;
        loop {
            let (mut lease, machine) = match self.installing(token).await {
                Ok(found) => found,
                Err(AgentError::Unknown) => return self.was_installed(token).await,
                Err(error) => return Err(error),
            };
            let id = machine.id;
            let at = self.now();
            let Some(install) = lease.install.as_mut().filter(|i| i.ended.is_none()) else {
                return Ok(id);
            };
            let because = ActiveBecause::InstallerReported;
            install.ended = Some(InstallEnded { at, because });
            lease.active_because = Some(because);
            let mut row = self.audit_row(
                &Actor::Machine { machine: id },
                "lease.installed",
                serde_json::json!({ "said_by": "machine" }),
            );
            (row.machine, row.lease, row.project) = (Some(id), Some(lease.id), Some(lease.project));
            let batch = self
                .waking(machine)
                .with(Write::PutLease(Box::new(lease)))
                .audited(row);
            match self.commit(batch).await {
                Ok(()) => return Ok(id),
                Err(StoreError::Conflict { .. }) if tries < 16 => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether it is a repeat of a word that was taken.
    async fn was_installed(&self, token: &str) -> Result<MachineId, AgentError> {
        let id = keys::Keys::install_names(token).ok_or(AgentError::Unknown)?;
        let lease = self.store.lease(id).await?.ok_or(AgentError::Unknown)?;
        let expected = self.keys.install_token(&lease);
        let taken = lease.state.is_tenants()
            && lease.active_because == Some(ActiveBecause::InstallerReported);
        if taken && keys::same(token, expected.expose()) {
            Ok(lease.machine)
        } else {
            Err(AgentError::Unknown)
        }
    }

    /// What an installer reads at its own address.
    ///
    /// # Errors
    /// When the token is not that of a lease whose installer runs, or there is no
    /// such thing.
    pub async fn install_file(&self, token: &str, name: &str) -> Result<String, AgentError> {
        let (lease, machine) = self.installing(token).await?;
        match InstallFile::named(name).ok_or(AgentError::NotYours)? {
            InstallFile::SshKeys => {
                let keys = lease.spec.ssh_keys.iter();
                Ok(keys.map(|key| format!("{}\n", key.trim())).collect())
            }
            InstallFile::UserData => lease.spec.user_data.ok_or(AgentError::NotYours),
            InstallFile::Metadata => {
                let about = self.about(&lease, &machine).await?;
                Ok(format!("{about}\n"))
            }
        }
    }

    /// A tenant says that its machine is installed.
    ///
    /// # Errors
    /// When no installer runs.
    pub async fn installed_by_hand(
        &self,
        actor: &Actor,
        id: LeaseId,
        if_match: Option<i64>,
    ) -> Result<(Lease, Operation), Refusal> {
        let machine = self.machine_of(id, if_match).await?;
        self.begin_on_lease(machine, actor, id, tenant::installed)
            .await
    }
}

impl Control {
    /// Where what an image or an install configuration is made of lies.
    pub fn images_directory(&self) -> PathBuf {
        self.settings().data.join("images")
    }

    /// The file of an install configuration's medium.
    pub fn install_medium_path(&self, digest: &str) -> PathBuf {
        self.images_directory().join(format!("{digest}.iso"))
    }

    /// The file of a part of an install configuration, by its SHA-256.
    pub fn install_part_path(&self, sha256: &str) -> PathBuf {
        self.images_directory().join(format!("{sha256}.part"))
    }

    /// The medium of the installer that a machine is to boot.
    pub(crate) async fn installer_medium(
        &self,
        machine: &Machine,
    ) -> Result<BootMedium, AgentError> {
        let id = machine.lease.ok_or(AgentError::Unknown)?;
        let lease = self.store().lease(id).await?.ok_or(AgentError::Unknown)?;
        let install = lease.install.clone().ok_or(AgentError::Unknown)?;
        let failed = |why: String| {
            tracing::error!(why, lease = %lease.name, "making an installer's medium");
            AgentError::NotYours
        };
        let script = match install.kind {
            ImageKind::Ipxe => {
                let sha256 = install.parts.first().and_then(|p| p.sha256.as_deref());
                let path = self.install_part_path(sha256.unwrap_or_default());
                let read = tokio::fs::read_to_string(&path).await;
                read.map_err(|e| failed(format!("reading {}: {e}", path.display())))?
            }
            ImageKind::Disk | ImageKind::Kernel => String::new(),
        };
        let text = self.install_text(&lease, machine, &install, &script);
        let text = text.map_err(|e| failed(e.to_string()))?;
        let record = InstallRecord {
            lease: lease.id.to_string(),
            digest: install.digest.clone(),
            url: self.install_url(&lease),
            text: text.clone(),
        };
        let path = self.install_medium_path(&install.digest);
        let medium = InstallMedia::open(&path).and_then(|m| m.medium(text.expose(), &record));
        medium.map_err(|e| failed(e.to_string()))
    }

    /// A BMC reads the medium of a boot: if it is an installer's, it is put on the
    /// lease's record, once, what was served.
    pub fn medium_is_read(&self, boot: &Boot, medium: &BootMedium) {
        // Most media are of the ramdisk, and all are read in many pieces.
        if boot.of != BootOf::Installer || !self.digesting().insert(boot.id) {
            return;
        }
        let (control, medium) = (self.clone(), medium.clone());
        let (boot, machine) = (boot.id, boot.machine);
        tokio::spawn(async move {
            if let Err(error) = control.note_medium(boot, machine, medium).await {
                tracing::warn!(error, "a medium that is read could not be put on record");
            }
            control.digesting().remove(&boot);
        });
    }

    async fn note_medium(
        &self,
        boot: BootId,
        machine: MachineId,
        medium: BootMedium,
    ) -> Result<(), String> {
        let found = |e: StoreError| e.to_string();
        let of = |machine: &Machine| match machine.step {
            Step::Install { boot: of, .. } if of == boot => machine.lease,
            _ => None,
        };
        let leased = async || -> Result<Option<Lease>, String> {
            let now = self
                .store()
                .machine_in_short(machine)
                .await
                .map_err(found)?;
            match now.as_ref().and_then(of) {
                Some(id) => self.store().lease(id).await.map_err(found),
                None => Ok(None),
            }
        };
        let wants = |lease: &Lease| {
            let install = lease.install.as_ref();
            install.is_some_and(|i| i.medium.as_ref().is_none_or(|m| m.boot != boot))
        };
        // Before it is read whole: the next piece asks again.
        if !leased().await?.as_ref().is_some_and(wants) {
            return Ok(());
        }
        let read_at = self.now();
        let bytes = medium.len();
        let digest = tokio::task::spawn_blocking(move || medium.sha256());
        let sha256 = digest
            .await
            .map_err(|e| e.to_string())?
            .map_err(|e| e.to_string())?;
        for _ in 0..16 {
            let Some(mut lease) = leased().await?.filter(wants) else {
                return Ok(());
            };
            let Some(install) = &mut lease.install else {
                return Ok(());
            };
            install.medium = Some(InstallMedium {
                boot,
                sha256: sha256.clone(),
                bytes,
                read_at,
                out_at: None,
            });
            let mut row = self.audit_row(
                &Actor::Billet,
                "lease.install_medium_read",
                serde_json::json!({
                    "boot": boot, "sha256": sha256, "bytes": bytes, "config": install.digest,
                }),
            );
            (row.machine, row.lease, row.project) =
                (Some(machine), Some(lease.id), Some(lease.project));
            let batch = Batch::new()
                .with(Write::PutLease(Box::new(lease)))
                .audited(row);
            match self.commit(batch).await {
                Ok(()) => return Ok(()),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("others changed the lease again and again".into())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use billet_model::step::BootOf;

    use crate::tests::Place;

    #[tokio::test]
    async fn a_boot_is_forgotten_once_its_medium_was_looked_at() {
        let place = Place::new().await;
        let control = &place.control;
        let (token, _) = place.at_work().await;
        let boot = control.keys.boot_of(&token).expect("a boot");
        let path = control.keys.medium_token(boot);
        let served = control.boot_medium(path.expose()).await;
        let (mut boot, medium) = served.unwrap_or_else(|e| panic!("{e}"));
        // The ramdisk's is nobody's to look at.
        control.medium_is_read(&boot, &medium);
        assert!(control.digesting().is_empty());
        boot.of = BootOf::Installer;
        control.medium_is_read(&boot, &medium);
        assert!(control.digesting().contains(&boot.id));
        for _ in 0..200 {
            if control.digesting().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it is kept for ever");
    }
}
