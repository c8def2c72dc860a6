//! A new lease: what was asked for is checked, then a free machine is taken,
//! the next one if someone was quicker, until none is left.

use std::collections::BTreeMap;

use billet_model::{
    ProjectId, Time,
    api::NewLease,
    image::{BootKind, Image, ImageState},
    layout::{DriveLayout, FileSystem, Level, ScratchKind},
    lease::{Lease, LeaseMode, LeaseSpec, LeaseState},
    lifecycle::Lifecycle,
    machine::Machine,
    operation::Operation,
    people::{Actor, Project},
    ssh_key,
    work::DriveRef,
};
use billet_plan::{layout, placement, requests};
use billet_store::{MachineFilter, StoreError, Write};
use jiff::SignedDuration;

use crate::{Core, Refusal, RefusalKind, core::Input, facts::Gathered, install, user_data};

impl Core {
    /// Makes a lease and takes a machine for it.
    ///
    /// # Errors
    /// When the request makes no sense, or no machine is free.
    pub async fn create_lease(
        &self,
        actor: &Actor,
        project: &Project,
        new: NewLease,
    ) -> Result<(Lease, Operation), Refusal> {
        check(&new)?;
        let image = self.image_for(project.id, &new.image).await?;
        if !image.kind.installs() {
            check_user_data(new.user_data.as_deref())?;
        }
        suits(
            &image,
            &new.ssh_keys,
            new.user_data.as_deref(),
            &new.kernel_args,
        )?;
        suits_layout(&image, &new.layout)?;
        let Some(machine_type) = self.store.machine_type_by_name(&new.machine_type).await? else {
            return Err(Refusal::invalid(
                "machine_type",
                format!(
                    "there is no machine type {}: `billet offers` shows those there are",
                    new.machine_type
                ),
            ));
        };
        let cold = if new.cold {
            Some("the lease asked for it".to_owned())
        } else if machine_type.warm.cold {
            Some(format!("leases of type {} always do", machine_type.name))
        } else if !new.layout.is_empty() {
            Some("its drives are laid out as it wants them".to_owned())
        } else {
            None
        };
        let site = match &new.site {
            Some(name) => Some(
                self.store
                    .site_by_name(name)
                    .await?
                    .ok_or_else(|| {
                        Refusal::invalid(
                            "site",
                            format!(
                                "there is no site {name}: `billet offers` shows those there are"
                            ),
                        )
                    })?
                    .id,
            ),
            None => None,
        };
        let now = self.now();
        let id: billet_model::LeaseId = self.new_id();
        let ends_at = new
            .term_seconds
            .map(|seconds| end_of_term(now, seconds))
            .transpose()?;
        let name = match new.name {
            Some(name) => name,
            None => {
                let text = id.0.simple().to_string();
                format!("lease-{}", &text[text.len() - 8..])
                    .parse()
                    .map_err(|_| Refusal::new(RefusalKind::Internal, "no name could be made"))?
            }
        };
        let mut lease = Lease {
            id,
            name,
            project: project.id,
            mode: new.mode,
            state: LeaseState::Deploying,
            reason: None,
            machine: self.new_id(),
            machine_type: new.machine_type,
            image: image.id,
            spec: LeaseSpec {
                ssh_keys: new.ssh_keys,
                user_data: new.user_data,
                kernel_args: new.kernel_args,
                hostname: None,
                root_drive: new.root_drive,
                cold: new.cold,
                layout: new.layout,
            },
            tags: new.tags,
            ends_at,
            active_because: None,
            host_keys: Vec::new(),
            written: None,
            firmware_before: None,
            operation: self.new_id(),
            created_at: now,
            active_at: None,
            ended_at: None,
            leaving_at: None,
            warned_at: None,
            visits: Vec::new(),
            rescue: None,
            measurements: Vec::new(),
            root_drive: None,
            before_reinstall: None,
            earlier_visits: 0,
            first_start: None,
            begun_anew: 0,
            install: None,
            layout: None,
            file_systems: None,
            version: 0,
        };
        lease.install = install::of_image(&image, install::hostname(&lease));
        // Each round sees what is free now; who loses a race tries the next.
        for _ in 0..64 {
            let filter = MachineFilter {
                machine_type: Some(lease.machine_type.clone()),
                lifecycle: Some(Lifecycle::Available),
                site,
                ..MachineFilter::default()
            };
            let machines = self.store.machines(&filter, None, 1000).await?;
            let (mut unfit, mut small) = (None, None);
            let wanted = placement::Wanted {
                site,
                cold: cold.is_some() || image.kind.installs(),
                image: image.content.as_ref().map(|c| c.digest.as_str()),
                root_drive: &lease.spec.root_drive,
            };
            let mut cannot = None;
            let Some(machine) = placement::candidates(&machines, &wanted)
                .into_iter()
                .find(|m| match layout::lay_out_on(&drives_wanted(&lease), m) {
                    Ok(laid_out) if image.kind.installs() => {
                        let root = laid_out.root.first();
                        let why = root.and_then(|root| self.cannot_install(&lease, m, root));
                        let can = why.is_none();
                        cannot = cannot.take().or(why);
                        can
                    }
                    Ok(laid_out) => {
                        let why = too_small(m, &laid_out.root, &image);
                        let fits = why.is_none();
                        small = small.take().or(why);
                        fits
                    }
                    Err(why) => {
                        unfit = Some(why);
                        false
                    }
                })
                .cloned()
            else {
                // Free, and not for this installer.
                if let Some(why) = cannot {
                    return Err(Refusal::invalid(
                        "image",
                        format!(
                            "no free machine of type {} can be installed by {}: {why}",
                            lease.machine_type, image.name
                        ),
                    ));
                }
                // Free, and without the drives that were wanted.
                if let Some(why) = unfit {
                    let field = if lease.spec.layout.is_empty() {
                        "root_drive"
                    } else {
                        "layout"
                    };
                    return Err(Refusal::invalid(
                        field,
                        format!(
                            "no free machine of type {} has it: {why}",
                            lease.machine_type
                        ),
                    ));
                }
                // Free, and too small.
                if let Some(why) = small {
                    return Err(Refusal::invalid(
                        "image",
                        format!(
                            "no free machine of type {} has room for it: {why}",
                            lease.machine_type
                        ),
                    ));
                }
                // How many others hold is not for a tenant to know.
                return Err(Refusal::new(
                    RefusalKind::Unavailable,
                    format!(
                        "no machine of type {} is free where it was asked for: `billet offers` shows what is",
                        lease.machine_type
                    ),
                ));
            };
            lease.machine = machine.id;
            let took = machine.machine_type.clone();
            match self.grant(actor, machine, &lease, cold.clone()).await {
                Ok(done) => {
                    // Another one may be wanted warm in its place.
                    if machine_type.warm.count > 0
                        && let Err(error) = self.wake_type(&took).await
                    {
                        tracing::warn!(%error, "looking for another machine to wait warm");
                    }
                    return Ok(done);
                }
                Err(GrantError::Lost) => {}
                Err(GrantError::Refused(refusal)) => return Err(refusal),
            }
        }
        Err(Refusal::new(
            RefusalKind::Conflict,
            "others were quicker again and again: try again",
        ))
    }

    async fn grant(
        &self,
        actor: &Actor,
        machine: Machine,
        lease: &Lease,
        cold: Option<String>,
    ) -> Result<(Lease, Operation), GrantError> {
        let gathered = Gathered::read(self, machine).await.map_err(Refusal::from)?;
        let input = Input::default();
        let facts = gathered.facts(&self.policy, self.now(), &input, self.fresh());
        let grant = requests::Grant {
            lease,
            operation: lease.operation,
            cold,
        };
        let mut decision = requests::grant(&facts, &grant).map_err(|_| GrantError::Lost)?;
        self.tell_of_networks(&mut decision.machine)
            .await
            .map_err(Refusal::from)?;
        let operation = decision.operations.first().cloned();
        let units = gathered.machine.units();
        let mut row = self.audit_row(
            actor,
            "lease.create",
            serde_json::json!({
                "name": lease.name,
                "type": lease.machine_type,
                "image": lease.image,
                "ends_at": lease.ends_at,
                "layout": (!lease.spec.layout.is_empty()).then_some(&lease.spec.layout),
            }),
        );
        (row.machine, row.lease, row.project) =
            (Some(lease.machine), Some(lease.id), Some(lease.project));
        let batch = self
            .batch(&gathered.machine, decision, actor)
            .map_err(Refusal::from)?
            .with(Write::Hold {
                machine: lease.machine,
                units,
                lease: lease.id,
            })
            .with(Write::WithinQuota {
                project: lease.project,
                machine_type: lease.machine_type.clone(),
            })
            .audited(row);
        match self.commit(batch).await {
            Ok(()) => {
                let mut lease = lease.clone();
                lease.version = 1;
                let operation = operation.ok_or_else(|| {
                    Refusal::new(RefusalKind::Internal, "the decision brought no operation")
                })?;
                Ok((lease, operation))
            }
            Err(StoreError::Conflict { .. } | StoreError::Held { .. }) => Err(GrantError::Lost),
            Err(StoreError::OverQuota { .. }) => Err(self.over_quota(lease).await?.into()),
            Err(error) => Err(Refusal::from(error).into()),
        }
    }

    /// Which quota is used up, how far, and who can raise it.
    async fn over_quota(&self, lease: &Lease) -> Result<Refusal, Refusal> {
        let quotas = self.store.quotas(Some(&[lease.project])).await?;
        let full = quotas
            .into_iter()
            .find(|(q, used)| q.machine_type == lease.machine_type && *used >= q.most);
        let Some((quota, used)) = full else {
            // Someone let go of a machine meanwhile.
            let detail = "the quota was used up a moment ago: try again";
            return Ok(Refusal::new(RefusalKind::OverQuota, detail));
        };
        let (whose, flag) = match (quota.organisation, quota.project) {
            (Some(id), _) => {
                let found = self.store.organisation(id).await?;
                let name = found.map_or_else(|| id.to_string(), |o| o.name.to_string());
                (
                    format!("organisation {name}"),
                    format!("--organisation {name}"),
                )
            }
            (None, _) => {
                let found = self.store.project(lease.project).await?;
                let name = found.map_or_else(|| lease.project.to_string(), |p| p.name.to_string());
                (format!("project {name}"), format!("--project {name}"))
            }
        };
        Ok(Refusal {
            field: Some("machine_type".into()),
            ..Refusal::new(
                RefusalKind::OverQuota,
                format!(
                    "{whose} may hold {} machines of type {} at once and holds {used}: release one, \
                     or ask an operator, who can raise it with `billet quota set {flag} --type {} \
                     --most COUNT`",
                    quota.most, quota.machine_type, quota.machine_type
                ),
            )
        })
    }

    pub(crate) async fn image_for(
        &self,
        project: ProjectId,
        given: &str,
    ) -> Result<Image, Refusal> {
        let found = if let Ok(id) = given.parse() {
            self.store
                .image(id)
                .await?
                .filter(|i| i.project.is_none_or(|p| p == project))
        } else if let Ok(name) = given.parse() {
            match self.store.image_by_name(Some(project), &name).await? {
                Some(image) => Some(image),
                None => self.store.image_by_name(None, &name).await?,
            }
        } else {
            None
        };
        let image = found.ok_or_else(|| {
            Refusal::invalid(
                "image",
                format!("there is no image {given}: `billet image list` shows those there are"),
            )
        })?;
        match image.state {
            ImageState::Available => Ok(image),
            ImageState::Failed => Err(Refusal::invalid(
                "image",
                format!(
                    "image {given} could not be taken in: {}",
                    image.reason.as_deref().unwrap_or("no reason was kept")
                ),
            )),
            ImageState::AwaitingUpload | ImageState::Importing => Err(Refusal::invalid(
                "image",
                format!("image {given} is still being taken in: try again when it is available"),
            )),
        }
    }
}

enum GrantError {
    /// Someone else was quicker.
    Lost,
    Refused(Refusal),
}

impl From<Refusal> for GrantError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn check(new: &NewLease) -> Result<(), Refusal> {
    if new.mode != LeaseMode::Dedicated {
        return Err(Refusal::invalid(
            "mode",
            "managed leases are not offered by this server yet: ask for a dedicated one",
        ));
    }
    check_keys(&new.ssh_keys)?;
    user_data::check_size(new.user_data.as_deref())?;
    check_kernel_args(&new.kernel_args)?;
    check_layout(&new.layout)?;
    check_tags(&new.tags)
}

pub(crate) fn check_keys(ssh_keys: &[String]) -> Result<(), Refusal> {
    for (i, key) in ssh_keys.iter().enumerate() {
        if let Err(why) = ssh_key::check(key) {
            let start: String = key.chars().take(24).collect();
            return Err(Refusal::invalid(
                &format!("ssh_keys[{i}]"),
                format!("{start:?}… {why}"),
            ));
        }
    }
    Ok(())
}

pub(crate) fn check_user_data(user_data: Option<&str>) -> Result<(), Refusal> {
    user_data.map_or(Ok(()), user_data::check)
}

pub(crate) fn check_kernel_args(kernel_args: &[String]) -> Result<(), Refusal> {
    for (i, arg) in kernel_args.iter().enumerate() {
        if arg.is_empty() || arg.len() > 512 || arg.chars().any(|c| c.is_control() || c == ' ') {
            return Err(Refusal::invalid(
                &format!("kernel_args[{i}]"),
                format!("{arg:?} is not one kernel argument: no spaces, at most 512 characters"),
            ));
        }
    }
    if kernel_args.iter().map(String::len).sum::<usize>() > 1024 {
        return Err(Refusal::invalid(
            "kernel_args",
            "kernel arguments are longer than 1024 characters in all",
        ));
    }
    Ok(())
}

pub(crate) fn check_layout(layout: &DriveLayout) -> Result<(), Refusal> {
    layout::check(layout).map_err(|bad| Refusal::invalid(&bad.field, bad.why))
}

/// What a lease wants of drives.
fn drives_wanted(lease: &Lease) -> layout::Wanted<'_> {
    layout::Wanted {
        lease: lease.id,
        root: &lease.spec.root_drive,
        layout: &lease.spec.layout,
        kept: &[],
    }
}

pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if tags.len() > 64 {
        return Err(Refusal::invalid("tags", "there may be 64 tags at most"));
    }
    for (key, value) in tags {
        let plain = |s: &str, most: usize| s.len() <= most && !s.chars().any(char::is_control);
        if key.is_empty() || !plain(key, 63) || !plain(value, 255) {
            return Err(Refusal::invalid(
                &format!("tags.{key}"),
                "a tag's key has 1 to 63 characters and its value up to 255, none of them control characters",
            ));
        }
    }
    Ok(())
}

/// Labels of letters, digits and hyphens, as DNS has them; empty is none.
pub(crate) fn check_hostname(hostname: &str) -> Result<(), Refusal> {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    if hostname.is_empty() || hostname.len() <= 253 && hostname.split('.').all(label) {
        return Ok(());
    }
    Err(Refusal::invalid(
        "hostname",
        format!(
            "{hostname:?} is not a host name: letters, digits and hyphens, with dots between, at most 253"
        ),
    ))
}

pub(crate) fn end_of_term(from: Time, seconds: u64) -> Result<Time, Refusal> {
    let term = i64::try_from(seconds)
        .ok()
        .filter(|s| (60..=10 * 366 * 86_400).contains(s))
        .ok_or_else(|| {
            Refusal::invalid(
                "term_seconds",
                format!("a term of {seconds} seconds: it may be from a minute to ten years"),
            )
        })?;
    from.checked_add(SignedDuration::from_secs(term))
        .map_err(|_| Refusal::invalid("term_seconds", "the term ends beyond the calendar"))
}

pub(crate) fn suits(
    image: &Image,
    ssh_keys: &[String],
    user_data: Option<&str>,
    kernel_args: &[String],
) -> Result<(), Refusal> {
    // Keys let its tenant into a rescue, and an installer reads them, the user data
    // and the kernel arguments at its own address.
    if image.kind.installs() {
        return Ok(());
    }
    let boot = image.content.as_ref().map_or(BootKind::Unknown, |c| c.boot);
    if !kernel_args.is_empty() && boot == BootKind::Unknown {
        return Err(Refusal::invalid(
            "kernel_args",
            format!(
                "it cannot be told how image {} boots, so kernel arguments would not reach its kernel: use an image with boot loader entries or GRUB",
                image.name
            ),
        ));
    }
    if !image.cloud_init && (user_data.is_some() || !ssh_keys.is_empty()) {
        return Err(Refusal::invalid(
            "image",
            format!(
                "image {} has no cloud-init, so SSH keys and user data would not be used: put them into the image and leave them out here",
                image.name
            ),
        ));
    }
    Ok(())
}

/// Whether the image can make of drives what is wanted.
pub(crate) fn suits_layout(image: &Image, layout: &DriveLayout) -> Result<(), Refusal> {
    if layout.is_empty() {
        return Ok(());
    }
    let name = &image.name;
    if image.kind.installs() {
        return Err(Refusal::invalid(
            "layout",
            format!(
                "image {name} is an install configuration, which lays the drives out itself: leave the layout out"
            ),
        ));
    }
    let mirrors = image.root_mirror
        || image
            .content
            .as_ref()
            .is_some_and(|c| c.storage.mirror == Some(true));
    if layout.root_mirror.is_some() && !mirrors {
        return Err(Refusal::invalid(
            "layout.root_mirror",
            format!(
                "image {name} is not known to boot with its root mirrored: that takes mdadm in its initrd, and a root that is mounted by the file system's UUID or label. Use one that is (`billet image build debian-12` makes one), or add it again with `billet image add --root-mirror` if you know that it does"
            ),
        ));
    }
    if layout.has_file_systems() && !image.cloud_init {
        return Err(Refusal::invalid(
            "layout",
            format!(
                "image {name} has no cloud-init, which makes the file systems of arrays and scratch at the first boot: leave them out, or use an image that has it"
            ),
        ));
    }
    let brings = image
        .content
        .as_ref()
        .map(|c| c.storage)
        .unwrap_or_default();
    let kinds = layout.arrays.iter().map(|a| a.file_system);
    let kinds: Vec<FileSystem> = kinds
        .chain(layout.scratch.as_ref().map(|s| s.file_system))
        .collect();
    let striped = layout
        .scratch
        .as_ref()
        .is_some_and(|s| s.how == ScratchKind::Striped);
    let arrays = striped || layout.arrays.iter().any(|a| a.level != Level::Single);
    for (needed, there, what, package) in [
        (arrays, brings.mdadm, "software RAID (mdadm)", "mdadm"),
        (
            kinds.contains(&FileSystem::Ext4),
            brings.ext4,
            "ext4 (mkfs.ext4)",
            "e2fsprogs",
        ),
        (
            kinds.contains(&FileSystem::Xfs),
            brings.xfs,
            "XFS (mkfs.xfs)",
            "xfsprogs",
        ),
    ] {
        if needed && there == Some(false) {
            return Err(Refusal::invalid(
                "layout",
                format!(
                    "image {name} does not bring {what}: use an image with the package {package} in it, as `billet image show` says, or ask for another layout"
                ),
            ));
        }
    }
    Ok(())
}

/// Why the image has no room on one of these drives of the machine, if it has none. Names no
/// drive: who asks may not have the machine.
pub(crate) fn too_small(machine: &Machine, roots: &[DriveRef], image: &Image) -> Option<String> {
    let known = machine.inventory.as_ref().map_or(&[][..], |i| &i.drives);
    let name = &image.name;
    let Some(content) = &image.content else {
        return Some(format!("image {name} is not there yet"));
    };
    let wanted = content.virtual_bytes;
    roots.iter().find_map(|root| {
        let serial = Some(&root.serial);
        let drive = known.iter().find(|d| d.serial.as_ref() == serial);
        let Some(size) = drive.map(|d| d.size_bytes) else {
            return Some(format!(
                "how large the drive is that would hold the root is not known, and image {name} wants {wanted} bytes: choose another drive by --root-drive"
            ));
        };
        (wanted >= size).then(|| {
            format!(
                "image {name} is a disk of {wanted} bytes, and the drive that would hold the \
                 root has {size}: take a smaller image, or a larger drive by --root-drive"
            )
        })
    })
}
