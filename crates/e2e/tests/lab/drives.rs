//! A drive that cannot be erased.

use serde_json::json;

use crate::{
    site::{Site, fault},
    support::{items, word},
};

/// After a failed erase the machine is held, with the reason, and never offered; repaired once the
/// drive is well, it comes back with a certificate.
#[tokio::test]
async fn a_machine_whose_erase_fails_is_held_until_repaired() {
    let Some(site) = Site::of_phantoms("a drive that fails its erase", &["cpu"]).await else {
        return;
    };
    tokio::join!(site.take_over(), site.tiny_image());
    site.project("vision").await;
    let (name, machine_type) = (site.name(0), site.machine_type());
    let lease = site.lease("first", &machine_type);
    site.by("vision", &lease).await.good();
    let lease = site.ask_by("vision", &["lease", "show", "first"]).await;
    assert_eq!(lease["state"], "active");

    let serial = word(&site.machines[0]["drives"][0]).to_owned();
    site.fault(fault(
        &name,
        "erase",
        "drive_errors",
        json!({ "serial": &serial }),
    ))
    .await;
    let release = ["lease", "release", "first"];
    site.by("vision", &release).await.coded(1);
    let held = site.machine(&name).await;
    assert_eq!(held["lifecycle"], "quarantined");
    assert_eq!(held["hold"]["kind"], "erase_failed", "{held:#}");
    assert_eq!(held["may_hold_data"], true);
    let reason = word(&held["hold"]["detail"]);
    assert!(reason.contains(&serial), "{reason}");
    let way_out = word(&held["waiting"]["next_action"]);
    assert!(way_out.contains("billet machine repair"), "{way_out}");
    let lease = site.ask_by("vision", &["lease", "show", "first"]).await;
    assert_eq!(lease["state"], "releasing");
    assert!(!word(&lease["reason"]).is_empty());
    assert_eq!(
        site.certificates(&name).await.len(),
        1,
        "that of the take-over"
    );

    // Not offered, neither now nor to who asks for it.
    let offers = site.ask_by("vision", &["offers"]).await;
    assert!(items(&offers).iter().all(|o| o["free"] == 0), "{offers}");
    let second = site.lease("second", &machine_type);
    site.by("vision", &second).await.coded(4);
    // Tried again with the fault, it is held again.
    let repair = ["machine", "repair", &name];
    site.op(&repair).await.coded(1);
    assert_eq!(site.machine(&name).await["lifecycle"], "quarantined");

    site.no_faults().await;
    site.op(&repair).await.good();
    let back = site.machine(&name).await;
    assert_eq!(back["lifecycle"], "available");
    assert_eq!(back["may_hold_data"], false);
    assert!(back["hold"].is_null());
    let certificates = site.certificates(&name).await;
    assert_eq!(certificates.len(), 2);
    let over = site.ask_by("vision", &["lease", "show", "first"]).await;
    assert_eq!(over["state"], "released", "{over:#}");
    let of_lease = certificates.iter().filter(|c| c["lease"] == over["id"]);
    assert_eq!(of_lease.count(), 1, "{certificates:#?}");
    site.by("vision", &second).await.good();
    site.end().await;
}
