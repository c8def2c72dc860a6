//! What a lease's drive was found to hold beside its image, for people.

use billet_model::{
    lease::{ActiveBecause, Install},
    measure::{ChunkCount, MeasuredWhen, Measurement},
};

use super::install_config;
use crate::human;

/// What was served to install a lease, and that nothing more is known.
pub(super) fn installation(install: &Install) -> String {
    let mut lines = vec![
        format!(
            "the tenant's own configuration ({}): not measured",
            install.kind
        ),
        format!("  configuration {}", install.digest),
    ];
    lines.extend(
        install
            .parts
            .iter()
            .map(|p| format!("  {}", install_config::part(p))),
    );
    if let Some(line) = &install.command_line {
        lines.push(format!("  command line: {line}"));
    }
    lines.push(match &install.medium {
        Some(m) => format!(
            "  served on a medium of {}, SHA-256 {}, read by the BMC from {} on",
            human::bytes(m.bytes),
            m.sha256,
            human::time(m.read_at)
        ),
        None => "  no BMC has read its medium yet".into(),
    });
    if let Some(ended) = install.ended {
        let whose = match ended.because {
            ActiveBecause::TenantSaid => "its tenant said that it is installed",
            ActiveBecause::Unreported => "its time was over, and nobody had said that it is done",
            _ => "it said that it is done",
        };
        lines.push(format!("  {whose}, {}", human::time(ended.at)));
    }
    if let Some(out) = install.medium.as_ref().and_then(|m| m.out_at) {
        lines.push(format!("  its medium was taken out {}", human::time(out)));
    }
    lines.join("\n")
}

/// All of a lease's measurements, one after the other.
pub(super) fn measurements(all: &[Measurement]) -> String {
    all.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn one(m: &Measurement) -> String {
    let when = match m.when {
        MeasuredWhen::BeforeFirstBoot => "as it was written, before its first boot",
        MeasuredWhen::Since => "after the tenant's system ran",
    };
    let found = &m.found;
    let verdict = if found.chunks.all_same() {
        "all of it is the image's".to_owned()
    } else {
        format!("{} as delivered", share(found.chunks))
    };
    let mut lines = vec![
        format!("{} {when}: {verdict}", human::time(m.at)),
        format!(
            "  drive {}, {} read, {}",
            m.drive,
            human::bytes(found.bytes),
            counts(found.chunks)
        ),
        format!(
            "  read {}, {} {}",
            found.content,
            if found.content == found.image {
                "which is the image's"
            } else {
                "and the image's is"
            },
            if found.content == found.image {
                "digest"
            } else {
                &found.image
            }
        ),
    ];
    // Where all is as delivered, its partitions are too.
    if !found.chunks.all_same() {
        for part in &found.parts {
            let name = part.partition.map_or_else(
                || "outside of partitions".into(),
                |n| format!("partition {n}"),
            );
            lines.push(format!(
                "  {name}: {} as delivered, {}",
                share(part.chunks),
                counts(part.chunks)
            ));
        }
    }
    for copy in &found.copies {
        lines.push(format!(
            "  drive {} of its mirror: {} as delivered, {}; {} chunks other than on the first",
            copy.drive,
            share(copy.chunks),
            counts(copy.chunks),
            copy.differ
        ));
    }
    for change in &m.changes {
        lines.push(format!(
            "  then put there: {}, {}, {}, SHA-256 {}",
            change.what,
            change.place,
            human::bytes(change.bytes),
            change.sha256
        ));
    }
    lines.join("\n")
}

fn share(chunks: ChunkCount) -> String {
    let per_mille = chunks.per_mille();
    format!("{}.{} %", per_mille / 10, per_mille % 10)
}

fn counts(c: ChunkCount) -> String {
    let mut text = format!("{} of {} chunks with data", c.data_same, c.data);
    if c.empty > 0 {
        text.push_str(&format!(", {} of {} empty ones", c.empty_same, c.empty));
    }
    text
}

#[cfg(test)]
mod tests {
    use billet_model::{
        BootId,
        measure::{ChangeKind, DriveChange, Measured, MeasuredPart},
    };

    use super::*;

    #[test]
    fn what_differs_is_said_by_partition_and_what_does_not_is_not() {
        let same = ChunkCount {
            data: 3,
            data_same: 3,
            empty: 1,
            empty_same: 1,
        };
        let other = ChunkCount {
            data_same: 2,
            ..same
        };
        let mut measurement = Measurement {
            at: jiff::Timestamp::UNIX_EPOCH,
            boot: BootId::from_parts(1, [1; 10]),
            when: MeasuredWhen::BeforeFirstBoot,
            drive: "S1".into(),
            found: Measured {
                image: "sha256:a".into(),
                content: "sha256:a".into(),
                bytes: 4 << 20,
                chunks: same,
                copies: Vec::new(),
                parts: vec![MeasuredPart {
                    partition: Some(1),
                    chunks: same,
                }],
            },
            changes: vec![DriveChange {
                what: ChangeKind::Seed,
                place: "bytes 5 to 9 of the drive".into(),
                bytes: 5,
                sha256: "cc".into(),
            }],
        };
        let text = one(&measurement);
        assert!(text.contains("before its first boot: all of it is the image's"));
        assert!(text.contains("read sha256:a, which is the image's digest"));
        assert!(!text.contains("partition 1"));
        assert!(text.contains("then put there: cloud-init's seed, bytes 5 to 9 of the drive"));

        measurement.found.content = "sha256:b".into();
        measurement.found.chunks = other;
        measurement.found.parts[0].chunks = other;
        let text = one(&measurement);
        assert!(text.contains("66.6 % as delivered"), "{text}");
        assert!(text.contains("partition 1: 66.6 % as delivered, 2 of 3 chunks with data, 1 of 1"));
        assert!(text.contains("read sha256:b, and the image's is sha256:a"));
    }
}
