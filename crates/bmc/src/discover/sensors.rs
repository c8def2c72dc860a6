//! What the sensors read, from the newer resources and from the older ones.

use billet_model::inventory::Sensor;
use serde_json::Value;

use super::walk::Walk;
use crate::value::{Resource, absent, list, real, text};

/// The older resources' lists: which, of what kind, in which field, in which unit.
const OLDER: [(&str, &str, &str, &str, &str); 5] = [
    (
        "/Thermal",
        "/Temperatures",
        "temperature",
        "/ReadingCelsius",
        "Cel",
    ),
    ("/Thermal", "/Fans", "fan", "/Reading", ""),
    (
        "/Power",
        "/PowerControl",
        "power",
        "/PowerConsumedWatts",
        "W",
    ),
    (
        "/Power",
        "/PowerSupplies",
        "power",
        "/LastPowerOutputWatts",
        "W",
    ),
    ("/Power", "/Voltages", "voltage", "/ReadingVolts", "V"),
];

/// All sensors of all chassis; one that two resources know is there once.
pub(crate) async fn sensors(walk: &Walk<'_>, chassis: &[Resource]) -> Vec<Sensor> {
    let mut found: Vec<Sensor> = Vec::new();
    for place in chassis {
        let (thermal, power, newer) = tokio::join!(
            walk.resource(place.link("/Thermal")),
            walk.resource(place.link("/Power")),
            walk.collection(place.link("/Sensors")),
        );
        for (resource, pointer, kind, field, unit) in OLDER {
            let resource = match resource {
                "/Thermal" => &thermal,
                _ => &power,
            };
            let Some(resource) = resource else { continue };
            for (index, entry) in list(&resource.body, pointer).iter().enumerate() {
                if let Some(sensor) = older(entry, index, kind, field, unit) {
                    keep(&mut found, sensor);
                }
            }
        }
        for sensor in newer {
            if !sensor.absent() {
                keep(&mut found, newer_one(&sensor));
            }
        }
    }
    if found.is_empty() {
        walk.note("no sensor could be read");
    }
    found
}

fn keep(found: &mut Vec<Sensor>, sensor: Sensor) {
    let known = found
        .iter()
        .any(|s| s.name == sensor.name && s.kind == sensor.kind);
    if !known {
        found.push(sensor);
    }
}

fn older(entry: &Value, index: usize, kind: &str, field: &str, unit: &str) -> Option<Sensor> {
    if absent(entry) {
        return None;
    }
    let named = text(entry, "/Name").or_else(|| text(entry, "/FanName"));
    let name = named.unwrap_or_else(|| format!("{kind} {index}"));
    // Power supplies often share one name.
    let name = match field {
        "/LastPowerOutputWatts" => format!("{name} #{}", index + 1),
        _ => name,
    };
    let unit = match unit {
        "" => text(entry, "/ReadingUnits"),
        unit => Some(unit.to_owned()),
    };
    let value = real(entry, field).or_else(|| match field {
        "/LastPowerOutputWatts" => real(entry, "/PowerOutputWatts"),
        _ => None,
    });
    Some(Sensor {
        name,
        kind: kind.to_owned(),
        value,
        unit,
        health: text(entry, "/Status/Health"),
    })
}

fn newer_one(sensor: &Resource) -> Sensor {
    let body = &sensor.body;
    let kind = text(body, "/ReadingType").map_or_else(
        || "sensor".to_owned(),
        |kind| match kind.as_str() {
            "Rotational" => "fan".to_owned(),
            _ => kind.to_ascii_lowercase(),
        },
    );
    Sensor {
        name: text(body, "/Name").unwrap_or_else(|| sensor.id()),
        kind,
        value: real(body, "/Reading"),
        unit: text(body, "/ReadingUnits"),
        health: text(body, "/Status/Health"),
    }
}
