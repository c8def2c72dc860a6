//! Machines as people see them.

use billet_model::{
    api::{MachineView, MachineWarmth},
    inventory::{Emulation, Inventory},
    upkeep::UnerasedDrive,
    warm::TrialResult,
};

use crate::{
    human,
    output::{card, list, maybe},
};

/// A word where a machine is not real silicon.
pub fn mark(emulation: Emulation) -> &'static str {
    match emulation {
        Emulation::None => "",
        Emulation::Emulated => "emulated",
        Emulation::Phantom => "phantom",
    }
}

/// Machines for people.
pub fn table(machines: &[MachineView]) -> String {
    list(
        [
            "name",
            "site",
            "type",
            "lifecycle",
            "power",
            "health",
            "lab",
            "what",
        ],
        machines.iter().map(|m| {
            [
                m.name.to_string(),
                m.site.to_string(),
                m.machine_type.to_string(),
                m.lifecycle.to_string(),
                m.power
                    .map(|reading| reading.power.to_string())
                    .unwrap_or_default(),
                m.health.to_string(),
                mark(m.emulation).to_owned(),
                what(m),
            ]
        }),
    )
}

/// A machine as one that waits warm, or may, in lines.
fn warm(w: &MachineWarmth) -> String {
    let mut told = Vec::new();
    if let Some(since) = w.since {
        told.push(format!("waits warm since {}", human::time(since)));
        told.push(match w.idle.map(|i| i.watts) {
            Some(Some(watts)) => format!("idle power {watts} W, as its BMC measures it"),
            Some(None) => "idle power not measured: its BMC measures none".to_owned(),
            None => "idle power not read yet".to_owned(),
        });
    }
    if let Some(p) = &w.prepared {
        let how = if p.read_back {
            "written and read back"
        } else {
            "not (yet) read back"
        };
        told.push(format!(
            "image {} on drive {}, {how} {}",
            p.digest,
            p.drive.serial,
            human::time(p.at)
        ));
    }
    match w.trial.as_ref().map(|t| &t.result) {
        Some(TrialResult::Passed) => told.push("kexec was tried, and works".to_owned()),
        Some(TrialResult::Failed { why }) => {
            told.push(format!("kexec was tried, and failed: {why}"));
        }
        Some(TrialResult::UnderWay { .. }) => told.push("kexec is being tried".to_owned()),
        None => {}
    }
    if let Some(failed) = &w.failed {
        let at = human::time(failed.at);
        told.push(format!("not warm since {at}: {}", failed.why));
    }
    told.join("\n")
}

fn what(m: &MachineView) -> String {
    if m.unconfirmed {
        return "restored from a backup: look at it, then `billet machine confirm`".to_owned();
    }
    if let Some(hold) = &m.hold {
        return format!("held: {}", hold.detail);
    }
    if let Some(waiting) = &m.waiting {
        return waiting.reason.clone();
    }
    if let Some(reason) = &m.cordoned {
        return format!("cordoned: {reason}");
    }
    m.doing.clone()
}

/// A machine for people.
pub fn show(m: &MachineView) -> String {
    let lines = |items: &[String]| items.join("\n");
    let addresses: Vec<String> = m
        .addresses
        .iter()
        .map(|a| format!("{}/{}", a.ip, a.prefix))
        .collect();
    let tests: Vec<String> = m
        .tests
        .iter()
        .map(|t| {
            let verdict = match t.verdict {
                billet_model::work::Verdict::Passed => "passed",
                billet_model::work::Verdict::Failed => "FAILED",
                billet_model::work::Verdict::NotTested => "not tested",
            };
            let figure = t
                .figure
                .as_ref()
                .map(|f| format!(", {f}"))
                .unwrap_or_default();
            format!("{} {}: {verdict}{figure} ({})", t.part, t.test, t.detail)
        })
        .collect();
    let mut text = card([
        ("name", m.name.to_string()),
        ("id", m.id.to_string()),
        ("site", m.site.to_string()),
        ("rack", maybe(m.rack.as_ref())),
        ("type", m.machine_type.to_string()),
        ("serial", maybe(m.serial.as_ref())),
        ("lab", mark(m.emulation).to_owned()),
        ("lifecycle", m.lifecycle.to_string()),
        ("doing", m.doing.clone()),
        (
            "waits",
            m.waiting
                .as_ref()
                .map(|w| {
                    format!(
                        "{}\nuntil {}, then: {}",
                        w.reason,
                        human::time(w.deadline),
                        w.next_action
                    )
                })
                .unwrap_or_default(),
        ),
        (
            "held",
            m.hold
                .as_ref()
                .map(|h| format!("{} (since {})", h.detail, human::time(h.since)))
                .unwrap_or_default(),
        ),
        ("cordoned", maybe(m.cordoned.as_ref())),
        (
            "unconfirmed",
            if m.unconfirmed {
                "restored from a backup".to_owned()
            } else {
                String::new()
            },
        ),
        (
            "power",
            m.power
                .map(|r| format!("{} (read {})", r.power, human::time(r.at)))
                .unwrap_or_default(),
        ),
        ("health", m.health.to_string()),
        (
            "may hold data",
            if m.may_hold_data { "yes" } else { "no" }.to_owned(),
        ),
        ("bmc", m.bmc_address.clone()),
        ("bmc certificate", maybe(m.bmc_fingerprint.as_ref())),
        (
            "bmc trouble",
            m.bmc_trouble
                .as_ref()
                .map(|t| format!("{} (since {})", t.detail, human::time(t.since)))
                .unwrap_or_default(),
        ),
        ("addresses", lines(&addresses)),
        ("lease", maybe(m.lease)),
        ("operation", maybe(m.operation)),
        ("units", m.units.to_string()),
        (
            "bmc password",
            match (&m.bmc_password.failed, m.bmc_password.rotated_at) {
                (Some(why), _) => format!("not rotated: {why}"),
                (None, Some(at)) => format!("rotated {}", human::time(at)),
                (None, None) => String::new(),
            },
        ),
        (
            "drives",
            m.drives
                .iter()
                .map(|d| d.serial.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        ),
        (
            "drives struck",
            m.struck
                .iter()
                .map(|s| format!("{} ({})", s.drive.serial, s.reason))
                .collect::<Vec<_>>()
                .join("\n"),
        ),
        ("warm", warm(&m.warm)),
        (
            "not erased",
            m.let_go
                .iter()
                .chain(&m.unerased)
                .map(UnerasedDrive::told)
                .collect::<Vec<_>>()
                .join("\n"),
        ),
        ("differences", lines(&m.differences)),
        ("left by leases", lines(&m.settings_left)),
        ("tests", lines(&tests)),
        ("enrolled", human::time(m.created_at)),
    ]);
    if let Some(inventory) = &m.inventory {
        text.push('\n');
        text.push_str(&parts(inventory));
    }
    text
}

/// A machine's parts for people.
pub fn parts(i: &Inventory) -> String {
    let named = |parts: &[Option<&String>]| {
        let words: Vec<&str> = parts.iter().flatten().map(|s| s.as_str()).collect();
        words.join(" ")
    };
    let cpus: Vec<String> = i
        .cpus
        .iter()
        .map(|c| {
            let threads = c
                .threads
                .map(|t| format!(", {t} threads"))
                .unwrap_or_default();
            format!("{} {}{threads}", c.socket, named(&[c.model.as_ref()]))
        })
        .collect();
    let drives: Vec<String> = i
        .drives
        .iter()
        .map(|d| {
            let not_own = match (d.remote, d.removable) {
                (true, _) => ", remote",
                (_, true) => ", removable",
                _ => "",
            };
            format!(
                "{} {} {} serial {}{not_own}",
                d.name,
                human::bytes(d.size_bytes),
                named(&[d.model.as_ref()]),
                d.serial.as_deref().unwrap_or("unknown"),
            )
        })
        .collect();
    let gpus: Vec<String> = i
        .gpus
        .iter()
        .map(|g| {
            let memory = g
                .memory_bytes
                .map(|b| format!(", {}", human::bytes(b)))
                .unwrap_or_default();
            let stand_in = if g.stand_in { ", a stand-in" } else { "" };
            // Many models begin with their maker's name.
            let maker = g.manufacturer.as_ref().filter(|maker| {
                let model = g.model.as_deref().unwrap_or_default();
                !model.starts_with(maker.as_str())
            });
            let name = named(&[maker, g.model.as_ref()]);
            format!("{} {name}{memory}{stand_in}", g.address)
        })
        .collect();
    let nics: Vec<String> = i
        .nics
        .iter()
        .map(|n| {
            let speed = n
                .speed_mbps
                .map(|s| format!(", {s} Mbit/s"))
                .unwrap_or_default();
            format!("{} {}{speed}", n.name, n.mac.as_deref().unwrap_or("no MAC"))
        })
        .collect();
    let firmware: Vec<String> = i
        .firmware
        .iter()
        .map(|f| format!("{} {}", f.component, f.version))
        .collect();
    card([
        (
            "system",
            named(&[
                i.system.manufacturer.as_ref(),
                i.system.model.as_ref(),
                i.system.serial.as_ref(),
            ]),
        ),
        ("cpus", cpus.join("\n")),
        (
            "numa nodes",
            if i.numa.is_empty() {
                String::new()
            } else {
                i.numa.len().to_string()
            },
        ),
        (
            "memory",
            if i.memory.total_bytes == 0 {
                String::new()
            } else {
                human::bytes(i.memory.total_bytes)
            },
        ),
        ("drives", drives.join("\n")),
        ("gpus", gpus.join("\n")),
        ("nics", nics.join("\n")),
        (
            "pci devices",
            if i.pci.is_empty() {
                String::new()
            } else {
                i.pci.len().to_string()
            },
        ),
        (
            "tpm",
            i.tpm
                .as_ref()
                .map(|t| t.version.clone())
                .unwrap_or_default(),
        ),
        ("firmware", firmware.join("\n")),
        ("notes", i.notes.join("\n")),
    ])
}
