//! Machines that wait warm: a lease there goes through no firmware, and whatever fails goes the
//! full way.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    site::{Site, fault},
    support::{items, word},
};

impl Site {
    /// Waits until a machine waits warm; the machine then.
    async fn until_warm(&self, name: &str) -> Value {
        let what = format!("{name} waits warm");
        self.until(&["machine", "show", name], &what, 60, |machine| {
            !machine["warm"]["since"].is_null()
        })
        .await
    }

    /// Leases the machine, and says how the lease's system was started.
    async fn started(&self, name: &str, more: &[&str]) -> Value {
        let machine_type = self.machine_type();
        let mut lease = self.lease(name, &machine_type);
        lease.extend(more);
        let began = Instant::now();
        self.by("vision", &lease).await.good();
        let lease = self.ask_by("vision", &["lease", "show", name]).await;
        assert_eq!(lease["state"], "active", "{lease:#}");
        let start = lease["first_start"].clone();
        let took = began.elapsed().as_millis();
        self.note(&format!("{name}: {} after {took} ms", start["way"]));
        start
    }

    async fn release(&self, name: &str) {
        self.by("vision", &["lease", "release", name]).await.good();
    }
}

/// A pool of one: prepared, leased warm, cold on request, cold where kexec fails, and back to warm
/// each time.
#[tokio::test]
async fn a_warm_machine_is_leased_without_firmware_and_falls_back_to_it() {
    let title = "a machine that waits warm";
    let Some(site) = Site::of_phantoms(title, &["cpu"]).await else {
        return;
    };
    tokio::join!(site.enroll(), site.tiny_image());
    site.project("vision").await;
    let (name, machine_type) = (site.name(0), site.machine_type());
    let set = ["type", "set", &machine_type, "--warm", "1"];
    let with = |image: &'static str| [&set[..], &["--warm-image", image]].concat();
    // No project's own, and none that is not there.
    site.op(&with("nowhere")).await.said("no image nowhere");
    site.op(&with("tiny")).await.good();
    let take_over = ["machine", "take-over", &name, "--yes"];
    site.op(&take_over).await.good();

    let machine = site.until_warm(&name).await;
    assert_eq!(machine["lifecycle"], "available");
    assert_eq!(machine["may_hold_data"], false);
    assert_eq!(machine["warm"]["trial"]["result"]["trial"], "passed");
    assert_eq!(machine["warm"]["prepared"]["read_back"], true);
    assert_eq!(site.true_power(&name).await, "on");
    let machine = site
        .until(&["machine", "show", &name], "its idle power", 60, |m| {
            m["warm"]["idle"]["watts"].is_number()
        })
        .await;
    let offers = site.ask_by("vision", &["offers"]).await;
    let offer = &items(&offers)[0];
    assert_eq!((&offer["free"], &offer["warm"]), (&json!(1), &json!(1)));
    assert_eq!(offer["warm_images"], json!(["tiny"]));
    assert_eq!(offer["warm_watts"], machine["warm"]["idle"]["watts"]);

    let start = site.started("first", &[]).await;
    assert_eq!(start["way"], "warm", "{start:#}");
    assert_eq!(start["prepared"], true);
    assert!(word(&start["measured_boot"]).contains("kexec"), "{start:#}");
    site.release("first").await;

    site.until_warm(&name).await;
    let certificates = site.certificates(&name).await;
    assert_eq!(certificates.len(), 2, "of the take-over, and of the lease");
    let start = site.started("second", &["--cold"]).await;
    assert_eq!(start["way"], "cold", "{start:#}");
    assert_eq!(start["why"], json!(["the lease asked for it"]));
    site.release("second").await;

    site.until_warm(&name).await;
    let once = json!({ "count": 1 });
    site.fault(fault(&name, "kexec", "kexec_refused", once))
        .await;
    let start = site.started("third", &[]).await;
    assert_eq!(start["way"], "cold", "{start:#}");
    assert!(word(&start["why"][0]).contains("start failed"), "{start:#}");
    site.release("third").await;

    // And where none is wanted any more it is powered off, and offered all the same.
    site.until_warm(&name).await;
    site.op(&["type", "set", &machine_type, "--warm", "0"])
        .await
        .good();
    site.until(&["machine", "show", &name], "it is off", 60, |m| {
        m["warm"]["since"].is_null() && m["power"]["power"] == "off"
    })
    .await;
    assert_eq!(site.true_power(&name).await, "off");
    let start = site.started("fourth", &[]).await;
    assert_eq!(start["way"], "cold", "{start:#}");
    site.end().await;
}
