//! Boot override and virtual media, on BMCs that are particular about them.

use crate::common::fake::{Fake, SLOT, SYSTEM, Twist};
use axum::http::Method;
use billet_bmc::BmcClient;
use billet_model::BootId;
use billet_model::bmc::{BmcFact, BmcFailure, BmcReply, BmcRequest, BootTarget};
use serde_json::json;

const DONE: BmcReply = BmcReply::Done {
    fact: BmcFact::Done,
};
const URL: &str = "https://10.0.0.1:8443/media/0192/boot.iso?token=abc";
const INSERT: &str = "/redfish/v1/Managers/1/VirtualMedia/CD/Actions/VirtualMedia.InsertMedia";
const EJECT: &str = "/redfish/v1/Managers/1/VirtualMedia/CD/Actions/VirtualMedia.EjectMedia";

async fn boot(client: &BmcClient, target: BootTarget) -> BmcReply {
    client
        .carry_out(&BmcRequest::SetBoot { target }, None)
        .await
}

async fn insert(client: &BmcClient) -> BmcReply {
    let boot = BootId::from_parts(1, [0; 10]);
    client
        .carry_out(&BmcRequest::InsertMedia { boot }, Some(URL))
        .await
}

async fn eject(client: &BmcClient) -> BmcReply {
    client.carry_out(&BmcRequest::EjectMedia, None).await
}

fn failure(reply: BmcReply) -> (BmcFailure, String) {
    match reply {
        BmcReply::Failed { kind, detail } => (kind, detail),
        other => panic!("expected a certain failure, got {other:?}"),
    }
}

#[tokio::test]
async fn once_from_the_cd_and_back_to_the_disk() {
    let (fake, bmc) = Fake::start().await;
    let client = bmc.client();
    assert_eq!(boot(&client, BootTarget::CdOnce).await, DONE);
    {
        let boot = &fake.state().boot;
        assert_eq!(boot["BootSourceOverrideEnabled"], "Once");
        assert_eq!(boot["BootSourceOverrideTarget"], "Cd");
        assert_eq!(boot["BootSourceOverrideMode"], "UEFI");
    }
    assert_eq!(boot(&client, BootTarget::Disk).await, DONE);
    assert_eq!(fake.state().boot["BootSourceOverrideEnabled"], "Disabled");
}

#[tokio::test]
async fn an_override_that_does_not_show_is_told_and_never_trusted_for_the_disk() {
    let (fake, bmc) = Fake::start().await;
    fake.twist(Method::PATCH, SYSTEM, 99, Twist::Forget);
    let client = bmc.client();
    // It may be obeyed all the same: the boot will tell.
    let shown = BmcFact::Unshown {
        shows: "Disabled None".into(),
    };
    assert_eq!(
        boot(&client, BootTarget::CdOnce).await,
        BmcReply::Done { fact: shown }
    );
    // The best way to say it was the last one asked for.
    let log = fake.state().log.clone();
    let asked: Vec<&String> = log.iter().filter(|l| l.starts_with("PATCH")).collect();
    assert_eq!(asked.first(), asked.last());

    fake.state().boot["BootSourceOverrideEnabled"] = json!("Continuous");
    fake.state().boot["BootSourceOverrideTarget"] = json!("Pxe");
    let (kind, detail) = failure(boot(&client, BootTarget::Disk).await);
    assert_eq!(kind, BmcFailure::Refused);
    assert!(
        detail.contains("not taken") && detail.contains("Continuous Pxe"),
        "{detail}"
    );
}

#[tokio::test]
async fn an_override_whose_answer_or_read_back_is_lost_is_uncertain() {
    let (fake, bmc) = Fake::start().await;
    fake.twist(Method::PATCH, SYSTEM, 1, Twist::DoAndCut);
    let reply = boot(&bmc.client(), BootTarget::CdOnce).await;
    assert!(matches!(reply, BmcReply::Uncertain { .. }), "{reply:?}");
    assert_eq!(fake.count(&format!("PATCH {SYSTEM}")), 1);

    let (fake, bmc) = Fake::start().await;
    let client = bmc.client();
    client.power().await.unwrap();
    fake.twist(
        Method::GET,
        SYSTEM,
        1,
        Twist::Answer(
            200,
            json!({
                "@odata.id": SYSTEM, "Boot": {"BootSourceOverrideEnabled": "Disabled"},
            }),
        ),
    );
    fake.twist(Method::GET, SYSTEM, 999, Twist::Answer(503, json!({})));
    let reply = boot(&client, BootTarget::CdOnce).await;
    assert!(matches!(reply, BmcReply::Uncertain { .. }), "{reply:?}");
}

#[tokio::test]
async fn a_stale_etag_is_read_again() {
    let (fake, bmc) = Fake::start().await;
    fake.state().strict_etag = true;
    // Somebody else changes the system between our look and our change.
    let stale = json!({
        "@odata.id": SYSTEM, "@odata.etag": "\"old\"",
        "Boot": {"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None"},
    });
    let client = bmc.client();
    client.power().await.unwrap();
    fake.twist(Method::GET, SYSTEM, 1, Twist::Answer(200, stale));
    assert_eq!(boot(&client, BootTarget::CdOnce).await, DONE);
    assert_eq!(fake.count(&format!("PATCH {SYSTEM}")), 2);
}

#[tokio::test]
async fn a_bmc_that_will_not_have_an_etag_gets_none() {
    let (fake, bmc) = Fake::start().await;
    fake.twist(Method::PATCH, SYSTEM, 2, Twist::Answer(412, json!({})));
    assert_eq!(boot(&bmc.client(), BootTarget::CdOnce).await, DONE);
    assert_eq!(fake.count(&format!("PATCH {SYSTEM}")), 3);
}

#[tokio::test]
async fn a_mode_that_cannot_be_set_is_left_out() {
    let (fake, bmc) = Fake::start().await;
    fake.twist(
        Method::PATCH,
        SYSTEM,
        1,
        Twist::Answer(
            400,
            json!({"error": {
                "message": "PropertyNotWritable: BootSourceOverrideMode",
            }}),
        ),
    );
    assert_eq!(boot(&bmc.client(), BootTarget::CdOnce).await, DONE);
    let last = fake
        .state()
        .log
        .iter()
        .rfind(|l| l.starts_with("PATCH"))
        .unwrap()
        .clone();
    assert!(!last.contains("Mode"), "{last}");
}

#[tokio::test]
async fn the_virtual_cd_by_whatever_name_it_has() {
    for (allowed, expected) in [
        (json!(["None", "Pxe", "UsbCd"]), "UsbCd"),
        (json!(["None", "Usb", "Hdd"]), "Usb"),
        (json!(["Usb", "Cd"]), "Cd"),
    ] {
        let (fake, bmc) = Fake::start().await;
        fake.state().boot["BootSourceOverrideTarget@Redfish.AllowableValues"] = allowed;
        assert_eq!(boot(&bmc.client(), BootTarget::CdOnce).await, DONE);
        assert_eq!(fake.state().boot["BootSourceOverrideTarget"], expected);
    }
    let (fake, bmc) = Fake::start().await;
    fake.state().boot["BootSourceOverrideTarget@Redfish.AllowableValues"] = json!(["None", "Pxe"]);
    let (kind, _) = failure(boot(&bmc.client(), BootTarget::CdOnce).await);
    assert_eq!(kind, BmcFailure::Refused);
    assert_eq!(fake.count(&format!("PATCH {SYSTEM}")), 0);
}

#[tokio::test]
async fn a_bmc_that_knows_no_disabled_gets_the_hard_disk() {
    let (fake, bmc) = Fake::start().await;
    fake.state().boot["BootSourceOverrideEnabled@Redfish.AllowableValues"] =
        json!(["Once", "Continuous"]);
    fake.state().boot["BootSourceOverrideEnabled"] = json!("Once");
    assert_eq!(boot(&bmc.client(), BootTarget::Disk).await, DONE);
    assert_eq!(fake.state().boot["BootSourceOverrideEnabled"], "Continuous");
    assert_eq!(fake.state().boot["BootSourceOverrideTarget"], "Hdd");
}

#[tokio::test]
async fn what_is_in_comes_out_first() {
    let (fake, bmc) = Fake::start().await;
    let client = bmc.client();
    fake.state().slot["Image"] = json!("http://old/old.iso");
    fake.state().slot["Inserted"] = json!(true);
    assert_eq!(insert(&client).await, DONE);
    assert_eq!(fake.state().slot["Image"], URL);
    assert_eq!(fake.count(&format!("POST {EJECT}")), 1);
    assert_eq!(eject(&client).await, DONE);
    assert_eq!(fake.state().slot["Inserted"], false);
    // Nothing in: nothing asked.
    assert_eq!(eject(&client).await, DONE);
    assert_eq!(fake.count(&format!("POST {EJECT}")), 2);
}

#[tokio::test]
async fn a_slot_that_wants_other_words_gets_them() {
    let (fake, bmc) = Fake::start().await;
    fake.twist(
        Method::POST,
        INSERT,
        2,
        Twist::Answer(
            400,
            json!({"error": {
                "message": "ActionParameterMissing: TransferProtocolType",
            }}),
        ),
    );
    assert_eq!(insert(&bmc.client()).await, DONE);
    let last = fake
        .state()
        .log
        .iter()
        .rfind(|l| l.starts_with("POST") && l.contains("InsertMedia"))
        .unwrap()
        .clone();
    assert!(
        last.contains("\"TransferProtocolType\":\"HTTPS\""),
        "{last}"
    );
}

#[tokio::test]
async fn a_medium_that_does_not_go_in_is_refused() {
    let (fake, bmc) = Fake::start().await;
    fake.twist(Method::POST, INSERT, 99, Twist::Forget);
    let (kind, detail) = failure(insert(&bmc.client()).await);
    assert_eq!(kind, BmcFailure::Refused);
    assert!(detail.contains("not inserted"), "{detail}");
    // Nor one that does not come out.
    let (fake, bmc) = Fake::start().await;
    fake.state().slot["Inserted"] = json!(true);
    fake.twist(Method::POST, EJECT, 99, Twist::Forget);
    let (kind, detail) = failure(eject(&bmc.client()).await);
    assert_eq!(kind, BmcFailure::Refused);
    assert!(detail.contains("still shows"), "{detail}");
}

#[tokio::test]
async fn an_insert_whose_answer_is_lost_is_looked_for() {
    // It went in, and can be seen.
    let (fake, bmc) = Fake::start().await;
    fake.twist(Method::POST, INSERT, 1, Twist::DoAndCut);
    assert_eq!(insert(&bmc.client()).await, DONE);
    // It cannot be seen, and may yet go in.
    let (fake, bmc) = Fake::start().await;
    fake.twist(Method::POST, INSERT, 1, Twist::Cut);
    let reply = insert(&bmc.client()).await;
    assert!(matches!(reply, BmcReply::Uncertain { .. }), "{reply:?}");
    assert_eq!(fake.count(&format!("POST {INSERT}")), 1);
}

#[tokio::test]
async fn a_slot_without_actions_is_patched() {
    let (fake, bmc) = Fake::start().await;
    fake.state().slot["Actions"] = json!(null);
    fake.twist(Method::PATCH, SLOT, 1, Twist::Answer(400, json!({})));
    fake.twist(Method::PATCH, SLOT, 1, Twist::Answer(200, json!({})));
    let (kind, detail) = failure(insert(&bmc.client()).await);
    // This one says yes and does nothing: it was asked in two ways, and read back.
    assert_eq!(kind, BmcFailure::Refused);
    assert!(detail.contains("not inserted"), "{detail}");
    assert_eq!(fake.count(&format!("PATCH {SLOT}")), 2);
}
