//! What is to be changed, as data: [`crate::Store::commit`] makes it so in one
//! transaction, or not at all.

use billet_model::{
    EventId, GroupId, ImageId, LeaseId, MachineId, MachineTypeId, Name, NetworkId, OrganisationId,
    ProjectId, SiteId, TokenId, UserId, WebhookId,
    call::ApiCall,
    event::AuditRow,
    evidence::Evidence,
    image::Image,
    lease::Lease,
    machine::Machine,
    operation::Operation,
    people::{Grant, Group, Organisation, Project, Quota, Token, User},
    site::{MachineType, Network, Site},
    step::{Boot, TaskRecord},
    webhook::{Delivery, Webhook},
};
use jiff::Timestamp;
use uuid::Uuid;

/// Changes that belong together, with their audit rows.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The changes, carried out in this order. What names another thing comes
    /// after it: a lease after its machine, a hold after its lease.
    pub writes: Vec<Write>,
    /// Who did what: at least one row where a change must be on record.
    pub audit: Vec<AuditRow>,
    /// Nothing but what was read just now, and can be read again: kept at once, and
    /// by a crash of this process, but a loss of power may take the last of it.
    /// Counts on SQLite, where it saves a wait for the drive; only for a batch
    /// that is [`Batch::is_machine_only`].
    pub readings_only: bool,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a change.
    #[must_use]
    pub fn with(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }

    /// Adds an audit row.
    #[must_use]
    pub fn audited(mut self, row: AuditRow) -> Self {
        self.audit.push(row);
        self
    }

    /// Whether it puts one machine, off the record, and does nothing else.
    pub fn is_machine_only(&self) -> bool {
        self.audit.is_empty() && matches!(self.writes.as_slice(), [Write::PutMachine(_)])
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.audit.is_empty()
    }
}

/// One change.
///
/// Nouns with a version (machines, leases, networks, tasks, webhooks) are compared and set: version 0
/// is a new one, stored as version 1; else the stored version must be the
/// given one, and what is stored has the next. Other nouns are put in whole,
/// new or not.
#[derive(Clone, Debug)]
pub enum Write {
    /// A machine; its addresses are kept in step. Without audit rows only what
    /// need not be on record may change: not the lifecycle, `may_hold_data`,
    /// the cordon, `unconfirmed` or the lease.
    PutMachine(Box<Machine>),
    /// A lease, with its tags.
    PutLease(Box<Lease>),
    /// An image.
    PutImage(Box<Image>),
    /// An operation. Needs no audit row.
    PutOperation(Box<Operation>),
    /// A boot. Needs no audit row.
    PutBoot(Box<Boot>),
    /// A task: compared and set by its version, as machines are. Needs no audit row.
    PutTask(Box<TaskRecord>),
    /// Units 0 to before `units` of a machine are held for a lease.
    Hold {
        /// The machine.
        machine: MachineId,
        /// How many units: all of them, for a dedicated lease.
        units: u32,
        /// The lease.
        lease: LeaseId,
    },
    /// A lease lets go of a machine. It is no error if it held nothing.
    Unhold {
        /// The lease.
        lease: LeaseId,
        /// The machine.
        machine: MachineId,
    },
    /// An organisation.
    PutOrganisation(Organisation),
    /// Deletes an organisation; refused while it has projects.
    DeleteOrganisation(OrganisationId),
    /// A project.
    PutProject(Project),
    /// Deletes a project and its tokens; refused while it has images or leases that live.
    DeleteProject(ProjectId),
    /// A site.
    PutSite(Site),
    /// Deletes a site; refused while there is a machine at it, a retired one included.
    DeleteSite(SiteId),
    /// A machine type. Its name cannot change while machines are of it.
    PutMachineType(MachineType),
    /// Deletes a machine type; refused while a machine is of it, a retired one included.
    DeleteMachineType(MachineTypeId),
    /// A network: compared and set by its version, as machines are.
    PutNetwork(Network),
    /// An address of a network is given out in this batch, as long as the network is
    /// at this version. Counted; several at once do not stand in each other's way.
    GiveAddress {
        /// The network.
        network: NetworkId,
        /// Its version, as it was read.
        version: i64,
    },
    /// Refuses the batch with `Conflict` where addresses of the network were given out
    /// since [`crate::Store::addresses_given`] said this: to come after `PutNetwork`.
    GivenStill {
        /// The network.
        network: NetworkId,
        /// How many had been given out.
        given: i64,
    },
    /// Deletes a network; refused while a machine has an address on it.
    DeleteNetwork(NetworkId),
    /// A token: a new one with the SHA-256 of its secret, a known one without.
    PutToken {
        /// The token.
        token: Token,
        /// SHA-256 of its secret, for a new one.
        hash: Option<[u8; 32]>,
    },
    /// A token has another secret.
    RotateToken {
        /// The token, as it is then.
        token: Token,
        /// SHA-256 of the new secret.
        hash: [u8; 32],
        /// Until when the secret before it works on; `None` is not at all.
        old_until: Option<Timestamp>,
    },
    /// A token was used. Needs no audit row; it is no error if the token is gone.
    TouchToken {
        /// Which.
        id: TokenId,
        /// When.
        at: Timestamp,
    },
    /// Deletes a token.
    DeleteToken(TokenId),
    /// A quota.
    PutQuota(Quota),
    /// Takes a quota away. It is no error if there was none.
    DeleteQuota(Quota),
    /// Refuses the batch with `OverQuota` where the project, or its
    /// organisation, now holds more machines of this type than it may: to come
    /// after the lease. Of several that are committed at once none goes beyond.
    WithinQuota {
        /// The project.
        project: ProjectId,
        /// The type.
        machine_type: Name,
    },
    /// A user.
    PutUser(User),
    /// Deletes a user and its tokens; refused while it owns service accounts.
    DeleteUser(UserId),
    /// A group's name; its members and grants stay as they are.
    PutGroup(Group),
    /// Deletes a group.
    DeleteGroup(GroupId),
    /// Puts a user into a group. It is no error if it was there.
    AddMember {
        /// The group.
        group: GroupId,
        /// The user.
        user: UserId,
    },
    /// Takes a user out of a group. It is no error if it was not there.
    RemoveMember {
        /// The group.
        group: GroupId,
        /// The user.
        user: UserId,
    },
    /// Gives a group a role. It is no error if it had it.
    AddGrant {
        /// The group.
        group: GroupId,
        /// The role and where.
        grant: Grant,
    },
    /// Takes a role from a group. It is no error if it had it not.
    RemoveGrant {
        /// The group.
        group: GroupId,
        /// The role and where.
        grant: Grant,
    },
    /// A webhook: compared and set by its version, as machines are.
    PutWebhook(Box<PutWebhook>),
    /// Deletes a webhook.
    DeleteWebhook(WebhookId),
    /// Evidence: new, and never changed.
    PutEvidence(Box<Evidence>),
    /// A secret, encrypted by the caller.
    PutSecret {
        /// Whose: a machine's id, for one.
        owner: Uuid,
        /// Which of the owner's.
        kind: String,
        /// Ciphertext.
        ciphertext: Vec<u8>,
    },
    /// Deletes a secret. It is no error if there is none.
    DeleteSecret {
        /// Whose.
        owner: Uuid,
        /// Which.
        kind: String,
    },
    /// What was answered to a request, to answer the same when it is asked
    /// again. Needs no audit row. `Duplicate` where there is one already.
    PutIdempotency {
        /// The caller's key.
        key: String,
        /// The caller.
        token: TokenId,
        /// SHA-256 of the request.
        request_hash: [u8; 32],
        /// HTTP status of the answer.
        status: u16,
        /// Body of the answer.
        body: String,
        /// When.
        at: Timestamp,
    },
    /// Forgets answers from before this time. Needs no audit row.
    ForgetIdempotency {
        /// Kept from then on.
        before: Timestamp,
    },
    /// A call of the API: new, and never changed. Needs no audit row.
    PutCall(Box<ApiCall>),
    /// Forgets calls from before this time. Needs no audit row.
    ForgetCalls {
        /// Kept from then on.
        before: Timestamp,
    },
    /// Forgets boots and tasks made before this time, but for the last ones of each
    /// machine. Needs no audit row.
    ForgetWork {
        /// Kept from then on.
        before: Timestamp,
    },
    /// A setting of the store's user. Needs no audit row. Keys that begin with
    /// `store.` are the store's own.
    PutMeta {
        /// Key.
        key: String,
        /// Value; not a secret.
        value: String,
    },
    /// Deletes an image; refused while a live lease is of it.
    DeleteImage(ImageId),
}

impl Write {
    /// Whether it may be carried out without an audit row beside it. Of a
    /// machine's change this is decided against what is stored.
    pub(crate) fn may_go_unrecorded(&self) -> bool {
        matches!(
            self,
            Self::PutMachine(_)
                | Self::PutOperation(_)
                | Self::PutBoot(_)
                | Self::PutTask(_)
                | Self::TouchToken { .. }
                | Self::PutIdempotency { .. }
                | Self::ForgetIdempotency { .. }
                | Self::PutCall(_)
                | Self::ForgetCalls { .. }
                | Self::ForgetWork { .. }
                | Self::PutMeta { .. }
        )
    }

    /// What it changes, and which one: for errors.
    pub(crate) fn subject(&self) -> (&'static str, String) {
        match self {
            Self::PutMachine(m) => ("machine", m.name.to_string()),
            Self::PutLease(l) => ("lease", l.id.to_string()),
            Self::PutImage(i) => ("image", i.name.to_string()),
            Self::PutOperation(o) => ("operation", o.id.to_string()),
            Self::PutBoot(b) => ("boot", b.id.to_string()),
            Self::PutTask(t) => ("task", t.task.id.to_string()),
            Self::Hold { machine, .. } | Self::Unhold { machine, .. } => {
                ("hold on machine", machine.to_string())
            }
            Self::PutOrganisation(o) => ("organisation", o.name.to_string()),
            Self::DeleteOrganisation(id) => ("organisation", id.to_string()),
            Self::DeleteSite(id) => ("site", id.to_string()),
            Self::DeleteMachineType(id) => ("machine type", id.to_string()),
            Self::DeleteNetwork(id) => ("network", id.to_string()),
            Self::PutProject(p) => ("project", p.name.to_string()),
            Self::DeleteProject(id) => ("project", id.to_string()),
            Self::PutSite(s) => ("site", s.name.to_string()),
            Self::PutMachineType(t) => ("machine type", t.name.to_string()),
            Self::PutNetwork(n) => ("network", n.name.to_string()),
            Self::GiveAddress { network, .. } | Self::GivenStill { network, .. } => {
                ("network", network.to_string())
            }
            Self::PutToken { token, .. } | Self::RotateToken { token, .. } => {
                ("token", token.name.to_string())
            }
            Self::PutQuota(quota) | Self::DeleteQuota(quota) => {
                ("quota of", quota.machine_type.to_string())
            }
            Self::WithinQuota { machine_type, .. } => ("quota of", machine_type.to_string()),
            Self::PutUser(user) => ("user", user.name.to_string()),
            Self::DeleteUser(id) => ("user", id.to_string()),
            Self::PutGroup(group) => ("group", group.name.to_string()),
            Self::DeleteGroup(id) => ("group", id.to_string()),
            Self::AddMember { group, .. }
            | Self::RemoveMember { group, .. }
            | Self::AddGrant { group, .. }
            | Self::RemoveGrant { group, .. } => ("group", group.to_string()),
            Self::TouchToken { id, .. } | Self::DeleteToken(id) => ("token", id.to_string()),
            Self::PutWebhook(put) => ("webhook", put.webhook.name.to_string()),
            Self::DeleteWebhook(id) => ("webhook", id.to_string()),
            Self::PutEvidence(e) => ("evidence", e.id.to_string()),
            Self::PutSecret { owner, .. } | Self::DeleteSecret { owner, .. } => {
                ("secret of", owner.to_string())
            }
            Self::PutIdempotency { key, .. } => ("idempotency key", key.clone()),
            Self::ForgetIdempotency { .. } => ("idempotency keys", String::new()),
            Self::PutCall(call) => ("call", call.id.to_string()),
            Self::ForgetCalls { .. } => ("calls", String::new()),
            Self::ForgetWork { .. } => ("boots and tasks", String::new()),
            Self::PutMeta { key, .. } => ("setting", key.clone()),
            Self::DeleteImage(id) => ("image", id.to_string()),
        }
    }
}

/// A webhook that is put in, new or changed.
#[derive(Clone, Debug)]
pub struct PutWebhook {
    /// The webhook.
    pub webhook: Webhook,
    /// Its secrets, encrypted by the caller: the one that it is signed with, and
    /// the one before it. `None` leaves them; a new one must have them.
    pub secrets: Option<(Vec<u8>, Option<Vec<u8>>)>,
    /// Where it goes on. `None` leaves it; whoever had claimed it loses the claim
    /// else. A new one must have it.
    pub delivery: Option<Delivery>,
}

/// An id for an audit row that the store itself writes.
pub(crate) fn own_event_id(at: Timestamp) -> EventId {
    let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
    EventId::from_parts(millis, rand::random())
}
