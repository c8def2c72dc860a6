//! What a leased machine may be told about itself over the network: nothing
//! private, for an address is no proof of who asks.

use std::{collections::BTreeMap, net::IpAddr};

use billet_model::{
    LeaseId, Secret,
    lease::{Lease, LeaseState},
    machine::Machine,
};
use billet_plan::seed::{About, about};
use billet_store::StoreError;

use crate::Core;

/// A lease, as its machine may know it.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The lease.
    pub lease: LeaseId,
    /// Files by their path below `/`.
    files: BTreeMap<String, String>,
}

impl Instance {
    /// A file, or what is in a directory: names, a line each, directories with
    /// a slash behind them.
    pub fn at(&self, path: &str) -> Option<String> {
        if let Some(file) = self.files.get(path) {
            return Some(file.clone());
        }
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let mut names: Vec<String> = self
            .files
            .keys()
            .filter_map(|file| file.strip_prefix(&prefix))
            .map(|rest| match rest.split_once('/') {
                Some((directory, _)) => format!("{directory}/"),
                None => rest.to_owned(),
            })
            .collect();
        names.dedup();
        (!names.is_empty()).then(|| names.join("\n"))
    }
}

impl Core {
    /// The lease whose machine has this address, while it is that lease's.
    /// Where two machines have it, on networks apart, nobody is told anything.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instance_at(&self, address: IpAddr) -> Result<Option<Instance>, StoreError> {
        let machines = self.store.machines_at(address).await?;
        let [machine] = &machines[..] else {
            return Ok(None);
        };
        let Some(id) = machine.lease.filter(|_| !machine.unconfirmed) else {
            return Ok(None);
        };
        let Some(lease) = self.store.lease(id).await? else {
            return Ok(None);
        };
        if !lease.state.is_tenants() && lease.state != LeaseState::Deploying {
            return Ok(None);
        }
        let about = self.about(&lease, machine).await?;
        let files = files(&about, address, machine);
        Ok(Some(Instance {
            lease: lease.id,
            files,
        }))
    }

    /// What a lease's machine is told of the lease, beside what it is written with.
    pub(crate) async fn about(
        &self,
        lease: &Lease,
        machine: &Machine,
    ) -> Result<serde_json::Value, StoreError> {
        let project = self.store.project(lease.project).await?;
        let site = self.store.site(machine.site).await?;
        Ok(about(&About {
            lease,
            project: project.as_ref().map(|p| p.name.as_str()),
            site: site
                .as_ref()
                .map(|s| (s.name.as_str(), s.jurisdiction.as_str())),
        }))
    }

    /// A token for the metadata of this lease, good for so many seconds.
    pub fn metadata_token(&self, lease: LeaseId, seconds: i64) -> Secret {
        let until = self.now().as_second().saturating_add(seconds);
        self.keys.metadata_token(lease, until)
    }

    /// Whether a token is good for the metadata of this lease now.
    pub fn metadata_token_is_good(&self, lease: LeaseId, token: &str) -> bool {
        let until = token.split('.').next().and_then(|t| t.parse().ok());
        until.is_some_and(|until: i64| {
            until >= self.now().as_second()
                && crate::keys::same(token, self.keys.metadata_token(lease, until).expose())
        })
    }
}

/// The tree, in the field's usual form, and all of it as one document.
fn files(
    about: &serde_json::Value,
    address: IpAddr,
    machine: &Machine,
) -> BTreeMap<String, String> {
    let text = |key: &str| about[key].as_str().unwrap_or_default().to_owned();
    let mut files = BTreeMap::new();
    let mut put = |path: &str, value: String| {
        files.insert(format!("latest/meta-data/{path}"), value);
    };
    put("instance-id", text("lease_id"));
    put("instance-type", text("machine_type"));
    put("hostname", text("hostname"));
    put("local-hostname", text("hostname"));
    put("local-ipv4", address.to_string());
    put("placement/region", text("site"));
    let own = machine
        .addresses
        .iter()
        .find(|a| IpAddr::from(a.ip) == address);
    if let Some(mac) = own.and_then(|a| a.mac.as_ref()) {
        put("mac", mac.to_string());
    }
    for (n, key) in about["public_keys"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let key = key.as_str().unwrap_or_default();
        put(&format!("public-keys/{n}/openssh-key"), key.to_owned());
    }
    for (key, value) in about["tags"].as_object().into_iter().flatten() {
        // A key with a slash would be taken for a directory.
        if !key.contains('/') {
            let value = value.as_str().unwrap_or_default();
            put(&format!("tags/instance/{key}"), value.to_owned());
        }
    }
    files.insert("latest/billet.json".into(), about.to_string());
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_list_what_is_in_them() {
        let files = [
            ("latest/billet.json", "{}"),
            ("latest/meta-data/instance-id", "i"),
            ("latest/meta-data/tags/instance/a", "1"),
        ];
        let instance = Instance {
            lease: LeaseId::from_parts(1, [1; 10]),
            files: files
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        };
        assert_eq!(instance.at("").as_deref(), Some("latest/"));
        assert_eq!(
            instance.at("latest").as_deref(),
            Some("billet.json\nmeta-data/")
        );
        let listed = instance.at("latest/meta-data");
        assert_eq!(listed.as_deref(), Some("instance-id\ntags/"));
        assert_eq!(
            instance.at("latest/meta-data/instance-id").as_deref(),
            Some("i")
        );
        assert_eq!(instance.at("latest/user-data"), None);
        assert_eq!(instance.at("lat"), None);
    }
}
