//! Correcting what is recorded of a machine: names looked up, addresses given out, and then
//! what is decided purely.

use billet_model::{
    MachineId, NetworkId, api::MachineChange, machine::Machine, people::Actor, site::Address,
};
use billet_plan::correct::{self, Correction};
use billet_store::{Batch, StoreError, Write};

use crate::{
    Core, Refusal,
    core::Input,
    enroll::{no_machine_type, no_site},
    facts::Gathered,
    requests::stale,
};

impl Core {
    /// Changes what an operator may correct of a machine.
    ///
    /// # Errors
    /// When it names what does not exist or what another machine has, or the machine's
    /// state stands against it.
    pub async fn change_machine(
        &self,
        actor: &Actor,
        id: MachineId,
        change: &MachineChange,
        if_match: Option<i64>,
    ) -> Result<Machine, Refusal> {
        let mut tries = 0;
        loop {
            let machine = self
                .store
                .machine(id)
                .await?
                .ok_or_else(|| Refusal::missing("machine", id))?;
            if let Some(version) = if_match
                && version != machine.version
            {
                return Err(stale(machine.version));
            }
            let (correction, given) = self.correction(&machine, change).await?;
            let gathered = Gathered::read(self, machine).await?;
            let input = Input::default();
            let facts = gathered.facts(&self.policy, self.now(), &input, self.fresh());
            let decision = correct::correct(&facts, &correction)?;
            let mut machine = decision.machine.clone();
            let decided = self.batch(&gathered.machine, decision, actor)?;
            if decided.is_empty() {
                return Ok(machine);
            }
            let batch = Batch {
                writes: given.into_iter().chain(decided.writes).collect(),
                ..decided
            };
            match self.commit(batch).await {
                Ok(()) => {
                    machine.version += 1;
                    return Ok(machine);
                }
                // The machine or a network was changed since it was read.
                Err(StoreError::Conflict { .. }) if tries < 16 => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The change with what it names looked up, and the addresses that it gives out.
    async fn correction(
        &self,
        machine: &Machine,
        change: &MachineChange,
    ) -> Result<(Correction, Vec<Write>), Refusal> {
        // Empty is none.
        let text = |text: &Option<String>| {
            text.as_ref()
                .map(|t| Some(t.trim().to_owned()).filter(|t| !t.is_empty()))
        };
        let site = match &change.site {
            Some(name) => {
                let site = self.store.site_by_name(name).await?;
                Some(site.ok_or_else(|| no_site(name))?.id)
            }
            None => None,
        };
        let kind = change
            .machine_type
            .as_ref()
            .unwrap_or(&machine.machine_type);
        let known = self.store.machine_type_by_name(kind).await?;
        let known = known.ok_or_else(|| no_machine_type(kind))?;
        let (mut addresses, mut given) = (Vec::new(), Vec::new());
        for (name, wanted) in change.networks.iter().flatten() {
            let network = self.store.network_by_name(name).await?;
            let has = network.and_then(|n| has(machine, n.id));
            match has {
                // What it has is the next free one as well.
                Some(has) if wanted.is_none_or(|ip| ip == has.ip) => addresses.push(has.clone()),
                _ => {
                    let (address, write) = self.address(name, *wanted).await?;
                    addresses.push(address);
                    given.push(write);
                }
            }
        }
        let correction = Correction {
            name: change.name.clone(),
            rack: text(&change.rack),
            site,
            machine_type: change.machine_type.clone(),
            expected: known.expected,
            serial: text(&change.serial),
            addresses: change.networks.is_some().then_some(addresses),
            rotate_password: change.rotate_password,
        };
        Ok((correction, given))
    }
}

fn has(machine: &Machine, network: NetworkId) -> Option<&Address> {
    machine.addresses.iter().find(|a| a.network == network)
}
