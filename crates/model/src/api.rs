//! Bodies of the REST API that are not nouns by themselves: requests, views,
//! pages and problems.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    LeaseId, MachineId, Name, OperationId, ProjectId, SiteId,
    bmc::{BmcTrouble, FirmwareSettings, PowerAction},
    condition::Condition,
    image::{Image, ImageKind},
    inventory::{Emulation, Inventory},
    layout::{ArrayWritten, DriveLayout, LaidOut},
    lease::{ActiveBecause, Install, LeaseMode, LeaseState, RescueAccess, Visit},
    lifecycle::{Health, Hold, Lifecycle, PowerReading, Waiting},
    measure::Measurement,
    operation::Operation,
    people::{Group, Role, Token, User, UserKind},
    scope::TokenScope,
    secret::Secret,
    site::Address,
    storage::RootDrive,
    upkeep::{StruckDrive, UnerasedDrive},
    warm::{FirstStart, IdlePower, NotWarm, Prepared, Trial, WarmPolicy},
    webhook::{Delivery, Webhook},
    work::{DriveRef, TestResult},
};

/// A problem (RFC 9457), `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `https://billet.dev/problems/<word>`: what kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind, in a few words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What exactly, and the way out, in a sentence or two.
    pub detail: String,
    /// What it is about (`name`, `ssh_keys[0]`), where it is about one thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, oldest first unless said otherwise.
    pub items: Vec<T>,
    /// What to pass as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Who the bearer of a token is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    /// The token.
    pub token: Token,
    /// The project's name, if it is for one.
    pub project_name: Option<Name>,
    /// The user that the token stands for.
    #[serde(default)]
    pub user: Option<User>,
    /// What the bearer may: the union of all there is.
    #[serde(default)]
    pub rights: Vec<RightView>,
}

/// A role, and where it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RightView {
    /// The role.
    pub role: Role,
    /// The project; none is everywhere.
    pub project: Option<ProjectId>,
    /// Its name.
    pub project_name: Option<Name>,
}

/// Make a user.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Name.
    pub name: Name,
    /// What kind.
    #[serde(default = "person")]
    pub kind: UserKind,
    /// Who answers for a service account, by name.
    #[serde(default)]
    pub owner: Option<Name>,
    /// When it may no longer sign in; a service account needs an end.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

fn person() -> UserKind {
    UserKind::Person
}

/// Change a user; what is absent stays as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UserChange {
    /// Disable or enable it.
    pub disabled: Option<bool>,
    /// Hand a service account over to this user.
    pub owner: Option<Name>,
    /// Another end.
    pub expires_at: Option<Timestamp>,
}

/// Make a group.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGroup {
    /// Name.
    pub name: Name,
}

/// A role to give to a group, or to take from it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGrant {
    /// The role.
    pub role: Role,
    /// In all projects of this organisation, by name or id.
    #[serde(default)]
    pub organisation: Option<String>,
    /// In this project, by name or id.
    #[serde(default)]
    pub project: Option<String>,
}

/// Change a group. Each is done by itself, so that two who change it at once
/// undo nothing of each other's.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GroupChange {
    /// Users to put in, by name or id.
    pub add: Vec<String>,
    /// Users to take out.
    pub remove: Vec<String>,
    /// Roles to give.
    pub grant: Vec<NewGrant>,
    /// Roles to take.
    pub revoke: Vec<NewGrant>,
}

/// A group with the names of what it names by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupView {
    /// The group.
    #[serde(flatten)]
    pub group: Group,
    /// Its members' names.
    pub member_names: Vec<Name>,
    /// Its grants in words: `member in project vision`.
    pub grants_in_words: Vec<String>,
}

/// Make an organisation.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrganisation {
    /// Name.
    pub name: Name,
}

/// Make a project.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProject {
    /// Name.
    pub name: Name,
    /// Its organisation's name.
    pub organisation: Name,
}

/// Make a token.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What to call it.
    pub name: Name,
    /// Role; none for a user's token.
    #[serde(default)]
    pub role: Option<Role>,
    /// Name of the project it is for; none for operators and overall auditors.
    #[serde(default)]
    pub project: Option<Name>,
    /// The user that it is to stand for, by name; its rights are that user's.
    #[serde(default)]
    pub user: Option<Name>,
    /// What it is cut down to; empty is everything that its rights cover.
    #[serde(default)]
    pub scopes: Vec<TokenScope>,
    /// When it stops to work.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// A token just made: the one time that its secret is shown.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// The token.
    pub token: Token,
    /// `billet_…`: keep it, it is not shown again.
    pub secret: String,
}

/// Make a webhook.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Name, unique among the project's, or the operator's.
    pub name: Name,
    /// The project whose events it is sent, by name or id. An operator who says none
    /// makes one that is sent all events.
    #[serde(default)]
    pub project: Option<String>,
    /// Where to: https, without a user in it.
    pub url: String,
    /// Only events whose action begins with one of these, such as `lease.`; all
    /// where empty.
    #[serde(default)]
    pub actions: Vec<String>,
    /// The certificate authority that the receiver is known by, PEM, in place of
    /// those that the system trusts.
    #[serde(default)]
    pub ca: Option<String>,
}

/// Change a webhook; what is absent stays as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookChange {
    /// Where to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Which events; empty for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions: Option<Vec<String>>,
    /// The receiver's certificate authority, PEM; empty for those that the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Disable or enable it. Enabled, it goes on where it stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Send nothing of what happened until now: go on with what comes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip: bool,
}

/// A webhook, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookView {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: Webhook,
    /// The project's name.
    pub project_name: Option<Name>,
    /// How far it has come.
    pub delivery: Delivery,
    /// Events that it was not sent yet; counted up to 1000.
    pub behind: u64,
    /// When the first of them happened.
    pub behind_since: Option<Timestamp>,
}

/// A webhook that was made, or has another secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookMade {
    /// The webhook.
    pub webhook: WebhookView,
    /// `whsec_…`: what its events are signed with. Keep it, it is not shown again.
    pub secret: String,
}

/// What came of sending a webhook an event that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookTested {
    /// Whether it was taken.
    pub taken: bool,
    /// HTTP status of the answer, if there was one.
    pub status: Option<u16>,
    /// What was wrong.
    pub error: Option<String>,
    /// How long it took.
    pub milliseconds: u64,
}

/// Change a token.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenChange {
    /// Disable or enable it.
    pub disabled: Option<bool>,
}

/// Set or take away a quota.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaChange {
    /// Of this project, by name or id, or
    #[serde(default)]
    pub project: Option<String>,
    /// of all projects of this organisation together.
    #[serde(default)]
    pub organisation: Option<String>,
    /// Machine type.
    pub machine_type: Name,
    /// So many machines at most; null is without end.
    pub most: Option<u32>,
}

/// A quota, and how much of it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotaView {
    /// Machine type.
    pub machine_type: Name,
    /// The organisation whose it is, or
    pub organisation: Option<Name>,
    /// the project.
    pub project: Option<Name>,
    /// So many at most.
    pub most: u32,
    /// So many are held: leases that are not over.
    pub used: u32,
}

/// Change a token's secret for another.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenRotation {
    /// For how many seconds the old secret works on, up to a week; 0 is not at all.
    pub grace_seconds: u64,
}

/// Change a name: of an organisation or a project.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NameChange {
    /// The new one; as it is where absent.
    #[serde(default)]
    pub name: Option<Name>,
}

/// Change a site; what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteChange {
    /// Its name.
    #[serde(default)]
    pub name: Option<Name>,
    /// Country or region code whose law holds there: while no lease holds a
    /// machine there.
    #[serde(default)]
    pub jurisdiction: Option<String>,
}

/// Make a site.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSite {
    /// Name.
    pub name: Name,
    /// Country or region code whose law holds there.
    pub jurisdiction: String,
}

/// Make a machine type.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMachineType {
    /// Name.
    pub name: Name,
    /// What it is, in a line.
    #[serde(default)]
    pub description: String,
    /// What a machine of it must have.
    #[serde(default)]
    pub expected: crate::site::ExpectedParts,
    /// How many of its available machines wait warm, and with what; none where
    /// absent.
    #[serde(default)]
    pub warm: Option<WarmPolicy>,
}

/// Change a machine type. What is absent stays as it was.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MachineTypeChange {
    /// What it is, in a line.
    pub description: Option<String>,
    /// What a machine of it must have, all of it anew: machines are compared with
    /// it when they are next inspected.
    pub expected: Option<crate::site::ExpectedParts>,
    /// How many of its available machines wait warm.
    pub warm: Option<u32>,
    /// The operator's images that they hold, all anew; an empty list for those
    /// that leases ask for most.
    pub warm_images: Option<Vec<Name>>,
    /// Whether leases of it go through firmware always.
    pub cold: Option<bool>,
}

/// Make a network.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNetwork {
    /// Name.
    pub name: Name,
    /// `10.88.0.0/24`.
    pub subnet: String,
    /// Gateway.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub gateway: Option<std::net::Ipv4Addr>,
    /// Name servers.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub dns: Vec<std::net::Ipv4Addr>,
    /// First and last address to give out; all but the gateway where absent.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub pool: Option<(std::net::Ipv4Addr, std::net::Ipv4Addr)>,
    /// First address of a range of the same size where the subnet is reached
    /// from outside by one-to-one translation.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub reached_at: Option<std::net::Ipv4Addr>,
}

/// Change a network; what is absent stays. A machine is told of it when it is next
/// booted into the ramdisk or leased: what stands on the drive of a running lease is
/// its tenant's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkChange {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// `10.88.0.0/24`: every address that a machine has must lie in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// Gateway; null for none.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub gateway: Option<Option<std::net::Ipv4Addr>>,
    /// Name servers, all anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub dns: Option<Vec<std::net::Ipv4Addr>>,
    /// First and last address to give out; null for all but the gateway. Addresses
    /// that machines have stay theirs.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub pool: Option<Option<(std::net::Ipv4Addr, std::net::Ipv4Addr)>>,
    /// First address of the range where the subnet is reached from outside; null
    /// where it is reached at its own addresses. Counts at once.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reached_at: Option<Option<std::net::Ipv4Addr>>,
}

/// A value that was said, be it null: tells it from one that is absent.
fn said<'de, D, T>(value: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(value).map(Some)
}

/// Enroll a machine.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMachine {
    /// Name.
    pub name: Name,
    /// Name of its site.
    pub site: Name,
    /// Rack.
    #[serde(default)]
    pub rack: Option<String>,
    /// Name of its machine type.
    pub machine_type: Name,
    /// Serial number that it should have.
    #[serde(default)]
    pub serial: Option<String>,
    /// Networks it is on, by name, each with the address it should have, or
    /// none for the next free one.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, Option<String>>)]
    pub networks: BTreeMap<Name, Option<std::net::Ipv4Addr>>,
    /// Its BMC.
    pub bmc: NewBmc,
    /// Billet gives its BMC another password when it is taken over, and after
    /// each lease.
    #[serde(default)]
    pub rotate_password: bool,
}

/// A BMC to enroll.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBmc {
    /// `https://address[:port]`.
    pub address: String,
    /// User.
    pub user: String,
    /// Password: encrypted at rest, never shown.
    pub password: Secret,
    /// SHA-256 of its certificate, if known: else the one first seen is pinned.
    #[serde(default)]
    pub fingerprint: Option<String>,
}

/// Correct what is recorded of a machine; what is absent stays as it is. How its BMC
/// is reached is changed by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MachineChange {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Rack; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Name of its site: while no lease holds it and nothing is done on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<Name>,
    /// Name of its machine type: only while it is enrolled, quarantined or in
    /// maintenance, so that it is inspected before it is offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_type: Option<Name>,
    /// Serial number that it should have, as its type; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// All networks that it is on, by name, each with its address, or none for the one
    /// that it has there, else the next free one. While no lease holds it and nothing
    /// is done on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, Option<String>>>)]
    pub networks: Option<BTreeMap<Name, Option<std::net::Ipv4Addr>>>,
    /// Whether Billet gives its BMC another password when it is taken over, and after
    /// each lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate_password: Option<bool>,
}

/// Change how a BMC is reached; what is absent stays as it is.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BmcChange {
    /// `https://address[:port]`.
    #[serde(default)]
    pub address: Option<String>,
    /// User.
    #[serde(default)]
    pub user: Option<String>,
    /// Password: encrypted at rest, never shown.
    #[serde(default)]
    pub password: Option<Secret>,
    /// SHA-256 of its certificate, if another is to be pinned.
    #[serde(default)]
    pub fingerprint: Option<String>,
}

/// Confirm the take-over of an enrolled machine: it will be powered off, and
/// the drives named here erased.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeOver {
    /// Serial numbers of all of its drives.
    pub drives: Vec<String>,
    /// Give its BMC another password now and after each lease, or do not; as was
    /// said when it was enrolled where absent.
    #[serde(default)]
    pub rotate_password: Option<bool>,
}

/// Give a machine's BMC another password.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotatePassword {
    /// Whether it is rotated after each lease from now on; as it was where absent.
    #[serde(default)]
    pub after_each_lease: Option<bool>,
}

/// Ask for a BMC's password.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BmcPasswordWanted {
    /// One that Billet made, by its number: after a restore from a backup, the
    /// BMC may have one that was made since. The present one where absent.
    #[serde(default)]
    pub number: Option<u32>,
}

/// How to sign in to a BMC. Has a secret in it.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct BmcPasswordShown {
    /// Where it is.
    pub address: String,
    /// The account.
    pub user: String,
    /// Its password; where one is on its way, the one that was known to work last.
    pub password: String,
    /// Others that may work instead: one on its way, or the other form of the
    /// one that was asked for by number.
    pub or: Vec<String>,
    /// Which of those that Billet made was made last; 0 for none.
    pub number: u32,
}

/// Change the list of a machine's drives: one thing at a time.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrivesChange {
    /// Serial number of a drive that left the machine without an erase.
    #[serde(default)]
    pub strike: Option<String>,
    /// Serial number of a drive that cannot be erased, and is let go all the same:
    /// the next erase is accepted without it, and its certificate says so.
    #[serde(default)]
    pub let_go: Option<String>,
    /// Why, where one is struck or let go: it goes on record and on the certificate.
    #[serde(default)]
    pub reason: Option<String>,
    /// Serial number of a drive that came, and may be erased.
    #[serde(default)]
    pub add: Option<String>,
}

/// Whether and when Billet gives a BMC another password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BmcPasswordState {
    /// After each lease.
    pub after_each_lease: bool,
    /// When it last did.
    pub rotated_at: Option<Timestamp>,
    /// Why the last time changed nothing, where it did not.
    pub failed: Option<String>,
}

/// A reason, for the record.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Why.
    pub reason: String,
}

/// Change the power.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerChange {
    /// How.
    pub action: PowerAction,
}

/// A machine, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineView {
    /// Id.
    pub id: MachineId,
    /// Name.
    pub name: Name,
    /// Site.
    pub site: Name,
    /// Its id.
    pub site_id: SiteId,
    /// Rack.
    pub rack: Option<String>,
    /// Machine type.
    pub machine_type: Name,
    /// Serial number, as found or as expected.
    pub serial: Option<String>,
    /// Serial number that it should have.
    #[serde(default)]
    pub expected_serial: Option<String>,
    /// Lifecycle.
    pub lifecycle: Lifecycle,
    /// What is being done, in a few words.
    pub doing: String,
    /// Why it waits, until when, and what then.
    pub waiting: Option<Waiting>,
    /// Why it is held.
    pub hold: Option<Hold>,
    /// Power.
    pub power: Option<PowerReading>,
    /// Health.
    pub health: Health,
    /// Whether a drive may hold someone's data.
    pub may_hold_data: bool,
    /// Kept off offers, for this reason.
    pub cordoned: Option<String>,
    /// Restored from a backup and not confirmed.
    pub unconfirmed: bool,
    /// Real silicon, or not.
    pub emulation: Emulation,
    /// BMC address.
    pub bmc_address: String,
    /// Pinned certificate.
    pub bmc_fingerprint: Option<String>,
    /// A trouble with the BMC that goes on.
    pub bmc_trouble: Option<BmcTrouble>,
    /// Addresses.
    pub addresses: Vec<Address>,
    /// Units that leases hold.
    pub units: u32,
    /// The lease that holds it.
    pub lease: Option<LeaseId>,
    /// The operation at work on it.
    pub operation: Option<OperationId>,
    /// The drives that may be erased.
    pub drives: Vec<DriveRef>,
    /// What differs from what was expected.
    pub differences: Vec<String>,
    /// What leases left otherwise than it was and nobody accepted yet: BMC
    /// accounts, BIOS settings, boot order, firmware versions.
    #[serde(default)]
    pub settings_left: Vec<String>,
    /// What is set in its BMC and firmware, as wanted; left out of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<FirmwareSettings>,
    /// Its BMC's password.
    #[serde(default)]
    pub bmc_password: BmcPasswordState,
    /// Drives struck from the list since the last erase.
    #[serde(default)]
    pub struck: Vec<StruckDrive>,
    /// Whether it waits warm, and what is known of it as one that may.
    #[serde(default)]
    pub warm: MachineWarmth,
    /// Drives of which the next erase is accepted whatever comes of it.
    #[serde(default)]
    pub let_go: Vec<UnerasedDrive>,
    /// Drives that were let go without an erase, and are in it still.
    #[serde(default)]
    pub unerased: Vec<UnerasedDrive>,
    /// The last tests.
    pub tests: Vec<TestResult>,
    /// What was found in it; left out of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Inventory>,
    /// When it was enrolled.
    pub created_at: Timestamp,
    /// For optimistic concurrency: send it back as `If-Match`.
    pub version: i64,
}

/// A machine as one that waits warm, or may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineWarmth {
    /// Since when it waits warm; `None` where it does not.
    pub since: Option<Timestamp>,
    /// The image that stands on a drive before anybody leased it.
    pub prepared: Option<Prepared>,
    /// Whether kexec works on it.
    pub trial: Option<Trial>,
    /// Why it did not become warm the last time, or did not stay so.
    pub failed: Option<NotWarm>,
    /// What it draws while it waits.
    pub idle: Option<IdlePower>,
}

/// What is on offer: how many of a type are free, and what they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Offer {
    /// Machine type.
    pub machine_type: Name,
    /// What it is.
    pub description: String,
    /// Site.
    pub site: Name,
    /// Its jurisdiction.
    pub jurisdiction: String,
    /// Free now.
    pub free: u32,
    /// Of these, how many wait warm: a lease starts there in seconds.
    #[serde(default)]
    pub warm: u32,
    /// Names of the images that these hold already, for everyone.
    #[serde(default)]
    pub warm_images: Vec<Name>,
    /// What one of them draws while it waits, in watts, as BMCs measure it: the
    /// mean; `None` where none measures.
    #[serde(default)]
    pub warm_watts: Option<u32>,
    /// In all, whatever their state, without retired ones.
    pub total: u32,
    /// GPUs of one.
    pub gpus: u32,
    /// Model of its GPUs.
    pub gpu_model: Option<String>,
    /// Hardware threads of one.
    pub threads: u32,
    /// Memory of one, in bytes.
    pub memory_bytes: u64,
    /// Drives of one, in bytes in all.
    pub drive_bytes: u64,
    /// Of those free now, so many have a drive that was not erased and that an
    /// operator let go: they are given last.
    #[serde(default)]
    pub unerased: u32,
    /// Real silicon, or not.
    pub emulation: Emulation,
    /// What a tenant should know (the BMC reachable from inside, network isolation).
    pub notes: Vec<String>,
}

/// Ask for a lease.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLease {
    /// Name; one is made up where absent.
    #[serde(default)]
    pub name: Option<Name>,
    /// Project, by name; needed where the token is not for one.
    #[serde(default)]
    pub project: Option<Name>,
    /// Mode.
    #[serde(default)]
    pub mode: LeaseMode,
    /// Machine type.
    pub machine_type: Name,
    /// Site, if it must be a certain one.
    #[serde(default)]
    pub site: Option<Name>,
    /// Image, by name or id.
    pub image: String,
    /// SSH public keys for root, in OpenSSH's form.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// cloud-init user data, at most 64 KiB.
    #[serde(default)]
    pub user_data: Option<String>,
    /// Added to the kernel's command line.
    #[serde(default)]
    pub kernel_args: Vec<String>,
    /// Which drive holds the root: the machine's first where not said.
    #[serde(default)]
    pub root_drive: RootDrive,
    /// Go through firmware, on a machine that waits warm too.
    #[serde(default)]
    pub cold: bool,
    /// What is made of the other drives: nothing where not said.
    #[serde(default)]
    pub layout: DriveLayout,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Term in seconds; none is until released.
    #[serde(default)]
    pub term_seconds: Option<u64>,
}

/// Change a lease.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseChange {
    /// All tags, anew.
    pub tags: Option<BTreeMap<String, String>>,
    /// Another name.
    pub name: Option<Name>,
    /// Host name, for the next time that its drive is written; empty for the
    /// lease's name.
    pub hostname: Option<String>,
    /// So many seconds more, from the present end.
    pub extend_seconds: Option<u64>,
}

/// Write a lease's drive anew. What is absent stays as it was.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Reinstall {
    /// Image, by name or id.
    pub image: Option<String>,
    /// SSH public keys for root, in OpenSSH's form.
    pub ssh_keys: Option<Vec<String>>,
    /// cloud-init user data, at most 64 KiB; empty for none.
    pub user_data: Option<String>,
    /// Added to the kernel's command line; an empty list for none.
    pub kernel_args: Option<Vec<String>>,
    /// Leave the drives alone on which the image is not written. Else they are
    /// erased.
    pub keep_data_drives: bool,
    /// Leave the drives of these arrays alone, by their names, and erase the
    /// others.
    pub keep_arrays: Vec<Name>,
    /// Another layout; arrays that are kept are not named in it.
    pub layout: Option<DriveLayout>,
}

/// A lease, as its tenant sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseView {
    /// Id.
    pub id: LeaseId,
    /// Name.
    pub name: Name,
    /// Project.
    pub project: Name,
    /// Its id.
    pub project_id: ProjectId,
    /// Mode.
    pub mode: LeaseMode,
    /// State.
    pub state: LeaseState,
    /// How it is, in a word that other providers have too.
    #[serde(default)]
    pub condition: Condition,
    /// Why it failed or waits.
    pub reason: Option<String>,
    /// Its machine's health, while it has one.
    #[serde(default)]
    pub health: Option<Health>,
    /// Machine type.
    pub machine_type: Name,
    /// The machine's id, which stays the same, and says nothing else.
    pub machine: MachineId,
    /// Site.
    pub site: Name,
    /// Its jurisdiction.
    pub jurisdiction: String,
    /// Real silicon, or not.
    pub emulation: Emulation,
    /// Image.
    pub image: Name,
    /// Digest of the image, as written and read back.
    pub image_digest: Option<String>,
    /// Serial number of the drive that the image is written to.
    #[serde(default)]
    pub root_drive: Option<String>,
    /// Drives in its machine that still hold what was there before, by serial:
    /// they could not be erased, and an operator let them go.
    #[serde(default)]
    pub unerased_drives: Vec<String>,
    /// What was asked for of the drives beside the root's.
    #[serde(default)]
    pub layout_wanted: DriveLayout,
    /// Which drive is what, by serial number.
    #[serde(default)]
    pub layout: LaidOut,
    /// Where the root is mirrored: which partitions are, in sentences.
    #[serde(default)]
    pub root_mirrored: Vec<String>,
    /// What was put on the drives of arrays, and read back.
    #[serde(default)]
    pub arrays_written: Vec<ArrayWritten>,
    /// What the machine said at its first boot of the file systems on them: `ok`,
    /// or what went wrong.
    #[serde(default)]
    pub file_systems: Option<String>,
    /// What its drive was found to hold beside its image: first as it was written,
    /// then each time that the tenant asked.
    #[serde(default)]
    pub measurements: Vec<Measurement>,
    /// What was served to install it, where its image is an install configuration.
    /// What that put on its drives is not measured.
    #[serde(default)]
    pub install: Option<Install>,
    /// Power.
    pub power: Option<PowerReading>,
    /// The machine's own address on each network.
    pub addresses: Vec<Address>,
    /// How it is known to be up.
    pub active_because: Option<ActiveBecause>,
    /// SSH host keys that it sent.
    pub host_keys: Vec<String>,
    /// How the ramdisk is reached, while it runs for the tenant.
    pub rescue: Option<RescueAccess>,
    /// When something of Billet's ran on its machine after it was handed over.
    pub visits: Vec<Visit>,
    /// How many there were before those: the audit log has them.
    #[serde(default)]
    pub earlier_visits: u32,
    /// How its system was first started, and what that means for measured boot.
    #[serde(default)]
    pub first_start: Option<FirstStart>,
    /// How its machine learns what it is.
    #[serde(default)]
    pub metadata: MetadataOffered,
    /// Kernel arguments.
    pub kernel_args: Vec<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it ends.
    pub ends_at: Option<Timestamp>,
    /// When its tenant was last warned of its end.
    pub warned_at: Option<Timestamp>,
    /// Host name asked for; the lease's name where absent.
    pub hostname: Option<String>,
    /// The operation at work on it, or the last one.
    pub operation: OperationId,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it became active.
    pub active_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// For optimistic concurrency.
    pub version: i64,
}

/// How a lease's machine learns what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MetadataOffered {
    /// On the drive: in cloud-init's seed, of images that have cloud-init.
    pub drive: bool,
    /// Over the network, at the link-local address: where the operator serves it
    /// and the machine has an address of Billet's.
    pub network: bool,
}

/// A lease and the operation that works on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseStarted {
    /// The lease.
    pub lease: LeaseView,
    /// To follow.
    pub operation: Operation,
}

/// A machine and the operation that works on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineStarted {
    /// The machine.
    pub machine: MachineView,
    /// To follow.
    pub operation: Operation,
}

/// A machine after a request, and the operation that the request began, if it
/// began one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineChanged {
    /// The machine.
    pub machine: MachineView,
    /// To follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupMade {
    /// Where it lies on the server.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Add an image.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewImage {
    /// Name.
    pub name: Name,
    /// Whose, by project name; none is the operator's, for everyone.
    #[serde(default)]
    pub project: Option<Name>,
    /// What it is, in a line.
    #[serde(default)]
    pub description: String,
    /// Which kind of image; a disk image where not said.
    #[serde(default)]
    pub kind: ImageKind,
    /// Where to fetch a disk image; none means that it will be uploaded.
    #[serde(default)]
    pub url: Option<String>,
    /// `sha256:<hex>` or `sha512:<hex>` of the bytes as fetched or uploaded.
    #[serde(default)]
    pub checksum: Option<String>,
    /// It brings cloud-init.
    #[serde(default = "yes")]
    pub cloud_init: bool,
    /// It boots with its root mirrored, where that cannot be told by looking.
    #[serde(default)]
    pub root_mirror: bool,
    /// What an install configuration is made of.
    #[serde(default)]
    pub install: Option<NewInstall>,
}

/// What an install configuration is to be made of: a kernel with initrds and a
/// command line, or a script. All parts have an address, or all are uploaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewInstall {
    /// The kernel: a Linux kernel that UEFI can start.
    pub kernel: Option<NewPart>,
    /// The initrds, in the order in which the kernel is to have them.
    pub initrds: Vec<NewPart>,
    /// The kernel's command line. `${billet-url}` and its like stand for what is
    /// the lease's own.
    pub command_line: Option<String>,
    /// The iPXE script.
    pub script: Option<NewPart>,
    /// For how many seconds the installer may run, from 10 to a week; four hours
    /// where not said.
    pub seconds: Option<u64>,
}

/// A part of an install configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewPart {
    /// Where to fetch it; none means that it will be uploaded.
    pub url: Option<String>,
    /// `sha256:<hex>` or `sha512:<hex>` of its bytes.
    pub checksum: Option<String>,
}

fn yes() -> bool {
    true
}

/// An image and the operation that takes it in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageStarted {
    /// The image.
    pub image: Image,
    /// To follow; none where bytes are still to be uploaded.
    pub operation: Option<Operation>,
}

/// A key that signs evidence, now or in the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SigningKey {
    /// SHA-256 of its SPKI, hex: what signatures name it by.
    pub keyid: String,
    /// The public key, PEM.
    pub public_pem: String,
    /// Whether it signs now.
    pub current: bool,
}

/// A slice of the audit log that anybody can check: its signed head, and rows
/// with what proves that they are in it. `billet_evidence::audit::Export` reads it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditExport {
    /// Signed checkpoint (C2SP form).
    pub checkpoint: String,
    /// The rows, by rising index.
    pub rows: Vec<ProvedRow>,
}

/// A row of the audit log with its proof.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProvedRow {
    /// Its leaf's index in the log, from 0.
    pub index: u64,
    /// The row.
    #[schema(value_type = crate::event::AuditRow)]
    pub row: serde_json::Value,
    /// 32 hexadecimal digits that keep its neighbours from guessing it.
    pub salt: String,
    /// Inclusion proof, hashes in hexadecimal, from the leaf up.
    pub proof: Vec<String>,
}

/// What the server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerInfo {
    /// Billet's version.
    pub version: String,
    /// Version of the database's schema.
    pub schema: i64,
}
