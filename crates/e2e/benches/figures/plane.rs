//! A control plane with a thousand machines: what it takes, and how fast it answers.

use std::time::{Duration, Instant};

use reqwest::Client;

use crate::{
    process::{memory_mib, processor_ms},
    report::{Report, Target, quantile},
    site::Site,
    support::{items, word},
};

const MACHINES: usize = 1000;
/// Readings of one machine, and of the whole list.
const ONE: usize = 2000;
const LIST: usize = 100;

/// Measures all of it on one site.
pub async fn measure(report: &mut Report) {
    let models = vec!["h100"; MACHINES];
    let Some(site) = Site::of_phantoms("figures", &models).await else {
        return;
    };
    let pid = site.server_id();
    let before = processor_ms(pid);
    let began = Instant::now();
    site.enroll().await;
    let machines = all(&site).await;
    assert_eq!(machines.len(), MACHINES);
    // Read, and compared with what was expected of it.
    assert!(machines.iter().all(|m| m["serial"].is_string()));
    let each = (processor_ms(pid) - before) / MACHINES as f64;
    report.add(
        "processor time to enroll and verify a machine",
        each,
        "ms",
        Some(Target::Most(5.0)),
        format!(
            "{MACHINES} at once in {:.1} s",
            began.elapsed().as_secs_f64()
        ),
    );

    power_checks(&site, pid, report).await;
    api(&site, word(&machines[MACHINES / 2]["id"]), report).await;
    report.add(
        "memory of the control plane with 1,000 phantoms",
        memory_mib(pid, "VmRSS"),
        "MiB",
        Some(Target::Most(60.0)),
        format!("{:.0} MiB at most so far", memory_mib(pid, "VmHWM")),
    );
    site.end().await;
}

async fn all(site: &Site) -> Vec<serde_json::Value> {
    let list = site.ask(&["machine", "list"]).await;
    items(&list).clone()
}

/// Machines at rest are looked at once in a while: by what pace, their readings say.
async fn power_checks(site: &Site, pid: u32, report: &mut Report) {
    let readings = async || -> Vec<String> {
        let machines = all(site).await;
        let at = machines
            .iter()
            .map(|m| m["power"]["at"].as_str().unwrap_or_default());
        at.map(str::to_owned).collect()
    };
    // All were enrolled within seconds, and are looked at a minute later.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let first = readings().await;
    let before = processor_ms(pid);
    // Less than the pause between two looks at the same machine.
    let window = Duration::from_secs(50);
    tokio::time::sleep(window).await;
    let took = processor_ms(pid) - before;
    let second = readings().await;
    let looked = first.iter().zip(&second).filter(|(a, b)| a != b).count();
    if looked < MACHINES / 10 {
        report.absent("a power check", "hardly any machine was looked at");
        return;
    }
    report.add(
        "processor time of a power check",
        took / looked as f64,
        "ms",
        Some(Target::Most(0.5)),
        format!(
            "{looked} in {} s, everything else that the control plane did counted in",
            window.as_secs()
        ),
    );
}

/// Over TLS, one connection, one request after the other.
async fn api(site: &Site, machine: &str, report: &mut Report) {
    let token = site.token().await;
    let client = Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .no_proxy()
        .build()
        .expect("a client");
    let get = async |path: &str, times: usize| {
        let url = format!("{}{path}", site.server_url());
        let mut took = Vec::with_capacity(times);
        for _ in 0..times {
            let began = Instant::now();
            let answer = client.get(&url).bearer_auth(&token).send().await;
            let answer = answer.expect("an answer").error_for_status();
            let body = answer.expect("well").bytes().await.expect("a body");
            took.push(began.elapsed().as_secs_f64() * 1000.0);
            assert!(!body.is_empty());
        }
        (quantile(&mut took, 0.5), quantile(&mut took, 0.99), took[0])
    };
    let path = format!("/v1/machines/{machine}");
    get(&path, 50).await;
    let (p50, p99, best) = get(&path, ONE).await;
    // The same without anything to read: TLS, HTTP and this client.
    let (bare, _, _) = get("/v1/info", ONE).await;
    report.add(
        "API, one machine of 1,000 over TLS, p50",
        p50,
        "ms",
        Some(Target::Most(1.0)),
        format!("p99 {p99:.2} ms, best {best:.2} ms; what the server is, which reads next to nothing: p50 {bare:.2} ms"),
    );
    let (p50, p99, best) = get("/v1/machines?limit=1000", LIST).await;
    report.add(
        "API, list of 1,000 machines over TLS, p50",
        p50,
        "ms",
        Some(Target::Most(10.0)),
        format!("p99 {p99:.2} ms, best {best:.2} ms"),
    );
}
