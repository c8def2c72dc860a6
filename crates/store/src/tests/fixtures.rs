//! Nouns to test with, and a world that they live in.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::atomic::{AtomicU64, Ordering},
};

use billet_model::{
    ImageId, MachineId, Name, NetworkId, OrganisationId, ProjectId, SiteId, TokenId,
    bmc::BmcEndpoint,
    event::AuditRow,
    image::{Image, ImageState},
    inventory::{Emulation, Gpu, Inventory},
    lease::{Lease, LeaseMode, LeaseSpec, LeaseState},
    lifecycle::{Health, Lifecycle},
    machine::Machine,
    people::{Actor, Organisation, Project, Role, Token},
    site::{Address, ExpectedParts, MachineType, Network, Site},
    step::{Step, StepNotes},
};
use jiff::Timestamp;

use crate::{Batch, Store, Write};

/// A moment, in seconds after one in 2026, with a fraction below the microsecond.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::new(1_780_000_000 + seconds, 123_456_789).expect("a time")
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// Parts of a new id: they rise, as ids do in life.
pub(crate) fn parts() -> (u64, [u8; 10]) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut random = [7; 10];
    random[2..].copy_from_slice(&n.to_be_bytes());
    (1_780_000_000_000 + n, random)
}

macro_rules! new_id {
    ($id:ident) => {{
        let (millis, random) = crate::tests::fixtures::parts();
        billet_model::$id::from_parts(millis, random)
    }};
}
pub(crate) use new_id;

pub(crate) fn row(action: &str) -> AuditRow {
    AuditRow {
        id: new_id!(EventId),
        at: at(0),
        actor: Actor::Billet,
        action: action.to_owned(),
        machine: None,
        lease: None,
        image: None,
        project: None,
        detail: serde_json::json!({ "why": "a test", "n": 3 }),
    }
}

/// A write on record.
pub(crate) fn put(write: Write) -> Batch {
    Batch::new().with(write).audited(row("test.put"))
}

/// What most nouns refer to.
#[derive(Clone)]
pub(crate) struct Ground {
    pub organisation: OrganisationId,
    pub project: ProjectId,
    pub other_project: ProjectId,
    pub site: SiteId,
    pub machine_type: Name,
    pub network: NetworkId,
    pub image: ImageId,
    pub token: TokenId,
}

pub(crate) fn project(organisation: OrganisationId, called: &str) -> Project {
    Project {
        id: new_id!(ProjectId),
        name: name(called),
        organisation,
        created_at: at(1),
    }
}

pub(crate) fn image(project: Option<ProjectId>, called: &str) -> Image {
    Image {
        id: new_id!(ImageId),
        name: name(called),
        project,
        description: "Debian 12, \"bookworm\"; ünïcode \u{1F9EA}".into(),
        origin: "upload".into(),
        checksum: None,
        state: ImageState::Available,
        reason: None,
        content: None,
        cloud_init: true,
        kind: billet_model::image::ImageKind::Disk,
        install: None,
        root_mirror: false,
        created_at: at(2),
    }
}

pub(crate) fn network(called: &str) -> Network {
    Network {
        id: new_id!(NetworkId),
        name: name(called),
        subnet: Ipv4Addr::new(10, 7, 0, 0),
        prefix: 16,
        gateway: Some(Ipv4Addr::new(10, 7, 0, 1)),
        dns: vec![Ipv4Addr::new(10, 7, 0, 2)],
        pool_first: Ipv4Addr::new(10, 7, 1, 0),
        pool_last: Ipv4Addr::new(10, 7, 9, 255),
        reached_at: None,
        created_at: at(3),
        version: 0,
    }
}

pub(crate) fn machine_type(called: &str) -> MachineType {
    MachineType {
        id: new_id!(MachineTypeId),
        name: name(called),
        description: "eight of them".into(),
        expected: ExpectedParts {
            gpus: Some(8),
            ..ExpectedParts::default()
        },
        warm: Default::default(),
        created_at: at(4),
    }
}

pub(crate) fn site(called: &str) -> Site {
    Site {
        id: new_id!(SiteId),
        name: name(called),
        jurisdiction: "DE".into(),
        created_at: at(5),
    }
}

pub(crate) fn token(project: Option<ProjectId>, called: &str) -> Token {
    Token {
        id: new_id!(TokenId),
        name: name(called),
        role: Some(Role::Operator),
        project,
        user: None,
        scopes: Vec::new(),
        expires_at: Some(at(1000)),
        disabled: false,
        created_at: at(6),
        last_used_at: None,
        rotated_at: None,
    }
}

/// Puts the ground there.
pub(crate) async fn ground(store: &Store) -> Ground {
    let organisation = Organisation {
        id: new_id!(OrganisationId),
        name: name("acme"),
        created_at: at(0),
    };
    let one = project(organisation.id, "vision");
    let two = project(organisation.id, "speech");
    let (site, kind) = (site("fra1"), machine_type("h100-sxm5-80g.8x"));
    let (network, image) = (network("tenants"), image(None, "debian-12"));
    let operator = token(None, "operator");
    let ground = Ground {
        organisation: organisation.id,
        project: one.id,
        other_project: two.id,
        site: site.id,
        machine_type: kind.name.clone(),
        network: network.id,
        image: image.id,
        token: operator.id,
    };
    let batch = Batch::new()
        .with(Write::PutOrganisation(organisation))
        .with(Write::PutProject(one))
        .with(Write::PutProject(two))
        .with(Write::PutSite(site))
        .with(Write::PutMachineType(kind))
        .with(Write::PutNetwork(network))
        .with(Write::PutImage(Box::new(image)))
        .with(Write::PutToken {
            token: operator,
            hash: Some([9; 32]),
        })
        .audited(row("test.ground"));
    store.commit(batch).await.expect("the ground is laid");
    ground
}

/// A machine as it is after enrolment; `n` makes it differ from others.
pub(crate) fn machine(ground: &Ground, n: u32) -> Machine {
    let [_, _, high, low] = n.to_be_bytes();
    Machine {
        id: new_id!(MachineId),
        name: name(&format!("r1-u{n}")),
        site: ground.site,
        rack: Some("r1".into()),
        machine_type: ground.machine_type.clone(),
        expected_serial: None,
        bmc: BmcEndpoint {
            address: format!("https://192.0.2.{low}:{}", 8000 + u32::from(high)),
            user: "billet".into(),
            fingerprint: None,
        },
        addresses: vec![address(ground.network, Ipv4Addr::new(10, 7, high + 1, low))],
        lifecycle: Lifecycle::Enrolled,
        step: Step::Rest,
        attempts: 0,
        waiting: None,
        hold: None,
        power: None,
        health: Health::Unknown,
        may_hold_data: true,
        cordoned: None,
        unconfirmed: false,
        emulation: Emulation::None,
        inventory: Some(Inventory {
            gpus: vec![Gpu::default(); 8],
            ..Inventory::default()
        }),
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
        upkeep: Default::default(),
        warm: Default::default(),
        power_request: None,
        wake_at: at(i64::from(n)),
        step_since: at(0),
        created_at: at(0),
        version: 0,
    }
}

pub(crate) fn address(network: NetworkId, ip: Ipv4Addr) -> Address {
    Address {
        network,
        ip,
        prefix: 16,
        gateway: None,
        dns: Vec::new(),
        reached_at: ip,
        mac: None,
    }
}

/// A machine, put there.
pub(crate) async fn enrolled(store: &Store, ground: &Ground, n: u32) -> Machine {
    let machine = machine(ground, n);
    let id = machine.id;
    store
        .commit(put(Write::PutMachine(Box::new(machine))))
        .await
        .expect("a machine is enrolled");
    store
        .machine(id)
        .await
        .expect("it is read")
        .expect("it is there")
}

pub(crate) fn lease(ground: &Ground, machine: MachineId, called: &str) -> Lease {
    Lease {
        id: new_id!(LeaseId),
        name: name(called),
        project: ground.project,
        mode: LeaseMode::Dedicated,
        state: LeaseState::Deploying,
        reason: None,
        machine,
        machine_type: ground.machine_type.clone(),
        image: ground.image,
        spec: LeaseSpec::default(),
        tags: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
        ends_at: None,
        active_because: None,
        host_keys: Vec::new(),
        written: None,
        firmware_before: None,
        operation: new_id!(OperationId),
        created_at: at(0),
        active_at: None,
        ended_at: None,
        leaving_at: None,
        warned_at: None,
        visits: Vec::new(),
        rescue: None,
        measurements: Vec::new(),
        root_drive: None,
        before_reinstall: None,
        earlier_visits: 0,
        first_start: None,
        begun_anew: 0,
        install: None,
        layout: None,
        file_systems: None,
        version: 0,
    }
}

/// A lease, put there; it holds nothing.
pub(crate) async fn leased(store: &Store, lease: &Lease) -> Lease {
    store
        .commit(put(Write::PutLease(Box::new(lease.clone()))))
        .await
        .expect("a lease is made");
    store
        .lease(lease.id)
        .await
        .expect("it is read")
        .expect("it is there")
}
