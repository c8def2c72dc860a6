//! Tenants see their own.

use crate::{
    site::Site,
    support::{items, word},
};

/// Another project's lease is not there at all, whatever is asked of it; and machines are not a
/// member's to see.
#[tokio::test]
async fn tenants_see_their_own_and_nothing_else() {
    let Some(site) = Site::of_phantoms("two tenants", &["cpu"]).await else {
        return;
    };
    tokio::join!(site.take_over(), site.tiny_image());
    site.project("red").await;
    site.project("blue").await;
    let machine_type = site.machine_type();
    site.by("red", &site.lease("mine", &machine_type))
        .await
        .good();
    let lease = site.ask_by("red", &["lease", "show", "mine"]).await;
    let (id, operation) = (word(&lease["id"]), word(&lease["operation"]));
    let machine = site.name(0);

    for not_found in [
        &["lease", "show", id][..],
        &["lease", "show", "mine"],
        &["lease", "release", id],
        &["lease", "extend", id, "--by", "1d"],
        &["lease", "tag", id, "a=b"],
        &["lease", "power", id, "off"],
        &["ssh", id, "--", "true"],
        &["evidence", "list", "--lease", id],
        &["operation", "show", operation],
    ] {
        let ran = site.by("blue", not_found).await;
        assert_eq!(ran.code, 3, "{not_found:?}: {}{}", ran.stdout, ran.stderr);
        assert!(!ran.stderr.contains(&machine), "{}", ran.stderr);
    }
    for list in [
        &["lease", "list"][..],
        &["operation", "list"],
        &["evidence", "list"],
    ] {
        let seen = site.ask_by("blue", list).await;
        assert!(items(&seen).is_empty(), "{list:?}: {seen}");
    }
    for refused in [
        &["machine", "list"][..],
        &["machine", "show", &machine],
        &["machine", "power", &machine, "off"],
        &["machine", "quarantine", &machine, "--reason", "mine"],
        &["token", "list"],
        &["backup"],
    ] {
        let ran = site.by("red", refused).await;
        assert!(
            matches!(ran.code, 3 | 4),
            "{refused:?}: {} {}",
            ran.code,
            ran.stderr
        );
        assert!(ran.stdout.is_empty(), "{refused:?}: {}", ran.stdout);
    }
    // Nothing of the BMC is in what a tenant sees of a lease.
    let whole = lease.to_string();
    for secret in ["bmc", "password", "fingerprint"] {
        let of_machine = site.machines[0][secret].as_str().expect("text");
        assert!(!whole.contains(of_machine), "{whole}");
    }

    // Untouched by all that, and its certificate is its project's alone.
    let after = site.ask_by("red", &["lease", "show", "mine"]).await;
    assert_eq!(after["state"], "active");
    assert_eq!(after["version"], lease["version"]);
    site.by("red", &["lease", "release", "mine"]).await.good();
    let evidence = site
        .ask_by("red", &["evidence", "list", "--lease", id])
        .await;
    let certificate = word(&items(&evidence)[0]["id"]).to_owned();
    site.by("blue", &["evidence", "show", &certificate])
        .await
        .coded(3);
    let export = ["evidence", "export", &certificate, "--out", "stolen.json"];
    site.by("blue", &export).await.coded(3);
    assert!(!site.home.path("stolen.json").exists());
    site.end().await;
}
