//! The faults that were seen in the field, played by the lab's BMC: what the client makes of each.

use crate::common;

use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use billet_bmc::{BmcClient, BmcError, Discovery, Timeouts};
use billet_lab::faults::{CATALOGUE, NewFault};
use billet_lab::{Lab, LabMachine, LabOptions, Model};
use billet_model::bmc::{
    BmcEndpoint, BmcFact, BmcFailure, BmcReply, BmcRequest, BootTarget, FirmwareSettings,
    PasswordThatWorks, PowerAction, Restore,
};
use billet_model::lifecycle::Power;
use billet_model::{BootId, Secret};
use serde_json::{Value, json};

const DONE: BmcReply = BmcReply::Done {
    fact: BmcFact::Done,
};
const ON: BmcRequest = BmcRequest::Power {
    action: PowerAction::On,
};
const OFF: BmcRequest = BmcRequest::Power {
    action: PowerAction::Off,
};
const CD_ONCE: BmcRequest = BmcRequest::SetBoot {
    target: BootTarget::CdOnce,
};

/// A lab of one phantom, and who speaks to its BMC.
struct Bench {
    lab: Lab,
    machine: LabMachine,
    client: BmcClient,
    media: String,
}

impl Bench {
    async fn new() -> Self {
        let lab = Lab::start(LabOptions {
            phantoms: 1,
            phantom_models: vec![Model::Cpu],
            ..LabOptions::default()
        });
        let lab = lab.await.unwrap();
        let machine = lab.machines().remove(0);
        let client = client(&machine, Some(&machine.fingerprint), common::quick());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let media = format!("http://{}/boot.iso", listener.local_addr().unwrap());
        let router = Router::new().route("/boot.iso", get(async || vec![0u8; 64 << 10]));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            lab,
            machine,
            client,
            media,
        }
    }

    /// A bench with this fault armed.
    async fn with(fault: Value) -> Self {
        let bench = Self::new().await;
        bench.arm(fault);
        bench
    }

    fn arm(&self, mut fault: Value) {
        fault["machine"] = json!(self.machine.name);
        let fault: NewFault = serde_json::from_value(fault).unwrap();
        self.lab.faults().add(fault).unwrap();
    }

    fn struck(&self) -> u64 {
        self.lab.faults().list().iter().map(|f| f.struck).sum()
    }

    async fn ask(&self, request: &BmcRequest) -> BmcReply {
        self.client.carry_out(request, Some(&self.media)).await
    }

    async fn insert(&self) -> BmcReply {
        let boot = BootId::from_parts(1, [0; 10]);
        self.ask(&BmcRequest::InsertMedia { boot }).await
    }

    async fn discover(&self) -> Discovery {
        self.client.discover().await.unwrap()
    }

    /// Asks the BMC itself, past the client.
    async fn raw(&self, method: reqwest::Method, path: &str, body: Value) -> reqwest::Response {
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .no_proxy()
            .build()
            .unwrap();
        let request = client
            .request(method, format!("{}{path}", self.machine.bmc))
            .basic_auth(&self.machine.user, Some(&self.machine.password));
        request.json(&body).send().await.unwrap()
    }
}

fn client(machine: &LabMachine, fingerprint: Option<&str>, timeouts: Timeouts) -> BmcClient {
    let endpoint = BmcEndpoint {
        address: machine.bmc.clone(),
        user: machine.user.clone(),
        fingerprint: fingerprint.map(str::to_owned),
    };
    BmcClient::new(&endpoint, Secret::new(machine.password.clone()), timeouts).unwrap()
}

fn failed(reply: BmcReply) -> (BmcFailure, String) {
    match reply {
        BmcReply::Failed { kind, detail } => (kind, detail),
        other => panic!("expected a certain failure, got {other:?}"),
    }
}

fn noted(found: &Discovery, words: &str) -> bool {
    found.inventory.notes.iter().any(|n| n.contains(words))
}

#[tokio::test]
async fn a_change_answered_200_with_nothing_in_it_is_read_back() {
    let b = Bench::with(json!({"at": "boot", "kind": "bare", "ms": 150})).await;
    assert_eq!(b.ask(&CD_ONCE).await, DONE);
    b.arm(json!({"at": "media", "kind": "bare", "ms": 150}));
    assert_eq!(b.insert().await, DONE);
    assert!(b.discover().await.virtual_media.iter().any(|s| s.inserted));
    // It is also how a power action may be answered: then a reading tells.
    b.arm(json!({"at": "power", "kind": "bare", "ms": 300, "count": 1}));
    assert_eq!(b.ask(&ON).await, DONE);
    assert_eq!(b.client.power().await.unwrap(), Power::Off);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(b.client.power().await.unwrap(), Power::On);
    b.lab.stop().await;
}

#[tokio::test]
async fn an_override_that_is_obeyed_and_not_shown() {
    let b = Bench::with(json!({"at": "read", "kind": "hide_boot"})).await;
    let reply = b.ask(&CD_ONCE).await;
    let BmcReply::Done {
        fact: BmcFact::Unshown { shows },
    } = reply
    else {
        panic!("{reply:?}")
    };
    assert_eq!(shows, "Disabled None");
    // The next time it is known, and not waited for in every way there is.
    let began = Instant::now();
    assert!(matches!(b.ask(&CD_ONCE).await, BmcReply::Done { .. }));
    assert!(began.elapsed() < common::quick().settle * 3);
    b.lab.faults().clear();
    let boot = b.discover().await.boot;
    assert_eq!(boot.override_target.as_deref(), Some("Cd"));
    assert_eq!(boot.override_enabled.as_deref(), Some("Once"));
    b.lab.stop().await;
}

#[tokio::test]
async fn what_appears_only_after_a_reset_of_the_bmc() {
    let b = Bench::with(json!({
        "at": "read", "kind": "hidden_until_reset", "property": "VirtualMedia",
    }))
    .await;
    let hide = json!({"at": "read", "kind": "hidden_until_reset", "property": "Attributes"});
    b.arm(hide);
    let settings = b.client.firmware_settings().await.unwrap();
    assert!(settings.bios.is_empty());
    assert!(
        settings.not_read.contains_key("BIOS settings"),
        "{settings:?}"
    );
    assert!(noted(&b.discover().await, "no virtual CD"));
    let (kind, detail) = failed(b.insert().await);
    assert_eq!(kind, BmcFailure::Refused);
    assert!(detail.contains("only after a reset of the BMC"), "{detail}");
    let reset = "/redfish/v1/Managers/1/Actions/Manager.Reset";
    b.raw(reqwest::Method::POST, reset, json!({})).await;
    // The same client: nothing of what was not there is remembered, and the session is made anew.
    assert_eq!(b.insert().await, DONE);
    let settings = b.client.firmware_settings().await.unwrap();
    assert!(!settings.bios.is_empty());
    b.lab.stop().await;
}

#[tokio::test]
async fn what_is_not_found_until_its_parent_was_read() {
    let b = Bench::with(json!({"at": "read", "kind": "parent_first"})).await;
    let found = b.discover().await;
    assert!(b.struck() > 0);
    assert_eq!(found.inventory.drives.len(), b.machine.drives.len());
    assert!(!found.inventory.pci.is_empty());
    assert!(
        !found.inventory.notes.iter().any(|n| n.contains("404")),
        "{:?}",
        found.inventory.notes
    );
    // A client that knows the path from before, and a BMC that has forgotten.
    b.arm(json!({"at": "read", "kind": "restart", "ms": 200, "count": 1}));
    assert_eq!(b.client.power().await.unwrap(), Power::Off);
    b.lab.stop().await;
}

#[tokio::test]
async fn what_is_refused_while_the_machine_is_on() {
    let b = Bench::with(json!({"at": "any", "kind": "needs_off"})).await;
    assert_eq!(b.ask(&ON).await, DONE);
    for reply in [b.ask(&CD_ONCE).await, b.insert().await] {
        let (kind, detail) = failed(reply);
        assert_eq!(kind, BmcFailure::Refused);
        assert!(detail.contains("power it off first"), "{detail}");
    }
    assert_eq!(b.ask(&OFF).await, DONE);
    assert_eq!(b.ask(&CD_ONCE).await, DONE);
    assert_eq!(b.insert().await, DONE);
    b.lab.stop().await;
}

#[tokio::test]
async fn a_503_for_a_while_is_waited_for_by_reads_and_never_by_changes() {
    let b = Bench::with(json!({"at": "any", "kind": "busy", "ms": 900, "count": 1})).await;
    assert_eq!(b.client.power().await.unwrap(), Power::Off);
    b.arm(json!({"at": "power", "kind": "busy", "ms": 100, "count": 1}));
    let reply = b.ask(&ON).await;
    assert!(matches!(reply, BmcReply::Uncertain { .. }), "{reply:?}");
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(b.client.power().await.unwrap(), Power::Off, "not repeated");
    // Longer than is waited: the BMC is told to be gone, and nothing was done.
    b.arm(json!({"at": "any", "kind": "busy", "ms": 60_000, "count": 1}));
    let (kind, detail) = failed(b.ask(&ON).await);
    assert_eq!(kind, BmcFailure::Unreachable);
    assert!(detail.contains("503"), "{detail}");
    b.lab.stop().await;
}

#[tokio::test]
async fn power_that_is_not_what_it_reads() {
    for (says, expected) in [
        ("on", Power::On),
        ("paused", Power::On),
        ("powering_off", Power::Changing),
        ("nothing", Power::Unknown),
    ] {
        let lie = json!({"at": "read", "kind": "lie_power", "says": says});
        let b = Bench::with(lie).await;
        assert_eq!(b.client.power().await.unwrap(), expected, "{says}");
        // Off already, and it does not read so: not for the client to decide.
        let (kind, _) = failed(b.ask(&OFF).await);
        assert_eq!(kind, BmcFailure::Refused, "{says}");
        b.lab.stop().await;
    }
}

#[tokio::test]
async fn members_null_ids_empty_and_no_chassis_type_cost_nothing_else() {
    let b = Bench::new().await;
    let whole = b.discover().await.inventory;
    b.arm(json!({"at": "read", "kind": "no_chassis_type"}));
    b.arm(json!({"at": "read", "kind": "empty_ids"}));
    b.arm(json!({"at": "read", "kind": "null_members", "path": "/Memory"}));
    let found = b.discover().await;
    let odd = &found.inventory;
    assert!(odd.memory.modules.is_empty() && odd.memory.total_bytes > 0);
    assert!(noted(
        &found,
        "Memory: the answer cannot be understood: its members are null"
    ));
    assert!(noted(&found, "a member without a link"));
    assert_eq!(odd.cpus.len(), whole.cpus.len());
    assert_eq!(odd.drives.len(), whole.drives.len());
    let names = |i: &billet_model::inventory::Inventory| -> Vec<String> {
        i.drives.iter().map(|d| d.name.clone()).collect()
    };
    assert_eq!(names(odd), names(&whole), "a name from the path");
    assert_eq!(odd.nics, whole.nics);
    assert_eq!(odd.pci, whole.pci);
    assert_eq!(odd.sensors, whole.sensors);
    // Without a single system there is no machine, and that is certain.
    b.arm(json!({"at": "read", "kind": "null_members", "path": "/v1/Systems"}));
    let fresh = client(&b.machine, None, common::quick());
    let error = fresh.discover().await.unwrap_err();
    assert!(matches!(error, BmcError::Malformed { .. }), "{error}");
    b.lab.stop().await;
}

#[tokio::test]
async fn a_slot_that_wants_an_eject_before_every_insert() {
    let b = Bench::with(json!({"at": "media", "kind": "eject_first"})).await;
    assert_eq!(b.insert().await, DONE, "it shows empty, and is not");
    assert_eq!(b.insert().await, DONE, "what is in comes out");
    assert_eq!(b.ask(&BmcRequest::EjectMedia).await, DONE);
    assert_eq!(b.insert().await, DONE);
    assert_eq!(b.struck(), 1);
    b.lab.stop().await;
}

#[tokio::test]
async fn all_session_slots_taken_leaves_basic() {
    let b = Bench::with(json!({"at": "session", "kind": "no_sessions"})).await;
    assert_eq!(b.ask(&ON).await, DONE);
    assert_eq!(b.client.power().await.unwrap(), Power::On);
    assert_eq!(b.struck(), 1, "asked for once, not at every request");
    b.lab.stop().await;
}

#[tokio::test]
async fn a_password_that_must_be_changed_first() {
    let b = Bench::with(json!({"at": "session", "kind": "password_expired"})).await;
    let error = b.client.discover().await.unwrap_err();
    let BmcError::PasswordChange { user, account, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*user, b.machine.user);
    assert_eq!(
        account.as_deref(),
        Some("/redfish/v1/AccountService/Accounts/1")
    );
    assert!(
        error.to_string().contains("change it at the BMC"),
        "{error}"
    );
    assert!(!error.to_string().contains(&b.machine.password));
    assert_eq!(failed(b.ask(&ON).await).0, BmcFailure::PasswordChange);
    // It was not offered again and again, and the session was given back.
    let sessions = "/redfish/v1/SessionService/Sessions";
    let new = json!({"Password": "another-password"});
    let account = account.as_deref().unwrap();
    let changed = b.raw(reqwest::Method::PATCH, account, new).await;
    assert_eq!(changed.status(), 200);
    let machine = b.lab.machines().remove(0);
    let fresh = client(&machine, None, common::quick());
    assert_eq!(fresh.power().await.unwrap(), Power::Off);
    let b = Bench { machine, ..b };
    let listed = b.raw(reqwest::Method::GET, sessions, json!({})).await;
    let listed: Value = listed.json().await.unwrap();
    assert_eq!(listed["Members"].as_array().unwrap().len(), 1, "{listed}");
    b.lab.stop().await;
}

const NEXT: PasswordThatWorks = PasswordThatWorks::Next;

fn works(reply: BmcReply) -> PasswordThatWorks {
    match reply {
        BmcReply::Done {
            fact: BmcFact::Password { works },
        } => works,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn another_password_is_set_and_signed_in_with() {
    let b = Bench::new().await;
    let next = Secret::new("Abcdefgh12345678");
    assert_eq!(b.client.power().await.unwrap(), Power::Off);
    let before = works(b.client.try_passwords(&next).await);
    assert_eq!(before, PasswordThatWorks::Current);
    assert_eq!(works(b.client.set_password(&next).await), NEXT);
    assert_eq!(works(b.client.try_passwords(&next).await), NEXT);
    let wrong = Secret::new("never-was-it");
    let neither = b.client.try_passwords(&wrong).await;
    assert_eq!(works(neither), PasswordThatWorks::Neither);
    // What must be changed first is changed, and nothing else was needed.
    b.arm(json!({"at": "session", "kind": "password_expired"}));
    let machine = b.lab.machines().remove(0);
    let expired = client(&machine, None, common::quick());
    let third = Secret::new("Zyxwvuts87654321");
    assert_eq!(works(expired.set_password(&third).await), NEXT);
    let machine = b.lab.machines().remove(0);
    assert_eq!(machine.password, third.expose());
    b.lab.stop().await;
}

#[tokio::test]
async fn a_lost_answer_to_another_password_is_uncertain_and_looked_at() {
    let b = Bench::new().await;
    let next = Secret::new("Abcdefgh12345678");
    b.client.firmware_settings().await.unwrap();
    b.arm(json!({"at": "any", "kind": "late", "ms": 9000, "count": 1}));
    // Not at the login, which would come late as well: that is done.
    let reply = b.client.set_password(&next).await;
    assert!(matches!(reply, BmcReply::Uncertain { .. }), "{reply:?}");
    let now = works(b.client.try_passwords(&next).await);
    assert_eq!(now, PasswordThatWorks::Current, "it is late");
    let began = Instant::now();
    while works(b.client.try_passwords(&next).await) != NEXT {
        assert!(began.elapsed() < Duration::from_secs(30), "it never came");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    b.lab.stop().await;
}

#[tokio::test]
async fn a_password_that_the_policy_refuses() {
    let b = Bench::with(json!({"at": "any", "kind": "password_policy"})).await;
    let plain = Secret::new("Abcdefgh12345678");
    let (kind, detail) = failed(b.client.set_password(&plain).await);
    assert_eq!(kind, BmcFailure::Refused);
    assert!(!detail.contains(plain.expose()), "{detail}");
    let marked = Secret::new("Abcdefgh-123_567");
    assert_eq!(works(b.client.set_password(&marked).await), NEXT);
    b.lab.stop().await;
}

/// Another account, as a tenant's root may make one from inside.
async fn intruder(b: &Bench) {
    let new = json!({"UserName": "mallory", "Password": "mallory-1234", "RoleId": "Administrator"});
    let accounts = "/redfish/v1/AccountService/Accounts";
    let made = b.raw(reqwest::Method::POST, accounts, new).await;
    assert_eq!(made.status(), 201);
}

fn remove(settings: &FirmwareSettings) -> BmcRequest {
    let accounts = settings.accounts.as_ref().unwrap();
    let one = accounts.iter().find(|a| a.user == "mallory").unwrap();
    BmcRequest::Restore {
        what: Restore::RemoveAccount {
            id: one.id.clone(),
            user: one.user.clone(),
        },
    }
}

#[tokio::test]
async fn what_is_set_is_read_and_put_back() {
    let b = Bench::new().await;
    let before = b.client.firmware_settings().await.unwrap();
    assert_eq!(before.not_read, Default::default());
    assert_eq!(before.accounts.as_ref().unwrap().len(), 1);
    assert_eq!(before.boot_options["Boot0002"], "UEFI: PXE IPv4 Port 1");
    intruder(&b).await;
    let system = "/redfish/v1/Systems/1";
    let order = json!({"Boot": {"BootOrder": ["Boot0002", "Boot0001", "Boot0003"]}});
    b.raw(reqwest::Method::PATCH, system, order).await;
    let lasting = json!({"Boot": {
        "BootSourceOverrideEnabled": "Continuous", "BootSourceOverrideTarget": "Pxe",
    }});
    b.raw(reqwest::Method::PATCH, system, lasting).await;
    let settings = "/redfish/v1/Systems/1/Bios/Settings";
    let bios = json!({"Attributes": {"SysProfile": "Custom"}});
    b.raw(reqwest::Method::PATCH, settings, bios).await;
    assert_eq!(b.ask(&ON).await, DONE);
    let after = b.client.firmware_settings().await.unwrap();
    assert_eq!(after.accounts.as_ref().unwrap().len(), 2);
    assert_eq!(after.boot_order[0], "Boot0002");
    assert_eq!(after.boot_override, "Continuous Pxe");
    assert_eq!(after.bios["SysProfile"], "Custom");
    for what in [
        Restore::Bios {
            attributes: before.bios.clone(),
        },
        Restore::BootOrder {
            order: before.boot_order.clone(),
        },
    ] {
        assert_eq!(b.ask(&BmcRequest::Restore { what }).await, DONE);
    }
    assert_eq!(b.ask(&remove(&after)).await, DONE);
    assert_eq!(b.ask(&remove(&after)).await, DONE, "gone is gone");
    let disk = BmcRequest::SetBoot {
        target: BootTarget::Disk,
    };
    assert_eq!(b.ask(&disk).await, DONE);
    // BIOS settings hold from the next boot on.
    assert_eq!(b.ask(&OFF).await, DONE);
    assert_eq!(b.ask(&ON).await, DONE);
    assert_eq!(b.client.firmware_settings().await.unwrap(), before);
    // One attribute that is refused costs only itself.
    let mut attributes = before.bios.clone();
    attributes.insert("SysProfile".into(), "Custom".into());
    attributes.insert("NodeInterleave".into(), "Perhaps".into());
    let what = Restore::Bios { attributes };
    let (kind, detail) = failed(b.ask(&BmcRequest::Restore { what }).await);
    assert_eq!(kind, BmcFailure::Refused);
    assert!(
        detail.contains("NodeInterleave") && !detail.contains("SysProfile,"),
        "{detail}"
    );
    assert_eq!(b.ask(&OFF).await, DONE);
    assert_eq!(b.ask(&ON).await, DONE);
    let now = b.client.firmware_settings().await.unwrap();
    assert_eq!(now.bios["SysProfile"], "Custom");
    b.lab.stop().await;
}

#[tokio::test]
async fn an_account_that_cannot_be_deleted_is_disabled() {
    for (enabled, kind) in [(false, None), (true, Some(BmcFailure::Refused))] {
        let fault = json!({"at": "any", "kind": "accounts_stay", "enabled": enabled});
        let b = Bench::with(fault).await;
        intruder(&b).await;
        let after = b.client.firmware_settings().await.unwrap();
        let reply = b.ask(&remove(&after)).await;
        let now = b.client.firmware_settings().await.unwrap();
        let accounts = now.accounts.unwrap();
        let mallory = accounts.iter().find(|a| a.user == "mallory").unwrap();
        match kind {
            None => assert_eq!(reply, DONE),
            Some(kind) => assert_eq!(failed(reply).0, kind),
        }
        assert_eq!(mallory.enabled, Some(enabled));
        b.lab.stop().await;
    }
}

#[tokio::test]
async fn an_altered_role_is_put_back_and_our_own_account_is_never_taken() {
    let b = Bench::new().await;
    intruder(&b).await;
    let before = b.client.firmware_settings().await.unwrap();
    let accounts = before.accounts.unwrap();
    let mut account = accounts
        .iter()
        .find(|a| a.user == "mallory")
        .unwrap()
        .clone();
    account.role = Some("ReadOnly".into());
    account.enabled = Some(false);
    let what = Restore::PutAccount {
        account: account.clone(),
    };
    assert_eq!(b.ask(&BmcRequest::Restore { what }).await, DONE);
    let now = b.client.firmware_settings().await.unwrap();
    assert!(now.accounts.unwrap().contains(&account));
    let own = accounts.iter().find(|a| a.user == b.machine.user).unwrap();
    let what = Restore::RemoveAccount {
        id: own.id.clone(),
        user: own.user.clone(),
    };
    let refused = failed(b.ask(&BmcRequest::Restore { what }).await);
    assert_eq!(refused.0, BmcFailure::Refused);
    b.lab.stop().await;
}

#[tokio::test]
async fn firmware_of_another_version_shows() {
    let b = Bench::new().await;
    let before = b.client.firmware_settings().await.unwrap();
    b.arm(json!({"at": "read", "kind": "other_firmware", "version": "9.9"}));
    let now = b.client.firmware_settings().await.unwrap();
    assert_ne!(before.versions["BIOS"], "9.9");
    assert_eq!(now.versions["BIOS"], "9.9");
    b.lab.stop().await;
}

#[tokio::test]
async fn a_bmc_that_restarts_in_the_middle() {
    // While it is read: the same discovery goes on where it was.
    let b = Bench::new().await;
    let whole = b.discover().await.inventory;
    b.arm(json!({"at": "read", "kind": "restart", "ms": 400, "count": 1}));
    let found = b.discover().await;
    assert_eq!(found.inventory, whole);
    // While it changes something: nobody knows, and it is not repeated.
    for done in [false, true] {
        let restart =
            json!({"at": "power", "kind": "restart", "ms": 200, "done": done, "count": 1});
        b.arm(restart);
        let reply = b.ask(&ON).await;
        assert!(matches!(reply, BmcReply::Uncertain { .. }), "{reply:?}");
        let expected = if done { Power::On } else { Power::Off };
        assert_eq!(b.client.power().await.unwrap(), expected, "done: {done}");
    }
    b.lab.stop().await;
}

#[tokio::test]
async fn a_slow_answer_is_waited_for() {
    // As 90 seconds are to the real waits: less than one answer may take.
    let b = Bench::with(json!({"at": "read", "kind": "delay", "ms": 1500, "count": 1})).await;
    let began = Instant::now();
    assert_eq!(b.client.power().await.unwrap(), Power::Off);
    assert!(began.elapsed() >= Duration::from_millis(1500));
    assert_eq!(b.struck(), 0, "it was asked once");
    b.lab.stop().await;
}

#[tokio::test]
async fn a_certificate_that_changed_is_told_and_never_trusted() {
    let b = Bench::new().await;
    let pinned = b.machine.fingerprint.clone();
    b.arm(json!({"at": "connect", "kind": "new_certificate", "count": 1}));
    for request in [ON, BmcRequest::ReadPower, BmcRequest::Discover] {
        let (kind, detail) = failed(b.ask(&request).await);
        assert_eq!(kind, BmcFailure::Certificate);
        assert!(detail.contains(&pinned), "{detail}");
    }
    let shown = b.lab.machines().remove(0).fingerprint;
    assert_ne!(shown, pinned);
    let Err(BmcError::Certificate { shown: told, .. }) = b.client.power().await else {
        panic!("it was trusted")
    };
    assert_eq!(told, shown);
    // The way to accept the new one: to say which it is.
    let accepted = client(&b.machine, Some(&shown), common::quick());
    assert_eq!(accepted.power().await.unwrap(), Power::Off);
    b.lab.stop().await;
}

#[tokio::test]
async fn an_override_that_is_shown_and_not_obeyed_is_the_loops_affair() {
    let b = Bench::with(json!({"at": "start", "kind": "forget_boot", "count": 1})).await;
    assert_eq!(b.ask(&CD_ONCE).await, DONE);
    assert_eq!(b.ask(&ON).await, DONE);
    assert_eq!(b.struck(), 0, "spent by the start");
    let metal = b.client.power().await.unwrap();
    assert_eq!(metal, Power::On);
    b.lab.stop().await;
}

/// Whoever adds a fault of BMCs adds what the client makes of it.
#[test]
fn every_fault_of_bmcs_is_played_here() {
    let here = include_str!("faults.rs");
    let elsewhere = [
        // Of the machine, and not of its BMC.
        "no_start",
        "drive_gone",
        "no_system",
        "drive_errors",
        "power_cut",
        "silence",
        "kexec_refused",
        "kexec_hangs",
        // Of any server; `endings.rs` has them.
        "refuse",
        "drop",
        "status",
        "hang",
        "late",
    ];
    for row in CATALOGUE {
        let kind = format!("\"{}\"", row.kind);
        assert!(
            elsewhere.contains(&row.kind) || here.contains(&kind),
            "{kind} is not played"
        );
    }
}
