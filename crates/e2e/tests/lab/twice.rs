//! What must not be done twice, and what a tenant could trip over.

use std::time::Duration;

use crate::{site::Site, support::word};

/// A machine enrolled again under another address of its BMC is not taken over a second time: its
/// drives would be erased under the tenant who has it.
#[tokio::test]
async fn one_machine_by_two_addresses_is_taken_over_once() {
    let Some(site) = Site::of_phantoms("one machine by two addresses", &["cpu"]).await else {
        return;
    };
    tokio::join!(site.take_over(), site.tiny_image());
    site.project("red").await;
    let machine_type = site.machine_type();
    let lease = site.lease("mine", &machine_type);
    site.by("red", &lease).await.good();
    let powered = site.true_power(&site.name(0)).await;
    assert_eq!(powered, "on");

    let other = word(&site.machines[0]["bmc"]).replace("127.0.0.1", "localhost");
    let password = word(&site.machines[0]["password"]).to_owned();
    site.home.write("password", &password);
    let enroll = [
        "machine",
        "enroll",
        "again",
        "--bmc",
        &other,
        "--user",
        "admin",
        "--password-file",
        "password",
        "--type",
        &machine_type,
        "--site",
        "lab",
    ];
    site.op(&enroll).await.good();
    let take_over = ["machine", "take-over", "--yes", "again"];
    let refused = site.op(&take_over).await.coded(4).said("retire the record");
    assert!(refused.stderr.contains(&site.name(0)), "{}", refused.stderr);
    assert_eq!(site.true_power(&site.name(0)).await, "on");

    // Nor is the one in use turned into another by a new address.
    let set = ["machine", "set-bmc", &site.name(0), "--address", &other];
    site.op(&set).await.coded(4).said("held by a lease");
    site.end().await;
}

/// A second server on the same data says so and ends, and the first goes on.
#[tokio::test]
async fn a_data_directory_is_served_once() {
    let Some(site) = Site::of_phantoms("one directory, two servers", &["cpu"]).await else {
        return;
    };
    let second = [
        "serve",
        "--data",
        "data",
        "--keys",
        "keys",
        "--listen",
        "127.0.0.1:0",
    ];
    let ended = tokio::time::timeout(Duration::from_secs(30), site.home.run(&second)).await;
    ended
        .expect("it ends by itself")
        .coded(1)
        .said("another server is at work");
    site.enroll().await;
    site.end().await;
}

/// A lease without an end gets none by being extended, and user data that would silence the first
/// boot is refused before a machine is touched.
#[tokio::test]
async fn a_tenant_is_told_before_it_hurts() {
    let Some(site) = Site::of_phantoms("a tenant's mistakes", &["cpu"]).await else {
        return;
    };
    tokio::join!(site.take_over(), site.tiny_image());
    site.project("red").await;
    let machine_type = site.machine_type();
    site.home.write(
        "user-data",
        "#cloud-config\nvendor_data:\n  enabled: false\n",
    );
    let lease = site.lease("mine", &machine_type);
    let mut silent = lease.to_vec();
    silent.extend(["--user-data", "user-data"]);
    site.by("red", &silent).await.said("vendor_data");
    assert_eq!(site.machine(&site.name(0)).await["lifecycle"], "available");

    site.by("red", &lease).await.good();
    let extend = ["lease", "extend", "mine", "--by", "1h"];
    site.by("red", &extend).await.coded(4).said("no end");
    let shown = site.ask_by("red", &["lease", "show", "mine"]).await;
    assert!(shown["ends_at"].is_null(), "{shown}");
    site.end().await;
}
