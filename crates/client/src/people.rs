//! Organisations, projects, users, groups, tokens, and who one is.

use billet_model::{
    api::{
        GroupChange, GroupView, NameChange, NewGroup, NewOrganisation, NewProject, NewToken,
        NewUser, Page, QuotaChange, QuotaView, ServerInfo, TokenChange, TokenMade, TokenRotation,
        UserChange, WhoAmI,
    },
    people::{Organisation, Project, Token, User},
};
use reqwest::Method;

use crate::{Result, call::part, client::Client, pages::Pages};

impl Client {
    /// Who the token's bearer is.
    ///
    /// # Errors
    /// As every call.
    pub async fn whoami(&self) -> Result<WhoAmI> {
        self.get("/v1/whoami").json().await
    }

    /// What the server is.
    ///
    /// # Errors
    /// As every call.
    pub async fn info(&self) -> Result<ServerInfo> {
        self.get("/v1/info").json().await
    }

    /// Organisations.
    pub fn organisations(&self) -> Pages<'_, Organisation> {
        self.pages("/v1/organisations", &[])
    }

    /// An organisation, by name or id.
    ///
    /// # Errors
    /// As every call.
    pub async fn organisation(&self, name: &str) -> Result<Organisation> {
        self.get(format!("/v1/organisations/{}", part(name)))
            .json()
            .await
    }

    /// Makes an organisation.
    ///
    /// # Errors
    /// As every call.
    pub async fn create_organisation(&self, new: &NewOrganisation) -> Result<Organisation> {
        self.post("/v1/organisations").body(new).json().await
    }

    /// Changes an organisation's name.
    ///
    /// # Errors
    /// As every call.
    pub async fn change_organisation(
        &self,
        name: &str,
        change: &NameChange,
    ) -> Result<Organisation> {
        self.call(Method::PATCH, format!("/v1/organisations/{}", part(name)))
            .body(change)
            .json()
            .await
    }

    /// Deletes an organisation that has no projects.
    ///
    /// # Errors
    /// As every call.
    pub async fn delete_organisation(&self, name: &str) -> Result<()> {
        self.call(Method::DELETE, format!("/v1/organisations/{}", part(name)))
            .done()
            .await
    }

    /// Projects that the caller may see.
    pub fn projects(&self, filters: &[(&str, &str)]) -> Pages<'_, Project> {
        self.pages("/v1/projects", filters)
    }

    /// A project, by name or id.
    ///
    /// # Errors
    /// As every call.
    pub async fn project(&self, name: &str) -> Result<Project> {
        self.get(format!("/v1/projects/{}", part(name)))
            .json()
            .await
    }

    /// Makes a project.
    ///
    /// # Errors
    /// As every call.
    pub async fn create_project(&self, new: &NewProject) -> Result<Project> {
        self.post("/v1/projects").body(new).json().await
    }

    /// Changes a project's name.
    ///
    /// # Errors
    /// As every call.
    pub async fn change_project(&self, name: &str, change: &NameChange) -> Result<Project> {
        self.call(Method::PATCH, format!("/v1/projects/{}", part(name)))
            .body(change)
            .json()
            .await
    }

    /// Deletes a project that has no leases.
    ///
    /// # Errors
    /// As every call.
    pub async fn delete_project(&self, name: &str) -> Result<()> {
        self.call(Method::DELETE, format!("/v1/projects/{}", part(name)))
            .done()
            .await
    }

    /// Tokens that the caller may see, without their secrets.
    pub fn tokens(&self, filters: &[(&str, &str)]) -> Pages<'_, Token> {
        self.pages("/v1/tokens", filters)
    }

    /// A token, by id.
    ///
    /// # Errors
    /// As every call.
    pub async fn token(&self, id: &str) -> Result<Token> {
        self.get(format!("/v1/tokens/{}", part(id))).json().await
    }

    /// Makes a token. Its secret is in the answer, and nowhere else ever after.
    ///
    /// # Errors
    /// As every call.
    pub async fn create_token(&self, new: &NewToken) -> Result<TokenMade> {
        self.post("/v1/tokens").body(new).json().await
    }

    /// Disables or enables a token.
    ///
    /// # Errors
    /// As every call.
    pub async fn change_token(&self, id: &str, change: &TokenChange) -> Result<Token> {
        self.call(Method::PATCH, format!("/v1/tokens/{}", part(id)))
            .body(change)
            .json()
            .await
    }

    /// Changes the secret of the caller's own token for another. The new one is in
    /// the answer, and nowhere else ever after; this client goes on with the old one.
    ///
    /// # Errors
    /// As every call.
    pub async fn rotate_own_token(&self, rotation: &TokenRotation) -> Result<TokenMade> {
        self.post("/v1/whoami/rotate").body(rotation).json().await
    }

    /// Changes a token's secret for another. The new one is in the answer, and
    /// nowhere else ever after.
    ///
    /// # Errors
    /// As every call.
    pub async fn rotate_token(&self, id: &str, rotation: &TokenRotation) -> Result<TokenMade> {
        self.post(format!("/v1/tokens/{}/rotate", part(id)))
            .body(rotation)
            .json()
            .await
    }

    /// Quotas that count for the caller's projects.
    ///
    /// # Errors
    /// As every call.
    pub async fn quotas(&self, filters: &[(&str, &str)]) -> Result<Page<QuotaView>> {
        let mut call = self.get("/v1/quotas");
        for (name, value) in filters {
            call = call.query(name, value);
        }
        call.json().await
    }

    /// Sets a quota, or takes it away.
    ///
    /// # Errors
    /// As every call.
    pub async fn set_quota(&self, change: &QuotaChange) -> Result<Page<QuotaView>> {
        self.call(Method::PUT, "/v1/quotas")
            .body(change)
            .json()
            .await
    }

    /// Users.
    pub fn users(&self) -> Pages<'_, User> {
        self.pages("/v1/users", &[])
    }

    /// A user, by name or id.
    ///
    /// # Errors
    /// As every call.
    pub async fn user(&self, name: &str) -> Result<User> {
        self.get(format!("/v1/users/{}", part(name))).json().await
    }

    /// Makes a user.
    ///
    /// # Errors
    /// As every call.
    pub async fn create_user(&self, new: &NewUser) -> Result<User> {
        self.post("/v1/users").body(new).json().await
    }

    /// Changes a user.
    ///
    /// # Errors
    /// As every call.
    pub async fn change_user(&self, name: &str, change: &UserChange) -> Result<User> {
        self.call(Method::PATCH, format!("/v1/users/{}", part(name)))
            .body(change)
            .json()
            .await
    }

    /// Deletes a user with its tokens.
    ///
    /// # Errors
    /// As every call.
    pub async fn delete_user(&self, name: &str) -> Result<()> {
        self.call(Method::DELETE, format!("/v1/users/{}", part(name)))
            .done()
            .await
    }

    /// Groups.
    pub fn groups(&self) -> Pages<'_, GroupView> {
        self.pages("/v1/groups", &[])
    }

    /// A group, by name or id.
    ///
    /// # Errors
    /// As every call.
    pub async fn group(&self, name: &str) -> Result<GroupView> {
        self.get(format!("/v1/groups/{}", part(name))).json().await
    }

    /// Makes a group.
    ///
    /// # Errors
    /// As every call.
    pub async fn create_group(&self, new: &NewGroup) -> Result<GroupView> {
        self.post("/v1/groups").body(new).json().await
    }

    /// Changes who is in a group, and what it may.
    ///
    /// # Errors
    /// As every call.
    pub async fn change_group(&self, name: &str, change: &GroupChange) -> Result<GroupView> {
        self.call(Method::PATCH, format!("/v1/groups/{}", part(name)))
            .body(change)
            .json()
            .await
    }

    /// Deletes a group.
    ///
    /// # Errors
    /// As every call.
    pub async fn delete_group(&self, name: &str) -> Result<()> {
        self.call(Method::DELETE, format!("/v1/groups/{}", part(name)))
            .done()
            .await
    }

    /// Deletes a token.
    ///
    /// # Errors
    /// As every call.
    pub async fn delete_token(&self, id: &str) -> Result<()> {
        self.call(Method::DELETE, format!("/v1/tokens/{}", part(id)))
            .done()
            .await
    }
}
