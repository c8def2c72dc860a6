//! The boxes that a machine is made of.

use super::walk::Walk;
use crate::link;
use crate::value::Resource;

/// The most boxes that a machine is believed to have.
const MOST: usize = 500;

/// All chassis that can be read, those inside others (trays, modules) too.
/// Their types are not asked for: many do not say.
pub(crate) async fn all(walk: &Walk<'_>, root: &Resource) -> Vec<Resource> {
    let mut chassis = walk.collection(root.link("/Chassis")).await;
    // Some list only the outermost one, which names what it contains.
    let mut from = 0;
    while from < chassis.len() && chassis.len() < MOST {
        let mut inside: Vec<String> = Vec::new();
        for link in chassis[from..]
            .iter()
            .flat_map(|c| c.links("/Links/Contains"))
        {
            let known = chassis.iter().any(|c| link::same(&c.path, &link))
                || inside.iter().any(|i| link::same(i, &link));
            if !known {
                inside.push(link);
            }
        }
        from = chassis.len();
        inside.truncate(MOST);
        chassis.extend(walk.all(inside).await);
    }
    if chassis.is_empty() {
        walk.note("no chassis could be read");
    }
    chassis
}
