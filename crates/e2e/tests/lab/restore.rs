//! Yesterday's backup.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    site::{Site, fault},
    support::items,
};

/// A backup that is restored after the world went on powers off and erases nothing, until each
/// machine was looked at and confirmed.
#[tokio::test]
async fn a_restored_backup_touches_nothing_until_confirmed() {
    let models = ["cpu"; 3];
    let Some(mut site) = Site::of_phantoms("yesterday's backup", &models).await else {
        return;
    };
    tokio::join!(site.take_over(), site.tiny_image());
    site.project("vision").await;
    let machine_type = site.machine_type();
    let old = site.lease("old", &machine_type);
    site.by("vision", &old).await.good();
    let backup = ["backup", "data", "--out", "backup.db"];
    site.op(&backup).await.good();
    // After the backup, and unknown to it: a new lease, and the end of the old one.
    let new = site.lease("new", &machine_type);
    site.by("vision", &new).await.good();
    let new = site.ask_by("vision", &["lease", "show", "new"]).await;
    let release = ["lease", "release", "old"];
    site.by("vision", &release).await.good();
    let machines = site.ask(&["machine", "list"]).await;
    let named = |n: &Value| {
        let machine = items(&machines).iter().find(|m| m["id"] == *n);
        machine.expect("a machine")["name"]
            .as_str()
            .expect("text")
            .to_owned()
    };
    let busy = named(&new["machine"]);
    assert_eq!(site.true_power(&busy).await, "on");
    let free = site.ask_by("vision", &["lease", "show", "old"]).await;
    assert_eq!(free["state"], "released");
    let machines = ["machine", "list"];
    site.until(&machines, "two machines are free again", 60, |machines| {
        let free = |m: &&Value| m["lifecycle"] == "available";
        items(machines).iter().filter(free).count() == 2
    })
    .await;

    site.stop_server().await;
    let restore = ["restore", "backup.db", "--data", "again"];
    site.op(&restore).await.good();
    for what in ["authority.pem", "images"] {
        let (from, to) = (format!("data/{what}"), format!("again/{what}"));
        std::fs::rename(site.home.path(&from), site.home.path(&to)).expect("moved");
    }
    // Faults that would strike at the first change of power, media or boot order.
    for at in ["power", "media", "boot"] {
        for n in 0..models.len() {
            let name = site.name(n);
            site.fault(fault(&name, at, "status", json!({ "code": 500 })))
                .await;
        }
    }
    let powers = powers(&site).await;
    site.serve_with("--data", "again");
    site.serve().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let machines = site.ask(&["machine", "list"]).await;
    assert_eq!(items(&machines).len(), models.len());
    for machine in items(&machines) {
        assert_eq!(machine["unconfirmed"], true, "{machine}");
    }
    // No lease, release or power by hand reaches a machine that was not confirmed.
    let offers = site.ask_by("vision", &["offers"]).await;
    assert!(items(&offers).iter().all(|o| o["free"] == 0), "{offers}");
    let lease = site.lease("later", &machine_type);
    site.by("vision", &lease).await.coded(4);
    site.by("vision", &["lease", "release", "old", "--no-wait"])
        .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for fault in site.faults().await {
        assert_eq!(
            fault["struck"], 0,
            "a BMC was asked to change something: {fault}"
        );
    }
    assert_eq!(self::powers(&site).await, powers);

    site.no_faults().await;
    for n in 0..models.len() {
        let name = site.name(n);
        site.op(&["machine", "confirm", &name]).await.good();
        let machine = site.machine(&name).await;
        assert_eq!(machine["unconfirmed"], false);
        // What was free then may have been someone's since, as one of them is.
        if machine["lease"].is_null() {
            assert_eq!(machine["hold"]["kind"], "restored", "{machine:#}");
            assert_eq!(machine["may_hold_data"], true);
            let repair = ["machine", "repair", &name, "--no-wait"];
            site.op(&repair).await.good();
        }
    }
    site.by("vision", &["lease", "release", "old"]).await.good();
    for n in 0..models.len() {
        let name = site.name(n);
        site.until_lifecycle(&name, "available", 60).await;
    }
    assert_eq!(site.certificates(&busy).await.len(), 2, "erased after all");
    site.end().await;
}

async fn powers(site: &Site) -> Vec<String> {
    let mut powers = Vec::new();
    for n in 0..site.machines.len() {
        powers.push(site.true_power(&site.name(n)).await);
    }
    powers
}
