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

/// BMCs that misbehave, for a while or always: each machine is taken over all the same, and its
/// life goes on.
#[tokio::test]
async fn machines_are_taken_over_in_spite_of_their_bmcs() {
    // What is odd from the beginning, and stays so.
    let odd = [
        ("read", json!({ "kind": "parent_first" })),
        ("read", json!({ "kind": "empty_ids" })),
        ("read", json!({ "kind": "no_chassis_type" })),
        ("read", json!({ "kind": "null_members", "path": "/Memory" })),
        ("session", json!({ "kind": "no_sessions" })),
    ];
    // What happens after that.
    let faults = [
        // Done, but the answer is lost: it must be looked at before it is asked for again.
        ("power", json!({ "kind": "drop", "count": 2 })),
        // Refuses media for a while.
        (
            "media",
            json!({ "kind": "status", "code": 503, "count": 3 }),
        ),
        // Says that all is well, and does it two seconds later.
        (
            "power",
            json!({ "kind": "late", "ms": 2000, "answered": true, "count": 2 }),
        ),
        // Boots past the override once.
        ("start", json!({ "kind": "forget_boot", "count": 1 })),
        // Lets nobody in for a while.
        ("connect", json!({ "kind": "refuse", "count": 4 })),
        // Obeys the boot override, and never shows it.
        ("read", json!({ "kind": "hide_boot" })),
        // Will not have its boot or media changed while the machine is on.
        ("any", json!({ "kind": "needs_off" })),
        // Wants an eject before every insert.
        ("media", json!({ "kind": "eject_first" })),
        // Answers with nothing in it, and does it a second later.
        ("boot", json!({ "kind": "bare", "ms": 1000 })),
        ("media", json!({ "kind": "bare", "ms": 1000 })),
        // Has no time for eight seconds.
        ("any", json!({ "kind": "busy", "ms": 8000, "count": 1 })),
        // Restarts, before it did what it was asked and after.
        (
            "power",
            json!({ "kind": "restart", "ms": 3000, "count": 1 }),
        ),
        (
            "media",
            json!({ "kind": "restart", "ms": 3000, "done": true, "count": 1 }),
        ),
        // Reads as on while it is off, in two words.
        (
            "read",
            json!({ "kind": "lie_power", "says": "on", "count": 4 }),
        ),
        (
            "read",
            json!({ "kind": "lie_power", "says": "paused", "count": 4 }),
        ),
        // Has no virtual drives for a while.
        (
            "read",
            json!({ "kind": "null_members", "path": "/VirtualMedia", "count": 3 }),
        ),
        // Takes its time.
        ("read", json!({ "kind": "delay", "ms": 2500, "count": 6 })),
    ];
    // And one with nothing armed.
    let models = vec!["cpu"; odd.len() + faults.len() + 1];
    let Some(site) = Site::of_phantoms("BMCs that misbehave", &models).await else {
        return;
    };
    let names: Vec<String> = (0..models.len()).map(|n| site.name(n)).collect();
    for (name, (at, what)) in names.iter().zip(&odd) {
        let kind = word(&what["kind"]);
        site.fault(fault(name, at, kind, what.clone())).await;
    }
    site.enroll().await;
    for (name, (at, what)) in names[odd.len()..].iter().zip(&faults) {
        let kind = word(&what["kind"]);
        site.fault(fault(name, at, kind, what.clone())).await;
    }
    let mut take_over = vec!["machine", "take-over", "--yes"];
    take_over.extend(names.iter().map(String::as_str));
    site.op(&take_over).await.good();
    for left in site.faults().await {
        assert!(left["count"].is_null(), "it has not struck: {left}");
        // This one finds nothing to refuse: all is done while the machine is off.
        let idle = left["kind"] == "needs_off";
        assert!(idle || left["struck"].as_u64() > Some(0), "{left}");
    }
    for name in &names {
        let machine = site.machine(name).await;
        assert_eq!(machine["lifecycle"], "available", "{name}");
        assert_eq!(machine["may_hold_data"], false, "{name}");
        assert_eq!(site.certificates(name).await.len(), 1, "{name}");
        assert_eq!(site.true_power(name).await, "off", "{name}");
    }
    site.end().await;
}

/// Another certificate than the pinned one, or a password that must be changed first: the machine is
/// held at once, for that reason, and nothing is trusted in silence; what the hold says is the way
/// out.
#[tokio::test]
async fn a_changed_certificate_and_an_expired_password_hold_the_machine() {
    let models = ["cpu", "cpu"];
    let Some(site) = Site::of_phantoms("certificate and password", &models).await else {
        return;
    };
    site.enroll().await;
    let (renewed, expired) = (site.name(0), site.name(1));
    let once = json!({ "count": 1 });
    site.fault(fault(&renewed, "connect", "new_certificate", once))
        .await;
    site.fault(fault(&expired, "session", "password_expired", json!({})))
        .await;
    let take_over = ["machine", "take-over", "--yes", &renewed, &expired];
    site.op(&take_over).await.coded(1).said("billet machine");
    for (name, kind, why, way_out) in [
        (&renewed, "bmc_certificate", "is pinned", "--fingerprint"),
        (
            &expired,
            "bmc_credentials",
            "before its password is changed",
            "billet machine set-bmc",
        ),
    ] {
        let machine = site.machine(name).await;
        assert_eq!(machine["lifecycle"], "quarantined", "{name}");
        assert_eq!(machine["hold"]["kind"], kind, "{machine:#}");
        let detail = word(&machine["hold"]["detail"]);
        assert!(detail.contains(why), "{detail}");
        let next = word(&machine["waiting"]["next_action"]);
        assert!(next.contains(way_out), "{next}");
    }
    let detail = site.machine(&renewed).await["hold"]["detail"].clone();
    let shown = word(&detail).split("certificate ").nth(1);
    let shown = shown.and_then(|rest| rest.split(',').next());
    let shown = shown.expect("the certificate that was shown");
    let set = ["machine", "set-bmc", &renewed, "--fingerprint", shown];
    site.op(&set).await.good();
    site.op(&["machine", "repair", &renewed]).await.good();
    assert_eq!(site.machine(&renewed).await["lifecycle"], "available");
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
