//! However much a BMC answers, only so much of it is taken in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use billet_bmc::{Answered, BmcClient, StandIn, Timeouts};
use billet_model::Secret;
use billet_model::bmc::BmcEndpoint;

/// Answers with `size` bytes each time; each chassis contains another one.
struct Wordy {
    size: usize,
    said: AtomicUsize,
}

impl StandIn for Wordy {
    fn answer(&self, method: &str, path: &str) -> Answered {
        if method != "GET" {
            return Answered {
                status: 201,
                headers: vec![("X-Auth-Token".into(), "t".into())],
                body: Vec::new(),
            };
        }
        let number = self.said.fetch_add(self.size, Ordering::Relaxed);
        let body = serde_json::json!({
            "@odata.id": path, "Id": "1", "Name": "n", "SystemType": "Physical",
            "Systems": {"@odata.id": "/redfish/v1/Systems"},
            "Chassis": {"@odata.id": "/redfish/v1/Chassis"},
            "Members": [{"@odata.id": format!("{path}/{number}")}],
            "Links": {"Contains": [{"@odata.id": format!("/redfish/v1/Chassis/{number}")}]},
            "Oem": "x".repeat(self.size),
        });
        Answered {
            status: 200,
            headers: Vec::new(),
            body: body.to_string().into_bytes(),
        }
    }
}

fn client(wordy: &Arc<Wordy>) -> BmcClient {
    let endpoint = BmcEndpoint {
        address: "https://192.0.2.1".into(),
        user: "u".into(),
        fingerprint: None,
    };
    let wordy: Arc<dyn StandIn> = wordy.clone();
    BmcClient::answered_by(&endpoint, Secret::new("p"), Timeouts::default(), wordy).unwrap()
}

#[tokio::test]
async fn a_discovery_takes_in_so_much_and_says_so() {
    let wordy = Arc::new(Wordy {
        size: 1 << 20,
        said: AtomicUsize::default(),
    });
    let found = client(&wordy).discover().await.unwrap();
    let notes = found.inventory.notes.join("\n");
    assert!(notes.contains("come to more than 32 MiB"), "{notes}");
    // What is read before, and what is under way at the limit, is a little more.
    let said = wordy.said.load(Ordering::Relaxed);
    assert!(said < 48 << 20, "{said}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_alone_is_refused() {
    let wordy = Arc::new(Wordy {
        size: 9 << 20,
        said: AtomicUsize::default(),
    });
    let error = client(&wordy).discover().await.unwrap_err().to_string();
    assert!(error.contains("larger than 8388608 bytes"), "{error}");
}
