//! The boxes that a machine is made of.

use super::walk::Walk;
use crate::value::Resource;

/// All chassis that can be read. Their types are not asked for: many do not say.
pub(crate) async fn all(walk: &Walk<'_>, root: &Resource) -> Vec<Resource> {
    let chassis = walk.collection(root.link("/Chassis")).await;
    if chassis.is_empty() {
        walk.note("no chassis could be read");
    }
    chassis
}
