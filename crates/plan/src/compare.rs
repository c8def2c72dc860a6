//! Two readings of what is set in a machine, compared: what differs, and what
//! there is to ask for to put it back.

use std::collections::{BTreeMap, BTreeSet};

use billet_model::{
    bmc::{BmcAccount, FirmwareSettings, Restore},
    upkeep::{Restoration, Restoring, SettingChange, SettingKind, SettingsReport},
};

const FOR_GOOD: &str = "firmware is not written by Billet";
const NO_PASSWORD: &str = "its password is not known, so it is not made again";
const NOT_THERE: &str = "it is not among the settings any more, or was not before";

fn change(kind: SettingKind, what: String, was: String, is: String) -> SettingChange {
    SettingChange {
        kind,
        what,
        user: None,
        was,
        is,
        came_of_it: Restoration::Pending,
    }
}

fn left(mut change: SettingChange, why: &str) -> SettingChange {
    change.came_of_it = Restoration::Left { why: why.into() };
    change
}

/// Compares `after` with `before`. `own` is Billet's user at the BMC, whose
/// account is never taken away.
pub fn compare(before: &FirmwareSettings, after: &FirmwareSettings, own: &str) -> Restoring {
    let mut report = SettingsReport::default();
    let mut queue = Vec::new();
    for part in FirmwareSettings::PARTS {
        if let Some(why) = not_comparable(part, before, after) {
            report.not_compared.push(format!("{part}: {why}"));
            continue;
        }
        report.compared.push(part.to_owned());
        let changes = match part {
            FirmwareSettings::ACCOUNTS => accounts(before, after, own, &mut queue),
            FirmwareSettings::BIOS => bios(before, after, &mut queue),
            FirmwareSettings::VERSIONS => versions(before, after),
            FirmwareSettings::BOOT_ORDER => boot_order(before, after, &mut queue),
            FirmwareSettings::BOOT_OVERRIDE => boot_override(before, after),
            _ => secure_boot(before, after, &mut queue),
        };
        report.changes.extend(changes);
    }
    // What is not told until the machine was started may be told then.
    let untold = after.bios.is_empty() && !before.bios.is_empty();
    Restoring {
        look_again: untold || !report.changes.is_empty(),
        report,
        queue,
        refused: Vec::new(),
    }
}

/// Why a part cannot be compared, if it cannot. Not in the BMC's own words: a
/// certificate is the tenant's to read.
fn not_comparable(
    part: &str,
    before: &FirmwareSettings,
    after: &FirmwareSettings,
) -> Option<String> {
    let told = |s: &FirmwareSettings| {
        !s.not_read.contains_key(part)
            && match part {
                FirmwareSettings::ACCOUNTS => s.accounts.is_some(),
                FirmwareSettings::BIOS => !s.bios.is_empty(),
                FirmwareSettings::VERSIONS => !s.versions.is_empty(),
                FirmwareSettings::SECURE_BOOT => s.secure_boot.is_some(),
                _ => true,
            }
    };
    match (told(before), told(after)) {
        (true, true) => None,
        (true, false) => Some("told before only, and not compared".into()),
        (false, true) => Some("told now only, and not compared".into()),
        (false, false) => Some("not told by the BMC".into()),
    }
}

/// Pairs accounts of two readings: by id and name, then by name alone, for ids
/// may move.
fn accounts(
    before: &FirmwareSettings,
    after: &FirmwareSettings,
    own: &str,
    queue: &mut Vec<Restore>,
) -> Vec<SettingChange> {
    let was: &[BmcAccount] = before.accounts.as_deref().unwrap_or_default();
    let mut rest: Vec<&BmcAccount> = after.accounts.iter().flatten().collect();
    let mut changes = Vec::new();
    let mut gone = Vec::new();
    let mut put = Vec::new();
    let mut pairs = Vec::new();
    for exactly in [true, false] {
        for one in was {
            if pairs.iter().any(|(w, _): &(&BmcAccount, _)| *w == one) {
                continue;
            }
            let same = |a: &&BmcAccount| a.user == one.user && (!exactly || a.id == one.id);
            if let Some(at) = rest.iter().position(same) {
                pairs.push((one, rest.remove(at)));
            } else if !exactly {
                gone.push(one);
            }
        }
    }
    let named = |id: &str, user: &str, was: String, is: String| SettingChange {
        user: Some(user.to_owned()),
        ..change(SettingKind::Account, format!("BMC account {id}"), was, is)
    };
    for (was, is) in pairs {
        let role = was.role.is_some() && was.role != is.role;
        let flag = was.enabled.is_some() && was.enabled != is.enabled;
        if role || flag {
            changes.push(named(&is.id, &is.user, was.words(), is.words()));
            put.push(Restore::PutAccount {
                account: was.clone(),
            });
        }
    }
    for one in rest.iter().filter(|a| a.user != own) {
        changes.push(named(&one.id, &one.user, "absent".into(), one.words()));
        queue.push(Restore::RemoveAccount {
            id: one.id.clone(),
            user: one.user.clone(),
        });
    }
    for one in gone {
        let removed = named(&one.id, &one.user, one.words(), "absent".into());
        changes.push(left(removed, NO_PASSWORD));
    }
    queue.extend(put);
    changes
}

fn bios(
    before: &FirmwareSettings,
    after: &FirmwareSettings,
    queue: &mut Vec<Restore>,
) -> Vec<SettingChange> {
    let mut attributes = BTreeMap::new();
    let changes = values(SettingKind::Bios, "BIOS setting", &before.bios, &after.bios)
        .into_iter()
        .map(
            |(name, change)| match (before.bios.get(&name), after.bios.get(&name)) {
                (Some(was), Some(_)) => {
                    attributes.insert(name, was.clone());
                    change
                }
                _ => left(change, NOT_THERE),
            },
        )
        .collect();
    if !attributes.is_empty() {
        queue.push(Restore::Bios { attributes });
    }
    changes
}

fn versions(before: &FirmwareSettings, after: &FirmwareSettings) -> Vec<SettingChange> {
    values(
        SettingKind::Firmware,
        "firmware version of",
        &before.versions,
        &after.versions,
    )
    .into_iter()
    .map(|(_, change)| left(change, FOR_GOOD))
    .collect()
}

fn values(
    kind: SettingKind,
    word: &str,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<(String, SettingChange)> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let text = |v: Option<&String>| v.map_or("absent".to_owned(), |v| format!("{v:?}"));
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| {
            let (was, is) = (text(before.get(name)), text(after.get(name)));
            (
                name.clone(),
                change(kind, format!("{word} {name}"), was, is),
            )
        })
        .collect()
}

fn boot_order(
    before: &FirmwareSettings,
    after: &FirmwareSettings,
    queue: &mut Vec<Restore>,
) -> Vec<SettingChange> {
    if before.boot_order == after.boot_order {
        return Vec::new();
    }
    let text = |s: &FirmwareSettings| {
        let named = |r: &String| match s.boot_options.get(r) {
            Some(name) => format!("{r} ({name})"),
            None => r.clone(),
        };
        let order: Vec<String> = s.boot_order.iter().map(named).collect();
        format!("[{}]", order.join(", "))
    };
    // Entries that firmware made or forgot meanwhile are no part of the order.
    let there: BTreeSet<&String> = after.boot_order.iter().collect();
    let mut order: Vec<String> = before
        .boot_order
        .iter()
        .filter(|r| there.contains(r))
        .cloned()
        .collect();
    let new: Vec<String> = after
        .boot_order
        .iter()
        .filter(|r| !order.contains(r))
        .cloned()
        .collect();
    order.extend(new);
    let change = change(
        SettingKind::BootOrder,
        "boot order".into(),
        text(before),
        text(after),
    );
    if order == after.boot_order {
        return vec![left(
            change,
            "entries came or went, and the rest is in order",
        )];
    }
    queue.push(Restore::BootOrder { order });
    vec![change]
}

fn boot_override(before: &FirmwareSettings, after: &FirmwareSettings) -> Vec<SettingChange> {
    if before.boot_override == after.boot_override {
        return Vec::new();
    }
    let text = |s: &str| if s.is_empty() { "none" } else { s }.to_owned();
    // Nothing is asked for: every boot of the ramdisk ends it.
    vec![change(
        SettingKind::BootOverride,
        "boot override that lasts".into(),
        text(&before.boot_override),
        text(&after.boot_override),
    )]
}

fn secure_boot(
    before: &FirmwareSettings,
    after: &FirmwareSettings,
    queue: &mut Vec<Restore>,
) -> Vec<SettingChange> {
    if before.secure_boot == after.secure_boot {
        return Vec::new();
    }
    let text = |on: Option<bool>| if on == Some(true) { "on" } else { "off" }.to_owned();
    if let Some(on) = before.secure_boot {
        queue.push(Restore::SecureBoot { on });
    }
    vec![change(
        SettingKind::SecureBoot,
        "Secure Boot".into(),
        text(before.secure_boot),
        text(after.secure_boot),
    )]
}

/// What came of putting back, by a later comparison with the same reading from
/// before. What differs only now is added, to be asked for.
pub fn came_of_it(tried: Restoring, now: Restoring) -> Restoring {
    let mut report = tried.report;
    let refused = |kind: SettingKind| {
        let of = |r: &Restore| match r {
            Restore::RemoveAccount { .. } | Restore::PutAccount { .. } => SettingKind::Account,
            Restore::Bios { .. } => SettingKind::Bios,
            Restore::BootOrder { .. } => SettingKind::BootOrder,
            Restore::SecureBoot { .. } => SettingKind::SecureBoot,
        };
        let said = tried.refused.iter().find(|(r, _)| of(r) == kind);
        said.map(|(_, why)| why.clone())
    };
    for change in &mut report.changes {
        let still = now.report.changes.iter().find(|c| c.what == change.what);
        let part = part_of(change.kind);
        let told = now.report.compared.iter().any(|p| p == part);
        change.came_of_it = match still {
            _ if !told => Restoration::Left {
                why: "it could not be read again".into(),
            },
            None => Restoration::PutBack,
            Some(still) => match &still.came_of_it {
                Restoration::Left { why } => Restoration::Left { why: why.clone() },
                _ if still.was == "absent" && still.is.ends_with("disabled") => {
                    Restoration::Disabled
                }
                _ => Restoration::Left {
                    why: refused(change.kind)
                        .unwrap_or_else(|| "it was asked for, and reads as it was found".into()),
                },
            },
        };
    }
    let mut queue = Vec::new();
    for change in now.report.changes {
        if report.changes.iter().any(|c| c.what == change.what) {
            continue;
        }
        // Billet's own boots end an override.
        if change.kind == SettingKind::BootOverride {
            continue;
        }
        for restore in &now.queue {
            if concerns(restore, &change) && !queue.contains(restore) {
                queue.push(restore.clone());
            }
        }
        report.changes.push(match change.came_of_it {
            Restoration::Left { .. } => change,
            _ => left(change, "found late: asked for, and not looked at again"),
        });
    }
    for part in now.report.compared {
        if !report.compared.contains(&part) {
            report.not_compared.retain(|n| !n.starts_with(&part));
            report.compared.push(part);
        }
    }
    Restoring {
        report,
        queue,
        refused: tried.refused,
        look_again: true,
    }
}

fn part_of(kind: SettingKind) -> &'static str {
    match kind {
        SettingKind::Account => FirmwareSettings::ACCOUNTS,
        SettingKind::Bios => FirmwareSettings::BIOS,
        SettingKind::Firmware => FirmwareSettings::VERSIONS,
        SettingKind::BootOrder => FirmwareSettings::BOOT_ORDER,
        SettingKind::BootOverride => FirmwareSettings::BOOT_OVERRIDE,
        SettingKind::SecureBoot => FirmwareSettings::SECURE_BOOT,
    }
}

/// Whether a request is for this change (among others).
fn concerns(restore: &Restore, change: &SettingChange) -> bool {
    match restore {
        Restore::RemoveAccount { id, .. } => change.what == format!("BMC account {id}"),
        Restore::PutAccount { account } => {
            change.kind == SettingKind::Account && change.user.as_ref() == Some(&account.user)
        }
        Restore::Bios { .. } => change.kind == SettingKind::Bios,
        Restore::BootOrder { .. } => change.kind == SettingKind::BootOrder,
        Restore::SecureBoot { .. } => change.kind == SettingKind::SecureBoot,
    }
}
