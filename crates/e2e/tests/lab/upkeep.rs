//! What a tenant's root leaves in a BMC, and whose password it has afterwards.

use serde_json::{Value, json};

use crate::{
    site::{Site, fault},
    support::word,
};

/// Redfish in the place of somebody who has the BMC's password.
struct Bmc {
    http: reqwest::Client,
    address: String,
    user: String,
    password: String,
}

impl Bmc {
    fn of(site: &Site, shown: &Value) -> Self {
        let _ = site;
        Self {
            // Its certificate is of its own making; the product pins it, and is tested for that.
            http: reqwest::Client::builder()
                .danger_accept_invalid_certs(true)
                .build()
                .expect("a client"),
            address: word(&shown["address"]).to_owned(),
            user: word(&shown["user"]).to_owned(),
            password: word(&shown["password"]).to_owned(),
        }
    }

    async fn ask(&self, method: reqwest::Method, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/redfish/v1/{path}", self.address);
        let request = self
            .http
            .request(method, url)
            .basic_auth(&self.user, Some(&self.password))
            .json(&body);
        let answer = request.send().await.expect("answered");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }
}

#[tokio::test]
async fn what_a_lease_left_in_the_bmc_is_put_back_and_the_password_is_another() {
    let Some(site) = Site::of_phantoms("a BMC put back after a lease", &["cpu"]).await else {
        return;
    };
    site.enroll().await;
    let (name, machine_type) = (site.name(0), site.machine_type());
    let take_over = ["machine", "take-over", "--yes", "--rotate-password", &name];
    let (taken, ()) = tokio::join!(site.op(&take_over), site.tiny_image());
    taken.good();
    site.project("vision").await;
    let given = word(&site.machines[0]["password"]).to_owned();
    let ask = ["machine", "bmc-password", &name];
    let first = site.ask(&ask).await;
    assert_ne!(
        word(&first["password"]),
        given,
        "Billet gave it another one"
    );
    let own = Bmc::of(&site, &first);
    let (status, _) = own.ask(reqwest::Method::GET, "Systems/1", json!({})).await;
    assert_eq!(status, 200, "and it is the BMC's");

    let lease = site.lease("first", &machine_type);
    site.by("vision", &lease).await.good();
    let new = json!({"UserName": "mallory", "Password": "mallory-1234", "RoleId": "Administrator"});
    let (status, _) = own
        .ask(reqwest::Method::POST, "AccountService/Accounts", new)
        .await;
    assert_eq!(status, 201);
    let order = json!({"Boot": {"BootOrder": ["Boot0002", "Boot0001", "Boot0003"]}});
    own.ask(reqwest::Method::PATCH, "Systems/1", order).await;
    let bios = json!({"Attributes": {"SysProfile": "Custom"}});
    own.ask(reqwest::Method::PATCH, "Systems/1/Bios/Settings", bios)
        .await;
    let reset = json!({"ResetType": "ForceRestart"});
    let path = "Systems/1/Actions/ComputerSystem.Reset";
    own.ask(reqwest::Method::POST, path, reset).await;
    site.fault(fault(
        &name,
        "read",
        "other_firmware",
        json!({ "version": "9.9" }),
    ))
    .await;

    site.by("vision", &["lease", "release", "first"])
        .await
        .good();
    site.until_lifecycle(&name, "available", 120).await;
    let second = site.ask(&ask).await;
    assert_ne!(
        second["password"], first["password"],
        "rotated after the lease"
    );
    let (status, _) = own.ask(reqwest::Method::GET, "Systems/1", json!({})).await;
    assert_eq!(
        status, 401,
        "the one that the tenant may have seen is no good"
    );
    let own = Bmc::of(&site, &second);
    let (_, accounts) = own
        .ask(reqwest::Method::GET, "AccountService/Accounts", json!({}))
        .await;
    assert_eq!(accounts["Members@odata.count"], 1, "{accounts:#}");
    let (_, system) = own.ask(reqwest::Method::GET, "Systems/1", json!({})).await;
    assert_eq!(system["Boot"]["BootOrder"][0], "Boot0001");
    let (_, bios) = own
        .ask(reqwest::Method::GET, "Systems/1/Bios", json!({}))
        .await;
    assert_eq!(bios["Attributes"]["SysProfile"], "PerfOptimized");

    let certificates = site.certificates(&name).await;
    let of_lease = certificates.iter().find(|c| !c["lease"].is_null());
    let id = word(&of_lease.expect("one")["id"]);
    let shown = site.op(&["evidence", "show", id]).await.good();
    for told in ["BMC account 2", "put back", "firmware version of BIOS"] {
        assert!(shown.stdout.contains(told), "{told}: {}", shown.stdout);
    }
    assert!(!shown.stdout.contains("mallory"), "{}", shown.stdout);
    let machine = site.machine(&name).await;
    assert_eq!(machine["health"], "degraded", "{machine:#}");
    site.op(&["machine", "accept-firmware", &name]).await.good();
    let machine = site.machine(&name).await;
    assert_eq!(machine["health"], "ok");
    assert_eq!(machine["settings_left"], json!([]));
    // Who asked for a password is on record, and the password is not.
    let audit = site.op(&["audit", "list", "-o", "json"]).await.good();
    assert!(audit.stdout.contains("machine.bmc_password_shown"));
    for secret in [&first, &second] {
        assert!(!audit.stdout.contains(word(&secret["password"])));
        let log = site.home.log("serve");
        assert!(!log.contains(word(&secret["password"])), "in the log");
    }
    site.end().await;
}
