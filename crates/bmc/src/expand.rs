//! Reading a collection with its members in one answer, where the BMC says that it can: a GPU
//! server has two hundred resources to read, and each answer costs a small computer its time.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::Value;

/// An answer with all members in it may be asked for once, for so long: where it
/// does not come, they are read one by one.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How much is asked for with a collection, in levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Its members.
    Members,
    /// And the collections inside of them, with their members.
    Inside,
}

impl Depth {
    fn levels(self) -> u8 {
        match self {
            Self::Members => 1,
            Self::Inside => 3,
        }
    }
}

/// What a service root announces of `$expand`, and how much of it held so far.
#[derive(Debug, Default)]
pub(crate) struct Expand {
    /// Levels that may be asked for; 0 for none.
    most: AtomicU8,
    /// Whether they can be named.
    by_levels: bool,
}

impl Expand {
    /// From the service root. Only what stands below a resource is asked for, and not
    /// what it is linked to: there implementations differ.
    pub fn announced(root: &Value) -> Self {
        let said =
            |name: &str| root.pointer(&format!("/ProtocolFeaturesSupported/ExpandQuery/{name}"));
        let yes = |name: &str| said(name).and_then(Value::as_bool) == Some(true);
        let by_levels = yes("Levels");
        let named = said("MaxLevels").and_then(Value::as_u64).unwrap_or(1);
        let most = match (yes("NoLinks"), by_levels) {
            (true, true) => u8::try_from(named).unwrap_or(u8::MAX).max(1),
            (true, false) => 1,
            (false, _) => 0,
        };
        Self {
            most: AtomicU8::new(most),
            by_levels,
        }
    }

    /// Whether collections are asked for with what is in them.
    pub fn is_announced(&self) -> bool {
        self.most.load(Ordering::Relaxed) > 0
    }

    /// The address under which a collection comes with so much of what is in it, or less
    /// where no more can be had, and the levels of that.
    pub fn of(&self, path: &str, depth: Depth) -> Option<(String, u8)> {
        let levels = depth.levels().min(self.most.load(Ordering::Relaxed));
        // What has a query already is a later page, and comes as the first did.
        if levels == 0 || path.contains('?') {
            return None;
        }
        let query = match self.by_levels {
            true => format!("?$expand=.($levels={levels})"),
            false => "?$expand=.".to_owned(),
        };
        Some((format!("{path}{query}"), levels))
    }

    /// It announced what it cannot do, and is asked for less from now on, or for none.
    /// Says whether there is less to ask for.
    pub fn failed(&self, levels: u8) -> bool {
        let less = u8::from(levels > 1);
        self.most.fetch_min(less, Ordering::Relaxed);
        less > 0
    }
}
