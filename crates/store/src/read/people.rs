//! Organisations, projects, tokens, images, secrets, settings and stored answers.

use billet_model::{
    ImageId, Name, OrganisationId, ProjectId, TokenId,
    image::{Image, ImageState},
    people::{Organisation, Project, Token},
};
use jiff::Timestamp;
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::{
    Store,
    error::{Result, StoreError},
    select::{Select, column, noun, time},
    statement::Statement,
};

/// Which images; what is `None` is not asked.
#[derive(Clone, Debug, Default)]
pub struct ImageFilter {
    /// That these projects may use: their own and the operator's.
    pub visible_to: Option<Vec<ProjectId>>,
    /// Of this project only.
    pub project: Option<ProjectId>,
    /// With this name.
    pub name: Option<Name>,
    /// In this state.
    pub state: Option<ImageState>,
}

/// What was answered to a request with an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReply {
    /// SHA-256 of the request.
    pub request_hash: [u8; 32],
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: String,
}

impl Store {
    /// An organisation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn organisation(&self, id: OrganisationId) -> Result<Option<Organisation>> {
        const SQL: &str = "SELECT doc FROM organisations WHERE id = $1";
        self.one(
            "organisation",
            Statement::read(SQL, "organisation").bind(id),
        )
        .await
    }

    /// The organisation of this name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn organisation_by_name(&self, name: &Name) -> Result<Option<Organisation>> {
        const SQL: &str = "SELECT doc FROM organisations WHERE name = $1";
        self.one(
            "organisation",
            Statement::read(SQL, "organisation").bind(name),
        )
        .await
    }

    /// Organisations in order of their ids, those after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn organisations(
        &self,
        after: Option<OrganisationId>,
        limit: usize,
    ) -> Result<Vec<Organisation>> {
        let select = Select::new("organisation", "SELECT doc FROM organisations")
            .when_some("id > ?", after)
            .order_limit("id", limit);
        self.nouns("organisation", select).await
    }

    /// A project.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn project(&self, id: ProjectId) -> Result<Option<Project>> {
        const SQL: &str = "SELECT doc FROM projects WHERE id = $1";
        self.one("project", Statement::read(SQL, "project").bind(id))
            .await
    }

    /// The project of this name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn project_by_name(&self, name: &Name) -> Result<Option<Project>> {
        const SQL: &str = "SELECT doc FROM projects WHERE name = $1";
        self.one("project", Statement::read(SQL, "project").bind(name))
            .await
    }

    /// Projects, some or all, in order of their ids, those after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn projects(
        &self,
        among: Option<&[ProjectId]>,
        after: Option<ProjectId>,
        limit: usize,
    ) -> Result<Vec<Project>> {
        let select = Select::new("project", "SELECT doc FROM projects")
            .when_among("id", among)
            .when_some("id > ?", after)
            .order_limit("id", limit);
        self.nouns("project", select).await
    }

    /// A token.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token(&self, id: TokenId) -> Result<Option<Token>> {
        const SQL: &str = "SELECT doc, last_used_at, rotated_at FROM tokens WHERE id = $1";
        let rows = self.fetch(Statement::read(SQL, "token").bind(id)).await?;
        rows.first().map(token).transpose()
    }

    /// The token whose secret has this SHA-256, whether it is still good or not.
    /// A secret that was changed for another counts as long as it was let.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_by_hash(&self, hash: &[u8; 32], now: Timestamp) -> Result<Option<Token>> {
        const SQL: &str = "SELECT doc, last_used_at, rotated_at FROM tokens WHERE hash = $1 \
                           OR (old_hash = $1 AND old_until > $2)";
        let rows = self
            .fetch(Statement::read(SQL, "token").bind(hash.to_vec()).bind(now))
            .await?;
        rows.first().map(token).transpose()
    }

    /// Whether this is the secret of a token, and not the one before it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_present_secret(&self, id: TokenId, hash: &[u8; 32]) -> Result<bool> {
        const SQL: &str = "SELECT id FROM tokens WHERE id = $1 AND hash = $2";
        let read = Statement::read(SQL, "token").bind(id).bind(hash.to_vec());
        Ok(!self.fetch(read).await?.is_empty())
    }

    /// Tokens, of some projects or all, in order of their ids, those after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tokens(
        &self,
        projects: Option<&[ProjectId]>,
        after: Option<TokenId>,
        limit: usize,
    ) -> Result<Vec<Token>> {
        let select = Select::new("token", "SELECT doc, last_used_at, rotated_at FROM tokens")
            .when_among("project", projects)
            .when_some("id > ?", after)
            .order_limit("id", limit);
        self.fetch(select).await?.iter().map(token).collect()
    }

    /// An image.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn image(&self, id: ImageId) -> Result<Option<Image>> {
        const SQL: &str = "SELECT doc FROM images WHERE id = $1";
        self.one("image", Statement::read(SQL, "image").bind(id))
            .await
    }

    /// The image of this name of a project, or (`None`) of the operator's.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn image_by_name(
        &self,
        project: Option<ProjectId>,
        name: &Name,
    ) -> Result<Option<Image>> {
        const SQL: &str = "SELECT doc FROM images WHERE COALESCE(project, '') = $1 AND name = $2";
        let project = project.map(|p| p.to_string()).unwrap_or_default();
        self.one(
            "image",
            Statement::read(SQL, "image").bind(project).bind(name),
        )
        .await
    }

    /// Images in order of their ids, those after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn images(
        &self,
        filter: &ImageFilter,
        after: Option<ImageId>,
        limit: usize,
    ) -> Result<Vec<Image>> {
        let state = match filter.state {
            Some(state) => Some(crate::write::word("image", &state)?),
            None => None,
        };
        let select = Select::new("image", "SELECT doc FROM images")
            .when_among_or("project IS NULL", "project", filter.visible_to.as_deref())
            .when_some("project = ?", filter.project)
            .when_some("name = ?", filter.name.as_ref())
            .when_some("state = ?", state)
            .when_some("id > ?", after)
            .order_limit("id", limit);
        self.nouns("image", select).await
    }

    /// An owner's secret, as it was encrypted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn secret(&self, owner: Uuid, kind: &str) -> Result<Option<Vec<u8>>> {
        const SQL: &str = "SELECT ciphertext FROM secrets WHERE owner = $1 AND kind = $2";
        let rows = self
            .fetch(
                Statement::read(SQL, "secret")
                    .bind(owner.to_string())
                    .bind(kind),
            )
            .await?;
        rows.first().map(|row| column("secret", row, 0)).transpose()
    }

    /// What was answered to a token's request with this key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn idempotency(&self, key: &str, token: TokenId) -> Result<Option<StoredReply>> {
        const WHAT: &str = "stored answer";
        const SQL: &str = "SELECT request_hash, status, body FROM idempotency \
                           WHERE token = $1 AND key = $2";
        let rows = self
            .fetch(Statement::read(SQL, WHAT).bind(token).bind(key))
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let hash: Vec<u8> = column(WHAT, row, 0)?;
        let status: i64 = column(WHAT, row, 1)?;
        let corrupt = |why: &str| StoreError::Corrupt {
            what: WHAT,
            why: why.into(),
        };
        Ok(Some(StoredReply {
            request_hash: hash
                .try_into()
                .map_err(|_| corrupt("its hash is not 32 bytes"))?,
            status: u16::try_from(status).map_err(|_| corrupt("its status is not one of HTTP"))?,
            body: column(WHAT, row, 2)?,
        }))
    }

    /// A setting.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn meta(&self, key: &str) -> Result<Option<String>> {
        const SQL: &str = "SELECT value FROM meta WHERE key = $1";
        let rows = self
            .fetch(Statement::read(SQL, "setting").bind(key))
            .await?;
        rows.first()
            .map(|row| column("setting", row, 0))
            .transpose()
    }
}

/// A token: when it was last used, and when it got another secret, stand in columns of
/// their own, so that this rewrites nothing else.
fn token(row: &AnyRow) -> Result<Token> {
    let mut token: Token = noun("token", row)?;
    let used: Option<i64> = column("token", row, 1)?;
    token.last_used_at = used.map(|micros| time("token", micros)).transpose()?;
    let rotated: Option<i64> = column("token", row, 2)?;
    if let Some(micros) = rotated {
        token.rotated_at = Some(time("token", micros)?);
    }
    Ok(token)
}
