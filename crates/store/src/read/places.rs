//! Sites, machine types and networks.

use billet_model::{
    MachineTypeId, Name, NetworkId, SiteId,
    site::{MachineType, Network, Site},
};

use crate::{Store, error::Result, select::Select, statement::Statement};

impl Store {
    /// A site.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn site(&self, id: SiteId) -> Result<Option<Site>> {
        const SQL: &str = "SELECT doc FROM sites WHERE id = $1";
        self.one("site", Statement::read(SQL, "site").bind(id))
            .await
    }

    /// The site of this name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn site_by_name(&self, name: &Name) -> Result<Option<Site>> {
        const SQL: &str = "SELECT doc FROM sites WHERE name = $1";
        self.one("site", Statement::read(SQL, "site").bind(name))
            .await
    }

    /// Sites in order of their ids, those after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sites(&self, after: Option<SiteId>, limit: usize) -> Result<Vec<Site>> {
        let select = Select::new("site", "SELECT doc FROM sites")
            .when_some("id > ?", after)
            .order_limit("id", limit);
        self.nouns("site", select).await
    }

    /// A machine type.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn machine_type(&self, id: MachineTypeId) -> Result<Option<MachineType>> {
        const SQL: &str = "SELECT doc FROM machine_types WHERE id = $1";
        self.one(
            "machine type",
            Statement::read(SQL, "machine type").bind(id),
        )
        .await
    }

    /// The machine type of this name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn machine_type_by_name(&self, name: &Name) -> Result<Option<MachineType>> {
        const SQL: &str = "SELECT doc FROM machine_types WHERE name = $1";
        self.one(
            "machine type",
            Statement::read(SQL, "machine type").bind(name),
        )
        .await
    }

    /// Machine types in order of their ids, those after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn machine_types(
        &self,
        after: Option<MachineTypeId>,
        limit: usize,
    ) -> Result<Vec<MachineType>> {
        let select = Select::new("machine type", "SELECT doc FROM machine_types")
            .when_some("id > ?", after)
            .order_limit("id", limit);
        self.nouns("machine type", select).await
    }

    /// A network.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn network(&self, id: NetworkId) -> Result<Option<Network>> {
        const SQL: &str = "SELECT doc FROM networks WHERE id = $1";
        self.one("network", Statement::read(SQL, "network").bind(id))
            .await
    }

    /// The network of this name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn network_by_name(&self, name: &Name) -> Result<Option<Network>> {
        const SQL: &str = "SELECT doc FROM networks WHERE name = $1";
        self.one("network", Statement::read(SQL, "network").bind(name))
            .await
    }

    /// Networks in order of their ids, those after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn networks(&self, after: Option<NetworkId>, limit: usize) -> Result<Vec<Network>> {
        let select = Select::new("network", "SELECT doc FROM networks")
            .when_some("id > ?", after)
            .order_limit("id", limit);
        self.nouns("network", select).await
    }
}
