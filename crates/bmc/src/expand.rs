//! Reading a collection with its members in one answer, where the BMC says that it can: a GPU
//! server has two hundred resources to read, and each answer costs a small computer its time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

/// An answer with all members in it may be asked for once, for so long: where it
/// does not come, they are read one by one.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a service root announces of `$expand`, and whether it held so far.
#[derive(Debug, Default)]
pub(crate) struct Expand {
    query: Option<&'static str>,
    broken: AtomicBool,
}

impl Expand {
    /// From the service root. Only what stands below a collection is asked for,
    /// and only one level of it: the rest is where implementations differ.
    pub fn announced(root: &Value) -> Self {
        let said = |name: &str| {
            let pointer = format!("/ProtocolFeaturesSupported/ExpandQuery/{name}");
            root.pointer(&pointer).and_then(Value::as_bool) == Some(true)
        };
        let query = match (said("NoLinks"), said("Levels")) {
            (true, true) => Some("?$expand=.($levels=1)"),
            (true, false) => Some("?$expand=."),
            (false, _) => None,
        };
        Self {
            query,
            broken: AtomicBool::new(false),
        }
    }

    /// The address under which a collection comes with its members, if there is one.
    pub fn of(&self, path: &str) -> Option<String> {
        let query = self
            .query
            .filter(|_| !self.broken.load(Ordering::Relaxed))?;
        // What has a query already is a later page, and comes as the first did.
        (!path.contains('?')).then(|| format!("{path}{query}"))
    }

    /// It announced what it cannot do, and is not asked for it again.
    pub fn failed(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }
}
