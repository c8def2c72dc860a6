//! Counting requests, and the text that Prometheus reads.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Upper bounds of the histogram's buckets, in seconds.
const BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0];

/// Requests that were answered, by route: as many series as there are endpoints.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    counted: Mutex<BTreeMap<(String, String, u16), Timed>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Timed {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

impl Requests {
    /// Counts one. `route` is the path as routed, never a caller's own text.
    pub(crate) fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (method.to_owned(), route.to_owned(), status);
        let timed = counted.entry(key).or_default();
        let seconds = took.as_secs_f64();
        timed.count += 1;
        timed.seconds += seconds;
        for (bucket, most) in timed.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= most);
        }
    }

    /// Adds what was counted.
    pub(crate) fn write(&self, text: &mut Text) {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let name = "billet_http_request_seconds";
        text.family(
            name,
            "histogram",
            "HTTP requests that were answered, by route.",
        );
        for ((method, route, status), timed) in counted.iter() {
            let status = status.to_string();
            let labels = [("method", &**method), ("route", route), ("status", &status)];
            for (count, most) in timed.buckets.iter().zip(BUCKETS) {
                let most = most.to_string();
                let mut with = labels.to_vec();
                with.push(("le", &most));
                text.sample(&format!("{name}_bucket"), &with, count);
            }
            let mut with = labels.to_vec();
            with.push(("le", "+Inf"));
            text.sample(&format!("{name}_bucket"), &with, timed.count);
            text.sample(&format!("{name}_sum"), &labels, timed.seconds);
            text.sample(&format!("{name}_count"), &labels, timed.count);
        }
    }
}

/// Text in the exposition format.
#[derive(Debug, Default)]
pub(crate) struct Text(pub(crate) String);

impl Text {
    /// Begins a family.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One value.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (n, (label, text)) in labels.iter().enumerate() {
            self.0.push(if n == 0 { '{' } else { ',' });
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(self.0, "{label}=\"{text}\"");
        }
        let _ = writeln!(
            self.0,
            "{} {value}",
            if labels.is_empty() { "" } else { "}" }
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_in_every_bucket_above_it() {
        let requests = Requests::default();
        for millis in [1, 7, 700, 20_000] {
            requests.answered("GET", "/v1/leases", 200, Duration::from_millis(millis));
        }
        let mut text = Text::default();
        requests.write(&mut text);
        let has = |line: &str| assert!(text.0.contains(line), "{line} in {}", text.0);
        let labels = r#"method="GET",route="/v1/leases",status="200""#;
        has(&format!("_bucket{{{labels},le=\"0.001\"}} 1\n"));
        has(&format!("_bucket{{{labels},le=\"0.01\"}} 2\n"));
        has(&format!("_bucket{{{labels},le=\"10\"}} 3\n"));
        has(&format!("_bucket{{{labels},le=\"+Inf\"}} 4\n"));
        has(&format!("_count{{{labels}}} 4\n"));
        has("# TYPE billet_http_request_seconds histogram\n");
    }

    #[test]
    fn labels_are_quoted() {
        let mut text = Text::default();
        text.sample("a", &[("b", "x\"y\\z\n")], 1);
        text.sample("c", &[], 2);
        assert_eq!(text.0, "a{b=\"x\\\"y\\\\z\\n\"} 1\nc 2\n");
    }
}
