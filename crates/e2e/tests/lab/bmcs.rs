//! BMCs that refuse, lose answers and are late.

use serde_json::{Value, json};

use crate::{
    site::{Site, fault},
    support::word,
};

/// A wrong password at enrolment is told as that, with the way out; set right, the machine goes on.
#[tokio::test]
async fn a_wrong_bmc_password_is_mended_by_set_bmc() {
    let Some(site) = Site::of_phantoms("a BMC's wrong password", &["cpu"]).await else {
        return;
    };
    let manifest = std::fs::read_to_string(site.home.path("lab.toml")).expect("a manifest");
    let password = word(&site.machines[0]["password"]).to_owned();
    assert!(manifest.contains(&password));
    let wrong = manifest.replace(&password, "mistyped");
    site.home.write("lab.toml", wrong);
    let name = site.name(0);
    let enroll = ["machine", "enroll", "-f", "lab.toml"];
    let refused = site
        .op(&enroll)
        .await
        .coded(1)
        .said("billet machine set-bmc");
    assert!(!refused.stderr.contains("mistyped"), "{}", refused.stderr);
    let machine = site.machine(&name).await;
    assert_eq!(machine["bmc_trouble"]["kind"], "credentials", "{machine:#}");
    assert_eq!(site.true_power(&name).await, "off");

    site.home.write("password", &password);
    let set = ["machine", "set-bmc", &name, "--password-file", "password"];
    site.op(&set).await.good();
    let show = ["machine", "show", &name];
    let what = "the machine is read with the right password";
    let read = |m: &Value| m["bmc_trouble"].is_null() && m["inventory"]["drives"][0].is_object();
    site.until(&show, what, 30, read).await;
    let take_over = ["machine", "take-over", "--yes", &name];
    site.op(&take_over).await.good();
    assert_eq!(site.machine(&name).await["lifecycle"], "available");
    site.end().await;
}

/// BMCs that misbehave for a while: each machine is taken over all the same, and its life goes on.
#[tokio::test]
async fn machines_are_taken_over_in_spite_of_their_bmcs() {
    let models = ["cpu"; 6];
    let Some(site) = Site::of_phantoms("BMCs that misbehave", &models).await else {
        return;
    };
    site.enroll().await;
    let name = |n: usize| site.name(n);
    // Done, but the answer is lost: it must be looked at before it is asked for again.
    site.fault(fault(&name(0), "power", "drop", json!({ "count": 2 })))
        .await;
    // Refuses media for a while.
    let busy = json!({ "code": 503, "count": 3 });
    site.fault(fault(&name(1), "media", "status", busy)).await;
    // Says that all is well, and does it two seconds later.
    let late = json!({ "ms": 2000, "answered": true, "count": 2 });
    site.fault(fault(&name(2), "power", "late", late)).await;
    // Boots past the override once.
    site.fault(fault(
        &name(3),
        "start",
        "forget_boot",
        json!({ "count": 1 }),
    ))
    .await;
    // Lets nobody in for a while.
    site.fault(fault(&name(4), "connect", "refuse", json!({ "count": 4 })))
        .await;
    // And one with nothing armed.
    let names: Vec<String> = (0..models.len()).map(name).collect();
    let mut take_over = vec!["machine", "take-over", "--yes"];
    take_over.extend(names.iter().map(String::as_str));
    site.op(&take_over).await.good();
    assert!(site.faults().await.is_empty(), "every fault has struck");
    for name in &names {
        let machine = site.machine(name).await;
        assert_eq!(machine["lifecycle"], "available", "{name}");
        assert_eq!(machine["may_hold_data"], false, "{name}");
        assert_eq!(site.certificates(name).await.len(), 1, "{name}");
        assert_eq!(site.true_power(name).await, "off", "{name}");
    }
    site.end().await;
}

/// A BMC that lets nobody in any more ends in a hold at once, and not in trying for ever; it says so,
/// and how to get out of it.
#[tokio::test]
async fn a_bmc_that_lets_nobody_in_is_told_at_once() {
    let Some(site) = Site::of_phantoms("a BMC that lets nobody in", &["cpu"]).await else {
        return;
    };
    site.enroll().await;
    let name = site.name(0);
    let refused = json!({ "code": 401 });
    site.fault(fault(&name, "any", "status", refused)).await;
    let take_over = ["machine", "take-over", "--yes", &name];
    site.op(&take_over).await.coded(1).said("billet machine");
    let machine = site.machine(&name).await;
    assert_eq!(machine["lifecycle"], "quarantined");
    assert_eq!(machine["hold"]["kind"], "bmc_credentials", "{machine:#}");
    let way_out = word(&machine["waiting"]["next_action"]);
    assert!(way_out.contains("billet machine set-bmc"), "{way_out}");
    assert_eq!(machine["may_hold_data"], true);
    site.end().await;
}
