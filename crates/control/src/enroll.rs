//! Enrolling a machine: it becomes known, and is only read from.

use std::{collections::BTreeSet, net::Ipv4Addr};

use billet_model::{
    Name,
    api::NewMachine,
    bmc::BmcEndpoint,
    inventory::Emulation,
    lifecycle::{Health, Lifecycle},
    machine::Machine,
    operation::{Operation, OperationKind},
    people::Actor,
    site::{Address, Network},
    step::{Step, StepNotes},
    upkeep::Upkeep,
};
use billet_plan::requests;
use billet_store::{Batch, StoreError, Write};

use crate::{Core, Refusal, passwords::BMC_PASSWORD};

impl Core {
    /// Makes a machine known and begins to read it.
    ///
    /// # Errors
    /// When it names what does not exist, or what another machine has.
    pub async fn enroll(
        &self,
        actor: &Actor,
        new: NewMachine,
    ) -> Result<(Machine, Operation), Refusal> {
        let mut tries = 0;
        loop {
            let (machine, operation, batch) = self.enrolled(actor, new.clone()).await?;
            match self.commit(batch).await {
                Ok(()) => {
                    let machine = Machine {
                        version: 1,
                        ..machine
                    };
                    return Ok((machine, operation));
                }
                // A network was changed since it was read.
                Err(StoreError::Conflict { .. }) if tries < 16 => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The new machine, and what makes it known.
    async fn enrolled(
        &self,
        actor: &Actor,
        new: NewMachine,
    ) -> Result<(Machine, Operation, Batch), Refusal> {
        let site = self.store.site_by_name(&new.site).await?;
        let site = site.ok_or_else(|| no_site(&new.site))?;
        if self
            .store
            .machine_type_by_name(&new.machine_type)
            .await?
            .is_none()
        {
            return Err(no_machine_type(&new.machine_type));
        }
        let address = bmc_address(&new.bmc.address)?;
        let fingerprint = new
            .bmc
            .fingerprint
            .as_deref()
            .map(fingerprint)
            .transpose()?;
        let (mut addresses, mut given) = (Vec::new(), Vec::new());
        for (name, wanted) in &new.networks {
            let (address, write) = self.address(name, *wanted).await?;
            addresses.push(address);
            given.push(write);
        }
        let now = self.now();
        let mut machine = Machine {
            id: self.new_id(),
            name: new.name,
            site: site.id,
            rack: new.rack,
            machine_type: new.machine_type,
            expected_serial: new.serial,
            bmc: BmcEndpoint {
                address,
                user: new.bmc.user,
                fingerprint,
            },
            addresses,
            lifecycle: Lifecycle::Enrolled,
            step: Step::Discover,
            attempts: 0,
            waiting: None,
            hold: None,
            power: None,
            health: Health::Unknown,
            may_hold_data: true,
            cordoned: None,
            unconfirmed: false,
            emulation: Emulation::None,
            inventory: None,
            differences: Vec::new(),
            drives: Vec::new(),
            tests: Vec::new(),
            firmware: None,
            lease: None,
            operation: None,
            epoch: 0,
            pending: None,
            requests: 0,
            uncertain_since: None,
            bmc_trouble: None,
            notes: StepNotes::default(),
            erase: None,
            upkeep: Upkeep {
                rotate: new.rotate_password,
                ..Upkeep::default()
            },
            warm: Default::default(),
            power_request: None,
            wake_at: now,
            step_since: now,
            created_at: now,
            version: 0,
        };
        requests::start_discovery_of(&mut machine, &self.policy, now);
        let operation = requests::operation(
            self.new_id(),
            OperationKind::Enroll,
            &machine,
            None,
            "reading the BMC",
            now,
        );
        machine.operation = Some(operation.id);
        let mut row = self.audit_row(
            actor,
            "machine.enroll",
            serde_json::json!({
                "name": machine.name,
                "bmc": machine.bmc.address,
                "site": site.name,
                "type": machine.machine_type,
                "rotate_password": new.rotate_password,
            }),
        );
        row.machine = Some(machine.id);
        let sealed = self.keys.seal(
            self.world.as_ref(),
            machine.id.0,
            BMC_PASSWORD,
            &new.bmc.password,
        );
        let batch = Batch {
            writes: given,
            ..Batch::new()
        };
        let batch = batch
            .with(Write::PutMachine(Box::new(machine.clone())))
            .with(Write::PutOperation(Box::new(operation.clone())))
            .with(Write::PutSecret {
                owner: machine.id.0,
                kind: BMC_PASSWORD.to_owned(),
                ciphertext: sealed,
            })
            .audited(row);
        Ok((machine, operation, batch))
    }

    /// An address of a network that nobody has, and what says that it is given out.
    pub(crate) async fn address(
        &self,
        network: &Name,
        wanted: Option<Ipv4Addr>,
    ) -> Result<(Address, Write), Refusal> {
        let field = format!("networks.{network}");
        let known = self.store.network_by_name(network).await?.ok_or_else(|| {
            Refusal::invalid(
                &field,
                format!(
                    "there is no network {network}: `billet network list` shows those there are"
                ),
            )
        })?;
        let taken: BTreeSet<Ipv4Addr> = self
            .store
            .addresses_of_network(known.id)
            .await?
            .into_iter()
            .map(|(ip, _)| ip)
            .collect();
        let ip = match wanted {
            Some(ip) if !known.contains(ip) => {
                return Err(Refusal::invalid(
                    &field,
                    format!(
                        "{ip} is not in {network} ({}/{})",
                        known.subnet, known.prefix
                    ),
                ));
            }
            Some(ip) if taken.contains(&ip) || known.gateway == Some(ip) => {
                return Err(Refusal::invalid(
                    &field,
                    format!(
                        "{ip} is taken in {network}: name another, or none for the next free one"
                    ),
                ));
            }
            Some(ip) => ip,
            None => next_free(&known, &taken).ok_or_else(|| {
                Refusal::invalid(&field, format!("{network} has no free address left"))
            })?,
        };
        let write = Write::GiveAddress {
            network: known.id,
            version: known.version,
        };
        Ok((known.address(ip, None), write))
    }
}

pub(crate) fn no_site(name: &Name) -> Refusal {
    Refusal::invalid(
        "site",
        format!("there is no site {name}: `billet site list` shows those there are"),
    )
}

pub(crate) fn no_machine_type(name: &Name) -> Refusal {
    Refusal::invalid(
        "machine_type",
        format!("there is no machine type {name}: `billet type list` shows those there are"),
    )
}

fn next_free(network: &Network, taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    (network.pool_first.to_bits()..=network.pool_last.to_bits())
        .map(Ipv4Addr::from_bits)
        .find(|ip| !taken.contains(ip) && network.gateway != Some(*ip))
}

/// A BMC's address in one form: `https://host[:port]`.
pub(crate) fn bmc_address(given: &str) -> Result<String, Refusal> {
    let bad = |why: &str| {
        Refusal::invalid(
            "bmc.address",
            format!("{given:?} {why}: a BMC's address is https://host or https://host:port"),
        )
    };
    let text = if given.contains("://") {
        given.to_owned()
    } else {
        format!("https://{given}")
    };
    let url = url::Url::parse(&text).map_err(|e| bad(&format!("is not an address ({e})")))?;
    if url.scheme() != "https" {
        return Err(bad("is not https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(
            "holds a user or password, which stand in fields of their own",
        ));
    }
    if url.path() != "/" || url.query().is_some() {
        return Err(bad("has a path"));
    }
    let host = url.host_str().ok_or_else(|| bad("has no host"))?;
    Ok(match url.port() {
        Some(port) => format!("https://{host}:{port}"),
        None => format!("https://{host}"),
    })
}

/// A certificate's fingerprint in one form: lower-case hex without colons.
pub(crate) fn fingerprint(given: &str) -> Result<String, Refusal> {
    let plain: String = given
        .chars()
        .filter(|c| *c != ':')
        .flat_map(char::to_lowercase)
        .collect();
    let plain = plain.strip_prefix("sha256").unwrap_or(&plain).to_owned();
    if plain.len() == 64 && plain.chars().all(|c| c.is_ascii_hexdigit()) {
        Ok(plain)
    } else {
        Err(Refusal::invalid(
            "bmc.fingerprint",
            format!("{given:?} is not the SHA-256 of a certificate: 64 hexadecimal digits"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bmc_addresses_have_one_form() {
        for (given, form) in [
            ("10.0.0.1", "https://10.0.0.1"),
            ("https://bmc.example:8443/", "https://bmc.example:8443"),
            ("https://[::1]:443", "https://[::1]"),
        ] {
            assert_eq!(bmc_address(given).ok().as_deref(), Some(form));
        }
        for bad in ["", "http://x", "https://u:p@x", "https://x/redfish", "::::"] {
            assert!(bmc_address(bad).is_err(), "{bad}");
        }
    }
}
