//! How a change ends: done, not done, or nobody knows. And what reads may cost.

use crate::common;

use crate::common::fake::{Fake, RESET, SESSIONS, SYSTEM, Twist};
use crate::common::{PASSWORD, USER, client};
use axum::http::Method;
use billet_model::BootId;
use billet_model::bmc::{
    BmcEndpoint, BmcFact, BmcFailure, BmcReply, BmcRequest, BootTarget, PowerAction,
};
use billet_model::lifecycle::Power;
use serde_json::json;

const ON: BmcRequest = BmcRequest::Power {
    action: PowerAction::On,
};
const DONE: BmcReply = BmcReply::Done {
    fact: BmcFact::Done,
};

fn kind(reply: &BmcReply) -> BmcFailure {
    match reply {
        BmcReply::Failed { kind, .. } => *kind,
        other => panic!("expected a certain failure, got {other:?}"),
    }
}

fn is_uncertain(reply: &BmcReply) -> bool {
    matches!(reply, BmcReply::Uncertain { .. })
}

#[tokio::test]
async fn a_change_that_works() {
    let (fake, bmc) = Fake::start().await;
    assert_eq!(bmc.client().carry_out(&ON, None).await, DONE);
    assert_eq!(fake.state().power, "On");
    assert_eq!(fake.count(&format!("POST {RESET}")), 1);
}

#[tokio::test]
async fn a_refused_connection_did_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let endpoint = BmcEndpoint {
        address: format!("https://{address}"),
        user: USER.into(),
        fingerprint: None,
    };
    let client = client(&endpoint, PASSWORD);
    for request in [ON, BmcRequest::ReadPower, BmcRequest::Discover] {
        let reply = client.carry_out(&request, None).await;
        assert_eq!(kind(&reply), BmcFailure::Unreachable, "{request:?}");
    }
}

#[tokio::test]
async fn a_connection_that_never_speaks_tls_did_nothing() {
    // Accepts, and says nothing: the kernel alone does the accepting.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = BmcEndpoint {
        address: format!("https://{}", listener.local_addr().unwrap()),
        user: USER.into(),
        fingerprint: None,
    };
    let mut timeouts = common::quick();
    timeouts.connect = std::time::Duration::from_millis(300);
    let client =
        billet_bmc::BmcClient::new(&endpoint, billet_model::Secret::new(PASSWORD), timeouts)
            .unwrap();
    let reply = client.carry_out(&ON, None).await;
    assert_eq!(kind(&reply), BmcFailure::Unreachable);
}

#[tokio::test]
async fn whatever_loses_the_answer_of_a_change_is_uncertain_and_sent_once() {
    for twist in [
        Twist::Hang,
        Twist::DoAndHang,
        Twist::Cut,
        Twist::DoAndCut,
        Twist::Answer(500, json!({})),
        Twist::Answer(502, json!({})),
        Twist::Answer(503, json!({})),
        Twist::Answer(504, json!({})),
        Twist::Answer(408, json!({})),
    ] {
        let (fake, bmc) = Fake::start().await;
        fake.twist(Method::POST, RESET, 9, twist.clone());
        let reply = bmc.client().carry_out(&ON, None).await;
        assert!(is_uncertain(&reply), "{twist:?}: {reply:?}");
        assert_eq!(
            fake.count(&format!("POST {RESET}")),
            1,
            "{twist:?} was repeated"
        );
    }
}

#[tokio::test]
async fn a_connection_kept_from_before_does_not_make_changes_uncertain() {
    let (fake, bmc) = Fake::start().await;
    let client = bmc.client();
    client.power().await.unwrap();
    let endpoint = bmc.endpoint();
    drop(bmc);
    // The BMC has gone away; a change over the old connection could not tell.
    for _ in 0..50 {
        if std::net::TcpStream::connect(endpoint.address.trim_start_matches("https://")).is_err() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let reply = client.carry_out(&ON, None).await;
    assert_eq!(kind(&reply), BmcFailure::Unreachable);
    assert_eq!(fake.count("POST /redfish/v1/Systems"), 0);
}

#[tokio::test]
async fn clear_refusals_are_certain() {
    for (status, expected) in [
        (400, BmcFailure::Refused),
        (404, BmcFailure::Refused),
        (405, BmcFailure::Refused),
        (409, BmcFailure::Refused),
        (429, BmcFailure::Refused),
        (501, BmcFailure::Refused),
        (403, BmcFailure::Credentials),
    ] {
        let (fake, bmc) = Fake::start().await;
        let words = json!({"error": {"@Message.ExtendedInfo": [{"Message": "The lid is open."}]}});
        fake.twist(Method::POST, RESET, 9, Twist::Answer(status, words));
        let reply = bmc.client().carry_out(&ON, None).await;
        assert_eq!(kind(&reply), expected, "{status}");
        let BmcReply::Failed { detail, .. } = reply else {
            unreachable!()
        };
        assert!(detail.contains("The lid is open."), "{detail}");
    }
}

#[tokio::test]
async fn on_already_is_done() {
    // It says so.
    let (fake, bmc) = Fake::start().await;
    let words = json!({"error": {"message": "The server is already powered ON."}});
    fake.twist(Method::POST, RESET, 1, Twist::Answer(409, words));
    assert_eq!(bmc.client().carry_out(&ON, None).await, DONE);
    // It only refuses, but it is on.
    let (fake, bmc) = Fake::start().await;
    fake.state().power = "On";
    let words = json!({"error": {"message": "InvalidOperationForSystemState"}});
    fake.twist(Method::POST, RESET, 1, Twist::Answer(400, words));
    assert_eq!(bmc.client().carry_out(&ON, None).await, DONE);
}

#[tokio::test]
async fn power_words_follow_what_is_offered() {
    for (action, offered, expected) in [
        (
            PowerAction::Cycle,
            json!(["PowerCycle", "ForceRestart"]),
            "PowerCycle",
        ),
        (
            PowerAction::Cycle,
            json!(["ForceRestart", "On"]),
            "ForceRestart",
        ),
        (
            PowerAction::Reset,
            json!(["PowerCycle", "ForceRestart"]),
            "ForceRestart",
        ),
        (PowerAction::On, json!(["ForceOn"]), "ForceOn"),
        (PowerAction::Off, json!(["ForceOff"]), "ForceOff"),
        (
            PowerAction::Shutdown,
            json!(["GracefulShutdown"]),
            "GracefulShutdown",
        ),
    ] {
        let (fake, bmc) = Fake::start().await;
        fake.state().system = json!({"Actions": {"#ComputerSystem.Reset": {
            "target": RESET, "ResetType@Redfish.AllowableValues": offered,
        }}});
        fake.twist(Method::POST, RESET, 1, Twist::Forget);
        let reply = bmc
            .client()
            .carry_out(&BmcRequest::Power { action }, None)
            .await;
        assert_eq!(reply, DONE, "{action}");
        let asked = format!("POST {RESET} {{\"ResetType\":\"{expected}\"}}");
        assert_eq!(fake.count(&asked), 1, "{action}: {:?}", fake.state().log);
    }
    // What is not offered is not tried.
    let (fake, bmc) = Fake::start().await;
    fake.state().system = json!({"Actions": {"#ComputerSystem.Reset": {
        "target": RESET, "ResetType@Redfish.AllowableValues": ["PushPowerButton"],
    }}});
    let action = PowerAction::Off;
    let reply = bmc
        .client()
        .carry_out(&BmcRequest::Power { action }, None)
        .await;
    assert_eq!(kind(&reply), BmcFailure::Refused);
    assert_eq!(fake.count(&format!("POST {RESET}")), 0);
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_hammered() {
    let (fake, bmc) = Fake::start().await;
    let client = client(&bmc.endpoint(), "wrong");
    for request in [ON, BmcRequest::ReadPower, BmcRequest::Discover] {
        let reply = client.carry_out(&request, None).await;
        assert_eq!(kind(&reply), BmcFailure::Credentials, "{request:?}");
    }
    assert_eq!(fake.count(&format!("POST {SESSIONS}")), 1, "accounts lock");
    assert_eq!(fake.count(&format!("POST {RESET}")), 0);
}

#[tokio::test]
async fn a_forgotten_session_is_made_again_once() {
    let (fake, bmc) = Fake::start().await;
    let client = bmc.client();
    assert_eq!(client.power().await.unwrap(), Power::Off);
    fake.forget_sessions();
    assert_eq!(client.carry_out(&ON, None).await, DONE);
    assert_eq!(fake.count(&format!("POST {SESSIONS}")), 2);
    client.close().await;
    assert_eq!(fake.count("DELETE "), 1, "the session is given back");
}

#[tokio::test]
async fn full_session_slots_leave_basic() {
    let full = json!({"error": {"@Message.ExtendedInfo": [{
        "MessageId": "Base.1.8.SessionLimitExceeded",
        "Message": "The maximum number of user sessions is reached.",
    }]}});
    for status in [400, 403, 500, 503] {
        let (fake, bmc) = Fake::start().await;
        fake.twist(
            Method::POST,
            SESSIONS,
            99,
            Twist::Answer(status, full.clone()),
        );
        assert_eq!(bmc.client().carry_out(&ON, None).await, DONE, "{status}");
    }
    // And where there are no sessions at all.
    let (fake, bmc) = Fake::start().await;
    fake.twist(Method::POST, SESSIONS, 99, Twist::Answer(404, json!({})));
    assert_eq!(bmc.client().power().await.unwrap(), Power::Off);
}

#[tokio::test]
async fn a_login_that_is_lost_is_sent_once_more() {
    for (twist, sessions) in [(Twist::Cut, 1), (Twist::DoAndCut, 2)] {
        let (fake, bmc) = Fake::start().await;
        fake.twist(Method::POST, SESSIONS, 1, twist.clone());
        let power = bmc.client().power().await;
        assert_eq!(power.unwrap(), Power::Off, "{twist:?}");
        assert_eq!(fake.count(&format!("POST {SESSIONS}")), 2, "{twist:?}");
        assert_eq!(fake.sessions(), sessions, "{twist:?}");
    }
}

#[tokio::test]
async fn another_certificate_is_sent_nothing() {
    let (fake, bmc) = Fake::start().await;
    let mut endpoint = bmc.endpoint();
    endpoint.fingerprint = Some("00".repeat(32));
    let client = client(&endpoint, PASSWORD);
    for request in [ON, BmcRequest::ReadPower, BmcRequest::Discover] {
        let reply = client.carry_out(&request, None).await;
        assert_eq!(kind(&reply), BmcFailure::Certificate, "{request:?}");
        let BmcReply::Failed { detail, .. } = reply else {
            unreachable!()
        };
        assert!(
            detail.contains(&bmc.fingerprint),
            "it says what was shown: {detail}"
        );
    }
    assert!(fake.state().log.is_empty(), "not even the user's name");
}

#[tokio::test]
async fn without_a_pin_the_first_certificate_is_told_and_held_to() {
    let (_fake, bmc) = Fake::start().await;
    let mut endpoint = bmc.endpoint();
    endpoint.fingerprint = None;
    let client = client(&endpoint, PASSWORD);
    assert_eq!(client.fingerprint(), None);
    let found = client.discover().await.unwrap();
    assert_eq!(found.fingerprint, bmc.fingerprint);
    // Colons and capitals are how people write the same one.
    let written: Vec<String> = (0..32)
        .map(|i| bmc.fingerprint[i * 2..i * 2 + 2].to_uppercase())
        .collect();
    endpoint.fingerprint = Some(written.join(":"));
    assert_eq!(
        common::client(&endpoint, PASSWORD).power().await.unwrap(),
        Power::Off
    );
}

#[tokio::test]
async fn reads_are_repeated_and_never_uncertain() {
    let (fake, bmc) = Fake::start().await;
    fake.twist(Method::GET, SYSTEM, 3, Twist::Answer(503, json!({})));
    assert_eq!(bmc.client().power().await.unwrap(), Power::Off);
    let (fake, bmc) = Fake::start().await;
    fake.twist(Method::GET, SYSTEM, 1, Twist::Cut);
    fake.twist(Method::GET, SYSTEM, 1, Twist::Hang);
    assert_eq!(bmc.client().power().await.unwrap(), Power::Off);
    for (twist, expected) in [
        (Twist::Answer(503, json!({})), BmcFailure::Unreachable),
        (Twist::Hang, BmcFailure::Unreachable),
        (Twist::Answer(200, json!([1, 2])), BmcFailure::Malformed),
        (Twist::Answer(200, json!(null)), BmcFailure::Malformed),
    ] {
        let (fake, bmc) = Fake::start().await;
        fake.twist(Method::GET, SYSTEM, 999, twist.clone());
        let reply = bmc.client().carry_out(&BmcRequest::ReadPower, None).await;
        assert_eq!(kind(&reply), expected, "{twist:?}");
        // A change that must read first did nothing when it cannot.
        let reply = bmc.client().carry_out(&ON, None).await;
        assert_eq!(kind(&reply), expected, "{twist:?}");
        assert_eq!(fake.count(&format!("POST {RESET}")), 0);
    }
}

#[tokio::test]
async fn tasks_are_followed_to_their_end() {
    const TASK: &str = "/redfish/v1/TaskService/Tasks/9";
    let accepted = || {
        Twist::Headers(
            202,
            vec![("Location", "/redfish/v1/TaskService/Tasks/9")],
            json!({}),
        )
    };
    for (looks, expected) in [
        (
            vec![
                (202, json!({})),
                (200, json!({"TaskState": "Completed", "TaskStatus": "OK"})),
            ],
            Ok(()),
        ),
        (
            vec![(200, json!({"TaskState": "Running"})), (204, json!(null))],
            Ok(()),
        ),
        (
            vec![(503, json!({})), (200, json!({"JobState": "Completed"}))],
            Ok(()),
        ),
        (
            vec![(
                200,
                json!({"TaskState": "Exception", "Messages": [{"Message": "fuse"}]}),
            )],
            Err(true),
        ),
        (vec![(200, json!({"TaskState": "Cancelled"}))], Err(true)),
        (
            vec![(400, json!({"error": {"message": "fuse"}}))],
            Err(true),
        ),
        (
            vec![(200, json!({"TaskState": "Running"})), (404, json!({}))],
            Err(false),
        ),
    ] {
        let (fake, bmc) = Fake::start().await;
        fake.twist(Method::POST, RESET, 1, accepted());
        for (status, body) in &looks {
            fake.twist(Method::GET, TASK, 1, Twist::Answer(*status, body.clone()));
        }
        let reply = bmc.client().carry_out(&ON, None).await;
        match expected {
            Ok(()) => assert_eq!(reply, DONE, "{looks:?}"),
            Err(true) => assert_eq!(kind(&reply), BmcFailure::Refused, "{looks:?}"),
            Err(false) => assert!(is_uncertain(&reply), "{looks:?}: {reply:?}"),
        }
    }
    // One that never ends.
    let (fake, bmc) = Fake::start().await;
    fake.twist(Method::POST, RESET, 1, accepted());
    fake.twist(
        Method::GET,
        TASK,
        999,
        Twist::Answer(200, json!({"TaskState": "Running"})),
    );
    assert!(is_uncertain(&bmc.client().carry_out(&ON, None).await));
}

/// A BMC without Basic authentication whose session service is down for a while says nothing of
/// the password, whatever it answers meanwhile.
#[tokio::test]
async fn a_passing_trouble_with_sessions_is_no_wrong_password() {
    let (fake, bmc) = Fake::start().await;
    fake.state().basic = false;
    for twist in [
        Twist::Answer(503, json!({})),
        Twist::Answer(500, json!({"error": {"message": "too many sessions"}})),
        Twist::Cut,
    ] {
        fake.twist(Method::POST, SESSIONS, 3, twist.clone());
        let client = bmc.client();
        assert_eq!(client.carry_out(&ON, None).await, DONE, "{twist:?}");
    }
    assert_eq!(fake.count(&format!("POST {RESET}")), 3);
    // For longer than is waited: the BMC is gone, and the password is none the worse.
    let down = Twist::Answer(503, json!({}));
    fake.twist(Method::POST, SESSIONS, 999, down);
    let reply = bmc.client().carry_out(&ON, None).await;
    assert_eq!(kind(&reply), BmcFailure::Unreachable);
}

/// Where even the service root wants a login, what it links to is found all the same.
#[tokio::test]
async fn a_root_that_wants_a_login_is_read_with_one() {
    let (fake, bmc) = Fake::start().await;
    fake.state().closed_root = true;
    let found = bmc.client().discover().await.unwrap();
    assert_eq!(found.inventory.system.serial.as_deref(), Some("S1"));
    assert_eq!(found.service.managers.len(), 1);
    assert_eq!(fake.count(&format!("POST {SESSIONS}")), 1);
}

/// One answer may take 90 seconds, and three of them fit into what a read may take in all.
#[test]
fn the_real_waits_live_with_90_seconds() {
    let real = billet_bmc::Timeouts::default();
    let slow = std::time::Duration::from_secs(90);
    assert!(real.read > slow && real.change > slow);
    assert!(real.read_budget > 2 * slow && real.discover > 5 * slow);
}

#[tokio::test]
async fn an_insert_without_a_url_is_refused_here() {
    let (fake, bmc) = Fake::start().await;
    let insert = BmcRequest::InsertMedia {
        boot: BootId::from_parts(1, [0; 10]),
    };
    let reply = bmc.client().carry_out(&insert, None).await;
    assert_eq!(kind(&reply), BmcFailure::Refused);
    let set = BmcRequest::SetBoot {
        target: BootTarget::CdOnce,
    };
    assert_eq!(bmc.client().carry_out(&set, None).await, DONE);
    assert_eq!(fake.state().boot["BootSourceOverrideTarget"], "Cd");
}
