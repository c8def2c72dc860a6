//! What tenants ask of their leases' machines beyond power and release.

use billet_model::{
    LeaseId, api::Reinstall, lease::Lease, operation::Operation, people::Actor, ssh_key,
};
use billet_plan::{
    layout::{self, Keep},
    tenant,
};

use crate::{
    Core, Refusal, RefusalKind,
    grants::{
        check_kernel_args, check_keys, check_layout, check_user_data, suits, suits_layout,
        too_small,
    },
    install, user_data,
};

impl Core {
    /// Writes a lease's drive anew.
    ///
    /// # Errors
    /// When the request makes no sense, or something else is at work on the machine.
    pub async fn reinstall_lease(
        &self,
        actor: &Actor,
        id: LeaseId,
        with: &Reinstall,
        if_match: Option<i64>,
    ) -> Result<(Lease, Operation), Refusal> {
        let machine = self.machine_of(id, if_match).await?;
        let lease = self
            .store
            .lease(id)
            .await?
            .ok_or_else(|| Refusal::missing("lease", id))?;
        let image = match &with.image {
            Some(given) => self.image_for(lease.project, given).await?,
            None => {
                self.image_for(lease.project, &lease.image.to_string())
                    .await?
            }
        };
        let spec = &lease.spec;
        let given = |data: &String| Some(data.clone()).filter(|d| !d.is_empty());
        let wanted = tenant::Reinstall {
            image: image.id,
            ssh_keys: with
                .ssh_keys
                .clone()
                .unwrap_or_else(|| spec.ssh_keys.clone()),
            user_data: match &with.user_data {
                Some(data) => given(data),
                None => spec.user_data.clone(),
            },
            kernel_args: with
                .kernel_args
                .clone()
                .unwrap_or_else(|| spec.kernel_args.clone()),
            install: install::of_image(&image, install::hostname(&lease)),
            keep: match (with.keep_data_drives, with.keep_arrays.is_empty()) {
                (true, _) => Keep::All,
                (false, true) => Keep::Nothing,
                (false, false) => Keep::Arrays(with.keep_arrays.clone()),
            },
            layout: with.layout.clone(),
        };
        check_keys(&wanted.ssh_keys)?;
        if image.kind.installs() {
            user_data::check_size(wanted.user_data.as_deref())?;
        } else {
            check_user_data(wanted.user_data.as_deref())?;
        }
        check_kernel_args(&wanted.kernel_args)?;
        suits(
            &image,
            &wanted.ssh_keys,
            wanted.user_data.as_deref(),
            &wanted.kernel_args,
        )?;
        let record = self
            .store
            .machine(machine)
            .await?
            .ok_or_else(|| Refusal::missing("machine", machine))?;
        let layout = wanted.layout.as_ref();
        if let Some(layout) = layout {
            check_layout(layout)?;
        }
        suits_layout(&image, layout.unwrap_or(&spec.layout))?;
        let relaid = layout::relaid(&lease, &record, &wanted.keep, layout)
            .map_err(|why| Refusal::new(RefusalKind::Conflict, why))?;
        let roots = relaid.layout.root;
        if image.kind.installs() {
            let mut next = lease.clone();
            next.install.clone_from(&wanted.install);
            next.spec.kernel_args.clone_from(&wanted.kernel_args);
            let root = roots.first();
            if let Some(why) = root.and_then(|root| self.cannot_install(&next, &record, root)) {
                let why = format!("{} cannot install its machine: {why}", image.name);
                return Err(Refusal::invalid("image", why));
            }
        } else if let Some(why) = too_small(&record, &roots, &image) {
            return Err(Refusal::invalid("image", why));
        }
        self.begin_on_lease(machine, actor, id, |facts| {
            tenant::reinstall(facts, &wanted)
        })
        .await
    }

    /// Boots the ramdisk for a lease's tenant.
    ///
    /// # Errors
    /// When something else is at work on the machine, or nobody could get in.
    pub async fn rescue_lease(
        &self,
        actor: &Actor,
        id: LeaseId,
        if_match: Option<i64>,
    ) -> Result<(Lease, Operation), Refusal> {
        let machine = self.machine_of(id, if_match).await?;
        let lease = self.store.lease(id).await?;
        // Leases of before keys were looked at may have some that nobody can use.
        let wrong = lease.filter(|l| l.spec.ssh_keys.iter().all(|k| ssh_key::check(k).is_err()));
        if let Some(lease) = wrong.filter(|l| !l.spec.ssh_keys.is_empty()) {
            return Err(Refusal::new(
                RefusalKind::Conflict,
                format!(
                    "none of the SSH keys of {0} can be used, so nobody could get into the ramdisk: reinstall it with one (`billet lease reinstall {0} --ssh-key FILE`)",
                    lease.name
                ),
            ));
        }
        self.begin_on_lease(machine, actor, id, tenant::rescue)
            .await
    }

    /// Compares a lease's drive with its image, in the ramdisk, and boots the
    /// drive again.
    ///
    /// # Errors
    /// When the lease is not active, or something else is at work on its machine.
    pub async fn measure_lease(
        &self,
        actor: &Actor,
        id: LeaseId,
        if_match: Option<i64>,
    ) -> Result<(Lease, Operation), Refusal> {
        let machine = self.machine_of(id, if_match).await?;
        self.begin_on_lease(machine, actor, id, tenant::measure)
            .await
    }

    /// Ends a rescue: the drive is booted again.
    ///
    /// # Errors
    /// When there is none, or what is on the drive never came up.
    pub async fn end_rescue(
        &self,
        actor: &Actor,
        id: LeaseId,
        if_match: Option<i64>,
    ) -> Result<(Lease, Operation), Refusal> {
        let machine = self.machine_of(id, if_match).await?;
        self.begin_on_lease(machine, actor, id, tenant::end_rescue)
            .await
    }
}
