//! What is made of a lease's drives: asked for on the command line, and shown.

use std::path::{Path, PathBuf};

use billet_model::{
    api::LeaseView,
    layout::{ArrayWish, ArrayWritten, DriveLayout, LaidArray, RootMirror, Scratch},
};
use clap::Args;

use crate::{failure::Failure, human};

/// Flags that ask for a layout of drives.
#[derive(Debug, Args)]
#[command(next_help_heading = "Drives")]
pub struct Drives {
    /// Put the root on so many drives, each with a whole copy (RAID1), or on the first and
    /// serial=SERIAL[,serial=…]. The image must be one that can boot so: see `billet image show`.
    #[arg(long, value_name = "COUNT|SERIALS")]
    root_mirror: Option<RootMirror>,
    /// Make an array with a file system of other drives; may be repeated. NAME[,level=…][,drives=…]
    /// [,of=…][,serial=…][,fs=…][,mount=…]: level is single, 0, 1, 5, 6 or 10; drives a number or
    /// all; of a kind and an end by size (largest-nvme, ssd); serial names drives in place of these
    /// two, and may be repeated; fs is ext4 or xfs; it is mounted at /NAME where not said.
    #[arg(long, value_name = "ARRAY")]
    array: Vec<ArrayWish>,
    /// Make scratch of whatever drives are left: striped over all of them, or a file system on
    /// each. HOW[,fs=…][,mount=…]; striped and /scratch where not said.
    #[arg(
        long,
        value_name = "HOW",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "striped"
    )]
    scratch: Option<Scratch>,
    /// Read all of this from a JSON file, as `layout` in the API's document has it.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["root_mirror", "array", "scratch"]
    )]
    layout: Option<PathBuf>,
}

impl Drives {
    /// The layout that is asked for, if one is.
    pub fn layout(self) -> Result<Option<DriveLayout>, Failure> {
        if let Some(path) = &self.layout {
            return read(path).map(Some);
        }
        let layout = DriveLayout {
            root_mirror: self.root_mirror,
            arrays: self.array,
            scratch: self.scratch,
        };
        Ok((!layout.is_empty()).then_some(layout))
    }
}

fn read(path: &Path) -> Result<DriveLayout, Failure> {
    let failed = |said: String| {
        Failure::usage(format!(
            "reading a layout of drives from {}: {said}",
            path.display()
        ))
        .hint(r#"a small one: {"arrays": [{"name": "data", "level": "raid5"}], "scratch": {}}"#)
    };
    let text = crate::bounded::text(path, crate::bounded::SMALL);
    let text = text.map_err(|e| failed(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| failed(e.to_string()))
}

/// A lease's drives, one line for each thing that is made of some.
pub fn drives(lease: &LeaseView) -> String {
    let roots: Vec<&str> = lease
        .layout
        .root
        .iter()
        .map(|d| d.serial.as_str())
        .collect();
    let mut lines = Vec::new();
    match roots.len() {
        0 => {}
        1 => lines.push(format!("root: {}", roots[0])),
        n => lines.push(format!(
            "root: mirrored on {n} drives: {}",
            roots.join(", ")
        )),
    }
    lines.extend(lease.root_mirrored.iter().map(|said| format!("  {said}")));
    for array in &lease.layout.arrays {
        let written = lease.arrays_written.iter().find(|w| w.name == array.name);
        lines.push(array_line(array, written));
    }
    if let Some(said) = &lease.file_systems {
        lines.push(if said == "ok" {
            "the machine said that their file systems are mounted".into()
        } else {
            format!("NOT all of their file systems are mounted, said the machine: {said}")
        });
    }
    lines.join("\n")
}

fn array_line(array: &LaidArray, written: Option<&ArrayWritten>) -> String {
    let serials: Vec<&str> = array.drives.iter().map(|d| d.serial.as_str()).collect();
    let mut line = format!(
        "{}: {} of {}; {} at {}",
        array.name,
        array.level,
        serials.join(", "),
        array.file_system,
        array.mount
    );
    let Some(written) = written else {
        return line;
    };
    if written.kept {
        let unmarked: Vec<&str> = written
            .drives
            .iter()
            .filter(|d| d.marked == Some(false))
            .map(|d| d.serial.as_str())
            .collect();
        line.push_str("\n  kept as it was");
        if !unmarked.is_empty() {
            line.push_str(&format!(
                "; without the array's mark when it was looked at: {}",
                unmarked.join(", ")
            ));
        }
        return line;
    }
    line.push_str(&format!(
        "; {}, UUID {}",
        human::bytes(written.bytes),
        array.id
    ));
    for drive in &written.drives {
        for change in &drive.changes {
            line.push_str(&format!(
                "\n  {}: {} at {}, read back: sha256 {}",
                drive.serial, change.what, change.place, change.sha256
            ));
        }
    }
    line
}
