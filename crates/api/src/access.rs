//! The one table of who may call what.
//!
//! Every endpoint stands here once. A request that matches no row is refused
//! before any handler runs, so an endpoint that was forgotten here is closed,
//! and a test holds the table against the API document in both directions.
//!
//! A row says which roles may call at all (others get 403). *Which things* a
//! caller may then see is the scope: with [`Scope::Project`] and
//! [`Scope::Shared`], a thing of another project is 404, in the same words as
//! one that does not exist.

use axum::http::Method;
use billet_model::{people::Role, scope::TokenScope};

/// What a bearer is, as far as the table tells callers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Everything.
    Operator,
    /// Reads everything.
    Auditor,
    /// Reads one project.
    ProjectAuditor,
    /// One project, its tokens included.
    ProjectOwner,
    /// One project.
    Member,
}

impl Caller {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Operator,
        Self::Auditor,
        Self::ProjectAuditor,
        Self::ProjectOwner,
        Self::Member,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::ProjectAuditor => "auditor of a project",
            Self::ProjectOwner => "project_owner",
            Self::Member => "member",
        }
    }

    /// What somebody is who has `role`, in one project or everywhere; none where
    /// the two contradict each other.
    pub fn of(role: Role, in_a_project: bool) -> Option<Self> {
        match (role, in_a_project) {
            (Role::Operator, false) => Some(Self::Operator),
            (Role::Auditor, false) => Some(Self::Auditor),
            (Role::Auditor, true) => Some(Self::ProjectAuditor),
            (Role::ProjectOwner, true) => Some(Self::ProjectOwner),
            (Role::Member, true) => Some(Self::Member),
            (Role::Operator, true) | (Role::ProjectOwner | Role::Member, false) => None,
        }
    }

    /// The role.
    pub fn role(self) -> Role {
        match self {
            Self::Operator => Role::Operator,
            Self::Auditor | Self::ProjectAuditor => Role::Auditor,
            Self::ProjectOwner => Role::ProjectOwner,
            Self::Member => Role::Member,
        }
    }
}

/// Who may call an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Everybody, without a token.
    Anyone,
    /// Bearers of a token with one of these roles.
    Bearers(&'static [Caller]),
    /// Whoever has the secret of one boot or lease, which the handler checks.
    Machine,
}

/// Which things a caller sees there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Nothing that belongs to anyone.
    Open,
    /// The operator's things: sites, machines, the whole of the audit log.
    Site,
    /// One project's things: callers bound to a project see that project's only.
    Project,
    /// One project's things, and the operator's that are for everyone.
    Shared,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Method.
    pub method: Method,
    /// Path, as routed.
    pub path: &'static str,
    /// Who.
    pub who: Who,
    /// Which things.
    pub scope: Scope,
    /// It writes, though it is a GET.
    pub typed: bool,
}

impl Rule {
    /// The area that a token's scopes name it by: the first part of its path.
    pub fn area(&self) -> &'static str {
        let path = self.path.strip_prefix("/v1").unwrap_or(self.path);
        path.split('/').nth(1).unwrap_or_default()
    }

    /// Whether it changes anything.
    pub fn writes(&self) -> bool {
        self.typed || self.method != Method::GET
    }

    /// Whether a token that is cut down to `scopes` may call it. Who one is may
    /// always be asked, and one's own secret changed: that gives nothing to anyone.
    pub fn within(&self, scopes: &[TokenScope]) -> bool {
        let writes = self.writes();
        scopes.is_empty()
            || matches!(self.area(), "whoami" | "info")
            || scopes.iter().any(|s| s.allows(self.area(), writes))
    }
}

/// The areas that scopes can name, each once.
pub fn areas() -> Vec<&'static str> {
    let mut areas: Vec<&str> = TABLE
        .iter()
        .filter(|rule| matches!(rule.who, Who::Bearers(_)))
        .map(Rule::area)
        .collect();
    areas.sort_unstable();
    areas.dedup();
    areas
}

use Caller::{Auditor, Member, Operator, ProjectAuditor, ProjectOwner};

/// Every role.
const EVERYONE: Who = Who::Bearers(&Caller::ALL);
/// Who runs the machines.
const OPERATORS: Who = Who::Bearers(&[Operator]);
/// Who sees the machines.
const OVERSEERS: Who = Who::Bearers(&[Operator, Auditor]);
/// Who uses a project.
const USERS: Who = Who::Bearers(&[Operator, ProjectOwner, Member]);
/// Who hands out a project's tokens.
const OWNERS: Who = Who::Bearers(&[Operator, ProjectOwner]);
/// Who sees a project's tokens.
const TOKEN_READERS: Who = Who::Bearers(&[Operator, Auditor, ProjectOwner, ProjectAuditor]);

const fn rule(method: Method, path: &'static str, who: Who, scope: Scope) -> Rule {
    Rule {
        method,
        path,
        who,
        scope,
        typed: false,
    }
}

/// A WebSocket that is typed to: it begins as a GET, and writes.
const fn typed(path: &'static str, who: Who, scope: Scope) -> Rule {
    Rule {
        method: GET,
        path,
        who,
        scope,
        typed: true,
    }
}

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

/// Every endpoint there is.
#[rustfmt::skip]
pub static TABLE: &[Rule] = &[
    rule(GET,    "/healthz",                         Who::Anyone,   Scope::Open),
    rule(GET,    "/readyz",                          Who::Anyone,   Scope::Open),
    rule(GET,    "/metrics",                         OVERSEERS,     Scope::Site),
    rule(GET,    "/v1/health",                       Who::Anyone,   Scope::Open),
    rule(GET,    "/v1/openapi.json",                 Who::Anyone,   Scope::Open),
    rule(GET,    "/v1/info",                         EVERYONE,      Scope::Open),
    rule(GET,    "/v1/whoami",                       EVERYONE,      Scope::Open),
    rule(POST,   "/v1/whoami/rotate",                EVERYONE,      Scope::Open),

    rule(GET,    "/v1/organisations",                OVERSEERS,     Scope::Site),
    rule(POST,   "/v1/organisations",                OPERATORS,     Scope::Site),
    rule(GET,    "/v1/organisations/{organisation}", OVERSEERS,     Scope::Site),
    rule(PATCH,  "/v1/organisations/{organisation}", OPERATORS,     Scope::Site),
    rule(DELETE, "/v1/organisations/{organisation}", OPERATORS,     Scope::Site),
    rule(GET,    "/v1/projects",                     EVERYONE,      Scope::Project),
    rule(POST,   "/v1/projects",                     OPERATORS,     Scope::Site),
    rule(GET,    "/v1/projects/{project}",           EVERYONE,      Scope::Project),
    rule(PATCH,  "/v1/projects/{project}",           OPERATORS,     Scope::Site),
    rule(DELETE, "/v1/projects/{project}",           OPERATORS,     Scope::Site),
    rule(GET,    "/v1/tokens",                       TOKEN_READERS, Scope::Project),
    rule(POST,   "/v1/tokens",                       OWNERS,        Scope::Project),
    rule(GET,    "/v1/tokens/{token}",               TOKEN_READERS, Scope::Project),
    rule(PATCH,  "/v1/tokens/{token}",               OWNERS,        Scope::Project),
    rule(DELETE, "/v1/tokens/{token}",               OWNERS,        Scope::Project),
    rule(POST,   "/v1/tokens/{token}/rotate",        OWNERS,        Scope::Project),
    rule(GET,    "/v1/users",                        OVERSEERS,     Scope::Site),
    rule(POST,   "/v1/users",                        OPERATORS,     Scope::Site),
    rule(GET,    "/v1/users/{user}",                 OVERSEERS,     Scope::Site),
    rule(PATCH,  "/v1/users/{user}",                 OPERATORS,     Scope::Site),
    rule(DELETE, "/v1/users/{user}",                 OPERATORS,     Scope::Site),
    rule(GET,    "/v1/groups",                       OVERSEERS,     Scope::Site),
    rule(POST,   "/v1/groups",                       OPERATORS,     Scope::Site),
    rule(GET,    "/v1/groups/{group}",               OVERSEERS,     Scope::Site),
    rule(PATCH,  "/v1/groups/{group}",               OPERATORS,     Scope::Site),
    rule(DELETE, "/v1/groups/{group}",               OPERATORS,     Scope::Site),

    rule(GET,    "/v1/quotas",                       EVERYONE,      Scope::Project),
    rule(PUT,    "/v1/quotas",                       OPERATORS,     Scope::Site),

    rule(GET,    "/v1/sites",                        EVERYONE,      Scope::Open),
    rule(POST,   "/v1/sites",                        OPERATORS,     Scope::Site),
    rule(GET,    "/v1/sites/{site}",                 EVERYONE,      Scope::Open),
    rule(PATCH,  "/v1/sites/{site}",                 OPERATORS,     Scope::Site),
    rule(DELETE, "/v1/sites/{site}",                 OPERATORS,     Scope::Site),
    rule(GET,    "/v1/machine-types",                EVERYONE,      Scope::Open),
    rule(POST,   "/v1/machine-types",                OPERATORS,     Scope::Site),
    rule(GET,    "/v1/machine-types/{machine_type}", EVERYONE,      Scope::Open),
    rule(PATCH,  "/v1/machine-types/{machine_type}", OPERATORS,     Scope::Site),
    rule(DELETE, "/v1/machine-types/{machine_type}", OPERATORS,     Scope::Site),
    rule(GET,    "/v1/networks",                     OVERSEERS,     Scope::Site),
    rule(POST,   "/v1/networks",                     OPERATORS,     Scope::Site),
    rule(GET,    "/v1/networks/{network}",           OVERSEERS,     Scope::Site),
    rule(PATCH,  "/v1/networks/{network}",           OPERATORS,     Scope::Site),
    rule(DELETE, "/v1/networks/{network}",           OPERATORS,     Scope::Site),

    rule(GET,    "/v1/machines",                          OVERSEERS, Scope::Site),
    rule(POST,   "/v1/machines",                          OPERATORS, Scope::Site),
    rule(GET,    "/v1/machines/{machine}",                OVERSEERS, Scope::Site),
    rule(PATCH,  "/v1/machines/{machine}",                OPERATORS, Scope::Site),
    rule(POST,   "/v1/machines/{machine}/take-over",      OPERATORS, Scope::Site),
    rule(POST,   "/v1/machines/{machine}/inspect",        OPERATORS, Scope::Site),
    rule(POST,   "/v1/machines/{machine}/test",           OPERATORS, Scope::Site),
    rule(POST,   "/v1/machines/{machine}/repair",         OPERATORS, Scope::Site),
    rule(POST,   "/v1/machines/{machine}/cordon",         OPERATORS, Scope::Site),
    rule(POST,   "/v1/machines/{machine}/uncordon",       OPERATORS, Scope::Site),
    rule(POST,   "/v1/machines/{machine}/quarantine",     OPERATORS, Scope::Site),
    rule(POST,   "/v1/machines/{machine}/maintenance",    OPERATORS, Scope::Site),
    rule(POST,   "/v1/machines/{machine}/break-fix",      OPERATORS, Scope::Site),
    rule(POST,   "/v1/machines/{machine}/retire",         OPERATORS, Scope::Site),
    rule(POST,   "/v1/machines/{machine}/power",          OPERATORS, Scope::Site),
    rule(POST,   "/v1/machines/{machine}/confirm",        OPERATORS, Scope::Site),
    rule(POST,   "/v1/machines/{machine}/bmc",            OPERATORS, Scope::Site),
    typed(       "/v1/machines/{machine}/console",        OPERATORS, Scope::Site),
    rule(GET,    "/v1/machines/{machine}/console/log",    OPERATORS, Scope::Site),
    rule(GET,    "/v1/machines/{machine}/console/status", OPERATORS, Scope::Site),
    rule(PUT,    "/v1/machines/{machine}/console/host-key", OPERATORS, Scope::Site),
    rule(POST,   "/v1/machines/{machine}/bmc-password",   OPERATORS, Scope::Site),
    rule(POST,   "/v1/machines/{machine}/rotate-password", OPERATORS, Scope::Site),
    rule(POST,   "/v1/machines/{machine}/accept-firmware", OPERATORS, Scope::Site),
    rule(POST,   "/v1/machines/{machine}/drives",         OPERATORS, Scope::Site),

    rule(GET,    "/v1/offers",                       EVERYONE,      Scope::Open),
    rule(GET,    "/v1/images",                       EVERYONE,      Scope::Shared),
    rule(POST,   "/v1/images",                       USERS,         Scope::Shared),
    rule(GET,    "/v1/images/{image}",               EVERYONE,      Scope::Shared),
    rule(DELETE, "/v1/images/{image}",               USERS,         Scope::Shared),
    rule(PUT,    "/v1/images/{image}/content",       USERS,         Scope::Shared),
    rule(PUT,    "/v1/images/{image}/parts/{part}",  USERS,         Scope::Shared),

    rule(GET,    "/v1/leases",                       EVERYONE,      Scope::Project),
    rule(POST,   "/v1/leases",                       USERS,         Scope::Project),
    rule(GET,    "/v1/leases/{lease}",               EVERYONE,      Scope::Project),
    rule(PATCH,  "/v1/leases/{lease}",               USERS,         Scope::Project),
    rule(POST,   "/v1/leases/{lease}/release",       USERS,         Scope::Project),
    rule(POST,   "/v1/leases/{lease}/power",         USERS,         Scope::Project),
    rule(POST,   "/v1/leases/{lease}/reinstall",     USERS,         Scope::Project),
    rule(POST,   "/v1/leases/{lease}/rescue",        USERS,         Scope::Project),
    rule(POST,   "/v1/leases/{lease}/rescue/end",    USERS,         Scope::Project),
    rule(POST,   "/v1/leases/{lease}/installed",     USERS,         Scope::Project),
    rule(POST,   "/v1/leases/{lease}/measure",       USERS,         Scope::Project),

    typed(       "/v1/leases/{lease}/console",       USERS,         Scope::Project),
    rule(GET,    "/v1/leases/{lease}/console/log",   USERS,         Scope::Project),

    rule(GET,    "/v1/operations",                   EVERYONE,      Scope::Project),
    rule(GET,    "/v1/operations/{operation}",       EVERYONE,      Scope::Project),
    rule(GET,    "/v1/evidence",                     EVERYONE,      Scope::Project),
    rule(GET,    "/v1/evidence/{evidence}",          EVERYONE,      Scope::Project),
    rule(GET,    "/v1/evidence-keys",                Who::Anyone,   Scope::Open),
    rule(GET,    "/v1/audit",                        EVERYONE,      Scope::Project),
    rule(GET,    "/v1/audit/export",                 EVERYONE,      Scope::Project),
    rule(GET,    "/v1/calls",                        OVERSEERS,     Scope::Site),
    rule(GET,    "/v1/events",                       EVERYONE,      Scope::Project),
    rule(GET,    "/v1/webhooks",                     TOKEN_READERS, Scope::Project),
    rule(POST,   "/v1/webhooks",                     OWNERS,        Scope::Project),
    rule(GET,    "/v1/webhooks/{webhook}",           TOKEN_READERS, Scope::Project),
    rule(PATCH,  "/v1/webhooks/{webhook}",           OWNERS,        Scope::Project),
    rule(DELETE, "/v1/webhooks/{webhook}",           OWNERS,        Scope::Project),
    rule(POST,   "/v1/webhooks/{webhook}/rotate",    OWNERS,        Scope::Project),
    rule(POST,   "/v1/webhooks/{webhook}/test",      OWNERS,        Scope::Project),
    rule(POST,   "/v1/backup",                       OPERATORS,     Scope::Site),

    rule(POST,   "/agent/v1/hello",                     Who::Machine, Scope::Open),
    rule(GET,    "/agent/v1/task",                      Who::Machine, Scope::Open),
    rule(POST,   "/agent/v1/tasks/{task}/confirm",      Who::Machine, Scope::Open),
    rule(POST,   "/agent/v1/tasks/{task}/progress",     Who::Machine, Scope::Open),
    rule(POST,   "/agent/v1/tasks/{task}/outcome",      Who::Machine, Scope::Open),
    rule(GET,    "/agent/v1/images/{digest}/manifest",  Who::Machine, Scope::Open),
    rule(GET,    "/agent/v1/images/{digest}/blob",      Who::Machine, Scope::Open),
    rule(GET,    "/agent/v1/ramdisk",                   Who::Machine, Scope::Open),
    rule(POST,   "/phone-home/v1/{token}",              Who::Machine, Scope::Open),
    rule(GET,    "/media/{file}",                       Who::Machine, Scope::Open),
    rule(GET,    "/install/v1/{token}/installed",       Who::Machine, Scope::Open),
    rule(POST,   "/install/v1/{token}/installed",       Who::Machine, Scope::Open),
    rule(GET,    "/install/v1/{token}/{file}",          Who::Machine, Scope::Open),
];

/// The row for a request, or why there is none.
pub(crate) enum Found {
    /// This one.
    Rule(&'static Rule),
    /// The path is known, and has these methods.
    OtherMethods(Vec<&'static str>),
    /// There is nothing at this path.
    Nothing,
}

/// Finds the row for a method and a path as routed. HEAD is a GET.
pub(crate) fn find(method: &Method, path: &str) -> Found {
    let wanted = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let at_path: Vec<&'static Rule> = TABLE.iter().filter(|rule| rule.path == path).collect();
    match at_path.iter().find(|rule| rule.method == *wanted) {
        Some(rule) => Found::Rule(rule),
        None if at_path.is_empty() => Found::Nothing,
        None => Found::OtherMethods(at_path.iter().map(|rule| rule.method.as_str()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_endpoint_stands_twice() {
        for (at, rule) in TABLE.iter().enumerate() {
            let again = TABLE[..at]
                .iter()
                .find(|other| other.method == rule.method && other.path == rule.path);
            assert!(again.is_none(), "{} {}", rule.method, rule.path);
        }
    }

    #[test]
    fn every_endpoint_falls_into_an_area() {
        let areas = areas();
        assert!(areas.contains(&"leases") && areas.contains(&"machine-types"));
        for rule in TABLE {
            assert!(!rule.area().is_empty(), "{}", rule.path);
            assert!(!rule.area().contains('{'), "{}", rule.path);
            if matches!(rule.who, Who::Bearers(_)) {
                // One that writes is never reached by a token that only reads, but
                // for the token's own secret, which is no right to anything else.
                let read = ["read".parse().expect("a scope")];
                let reads = !rule.writes() || rule.path == "/v1/whoami/rotate";
                assert_eq!(rule.within(&read), reads, "{} {}", rule.method, rule.path);
                assert!(rule.within(&[]));
            }
        }
    }

    #[test]
    fn a_head_is_a_get() {
        assert!(matches!(find(&Method::HEAD, "/v1/leases"), Found::Rule(_)));
        assert!(
            matches!(find(&Method::PUT, "/v1/leases"), Found::OtherMethods(m) if m == ["GET", "POST"])
        );
        assert!(matches!(find(&Method::GET, "/v1/nothing"), Found::Nothing));
    }
}
