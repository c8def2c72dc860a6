//! Two callers want the last machine.

use serde_json::Value;

use crate::{
    site::Site,
    support::{items, word},
};

/// Exactly one of two callers at once gets the last machine; the other is told so, and nothing is
/// held by half. Each machine is the only one of its type.
#[tokio::test]
async fn one_of_two_callers_gets_the_last_machine() {
    let models = ["h100", "h200", "a100", "l40s", "cpu"];
    let Some(site) = Site::of_phantoms("races for the last machine", &models).await else {
        return;
    };
    tokio::join!(site.take_over(), site.tiny_image());
    site.project("red").await;
    site.project("blue").await;
    site.note("taken over");
    for machine in &site.machines {
        let (name, machine_type) = (word(&machine["name"]), word(&machine["machine_type"]));
        let create = site.lease(name, machine_type);
        let (red, blue) = tokio::join!(site.by("red", &create), site.by("blue", &create));
        let (winner, loser, refusal) = match (red.code, blue.code) {
            (0, _) => ("red", "blue", blue),
            _ => ("blue", "red", red),
        };
        refusal.coded(4).said("free");
        let list = ["lease", "list", "--state", "active"];
        let (won, lost) = (
            site.ask_by(winner, &list).await,
            site.ask_by(loser, &list).await,
        );
        let of_round = |leases: &Value| items(leases).iter().filter(|l| l["name"] == name).count();
        assert_eq!((of_round(&won), of_round(&lost)), (1, 0), "{machine_type}");
        let offers = site.ask(&["offers"]).await;
        let offer = items(&offers)
            .iter()
            .find(|o| o["machine_type"] == machine_type);
        assert_eq!(offer.expect("an offer")["free"], 0);
        let held = site.machine(name).await;
        assert_eq!(held["lifecycle"], "active");
    }
    let all = site.ask(&["lease", "list"]).await;
    assert_eq!(
        items(&all).len(),
        models.len(),
        "no lease of a loser is left"
    );
    site.end().await;
}
