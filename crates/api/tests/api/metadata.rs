//! Instance metadata: who asks is known by the address, and told nothing of others.

use std::net::{IpAddr, Ipv4Addr};

use billet_api::ServeOptions;
use billet_model::{LeaseId, lease::LeaseState};
use billet_store::{Batch, Write};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use crate::site::Site;

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";

/// A machine's own side: what it sends comes from its address.
struct Asker {
    http: Client,
    base: String,
}

impl Asker {
    fn new(site: &Site, last: u8) -> Self {
        let from = IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
        let address = site.server.metadata_address().expect("it is served");
        Self {
            http: Client::builder()
                .local_address(from)
                .build()
                .expect("a client"),
            base: format!("http://{address}"),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (StatusCode, String) {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("a text"))
    }

    async fn token(&self) -> String {
        let (status, token) = self
            .ask(Method::PUT, "/latest/api/token", &[(TTL, "60")])
            .await;
        assert_eq!(status, 200, "{token}");
        token
    }

    async fn get(&self, path: &str, token: &str) -> (StatusCode, String) {
        self.ask(Method::GET, path, &[(TOKEN, token)]).await
    }
}

/// Leases the machine that is there, and gives it an address of this host's.
async fn leased_at(site: &Site, name: &str, last: u8) -> LeaseId {
    let id = site.lease(name).await;
    let store = site.control.store();
    let lease = store.lease(id).await.expect("the store").expect("it");
    let machine = store.machine(lease.machine).await.expect("the store");
    let mut machine = machine.expect("the machine");
    machine.addresses[0].ip = Ipv4Addr::new(127, 0, 0, last);
    site.put_machine(machine).await;
    id
}

#[tokio::test]
async fn each_machine_is_told_of_its_own_lease_and_nothing_private() {
    let site = Site::with(ServeOptions {
        metadata: Some(([127, 0, 0, 1], 0).into()),
        ..ServeOptions::default()
    })
    .await;
    site.furnish().await;
    site.image("debian", None).await;
    let first = leased_at(&site, "first", 11).await;
    let second = leased_at(&site, "second", 12).await;
    let (one, two) = (Asker::new(&site, 11), Asker::new(&site, 12));
    let nobody = Asker::new(&site, 13);

    let token = one.token().await;
    let id = one.get("/latest/meta-data/instance-id", &token).await;
    assert_eq!(id, (StatusCode::OK, first.to_string()));
    let other = two.token().await;
    let id = two.get("/latest/meta-data/instance-id", &other).await;
    assert_eq!(id.1, second.to_string());
    let (_, listed) = one.get("/latest/meta-data/", &token).await;
    assert!(listed.contains("placement/"), "{listed}");
    let (_, all) = one.get("/latest/billet.json", &token).await;
    let all: Value = serde_json::from_str(&all).expect("a document");
    assert_eq!(
        (&all["name"], &all["project"]),
        (&"first".into(), &"a".into())
    );
    assert_eq!(
        (&all["site"], &all["jurisdiction"]),
        (&"here".into(), &"DE".into())
    );

    // Nobody is told anything without a token, with another's, or by way of a proxy.
    let without = one.ask(Method::GET, "/latest/billet.json", &[]).await;
    assert_eq!(without.0, 401);
    assert_eq!(one.get("/latest/billet.json", &other).await.0, 401);
    let (until, rest) = token.split_once('.').expect("a time");
    let longer = format!("{}.{rest}", until.parse::<i64>().expect("a time") + 1);
    assert_eq!(one.get("/latest/billet.json", &longer).await.0, 401);
    let proxied = [(TOKEN, token.as_str()), ("x-forwarded-for", "127.0.0.12")];
    let proxied = one.ask(Method::GET, "/latest/billet.json", &proxied).await;
    assert_eq!(proxied.0, 403);
    for ttl in [None, Some("0"), Some("21601"), Some("x")] {
        let headers: Vec<_> = ttl.iter().map(|t| (TTL, *t)).collect();
        let refused = one.ask(Method::PUT, "/latest/api/token", &headers).await;
        assert_eq!(refused.0, 400, "{ttl:?}");
    }
    assert_eq!(nobody.get("/latest/billet.json", &token).await.0, 404);
    let path = "/latest/api/token";
    assert_eq!(nobody.ask(Method::PUT, path, &[(TTL, "60")]).await.0, 404);

    // What may be secret is not there, and neither is the API.
    for path in [
        "/latest/user-data",
        "/latest/vendor-data",
        "/v1/leases",
        "/metrics",
    ] {
        assert_eq!(one.get(path, &token).await.0, 404, "{path}");
    }
    let shown = site.get(&format!("/v1/leases/{first}")).await.ok().value();
    assert_eq!(shown["metadata"]["network"], true);
    assert_eq!(shown["metadata"]["drive"], false, "it is not written yet");

    // A lease that is being taken back has no machine that would ask.
    let store = site.control.store();
    let mut lease = store.lease(first).await.expect("the store").expect("it");
    lease.state = LeaseState::Releasing;
    let put = Write::PutLease(Box::new(lease));
    site.commit(Batch::new().with(put).audited(site.row()))
        .await;
    assert_eq!(one.get("/latest/billet.json", &token).await.0, 404);
}
