//! Parsers of what comes from outside, each as a function of bytes.
//!
//! A [`Target`] takes any bytes and ends: it does not panic, hang, or take more memory than it
//! says. Where there is something to compare with it compares: what is written and read again is
//! the same, and two readers agree. A failed comparison is a panic too.
//!
//! `make fuzz` lets libFuzzer look for bytes that break this. What it found to reach new code is
//! kept under `corpus/`, a directory for each target, and what once broke something beside it, with
//! a name that says what. `make test` goes through all of it, and through seeded mutations of it.

#![allow(
    clippy::expect_used,
    reason = "a target that cannot be set up, or whose comparison fails, has failed"
)]

pub mod bounds;
pub mod corpus;
pub mod mutate;
mod site;
pub mod targets;

pub use site::close;

/// One parser, or several that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// What its bytes are, in a line.
    pub reads: &'static str,
    /// The largest input that is worth trying, in bytes.
    pub largest: usize,
    /// Memory that it may take at most, in bytes.
    pub memory: usize,
    /// Mutations of its corpus that `make test` tries: as many as take a moment.
    pub mutations: u32,
    /// The function.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "redfish",
        reads: "resources laid over a recorded tree, which the BMC's client discovers",
        largest: 16 << 10,
        memory: 256 << 20,
        mutations: 60,
        run: targets::redfish::run,
    },
    Target {
        name: "image",
        reads: "an image as it is uploaded: raw or qcow2, compressed or not",
        largest: 512 << 10,
        memory: 384 << 20,
        mutations: 60,
        run: targets::image::run,
    },
    Target {
        name: "disk",
        reads: "changes to a disk with a table, FAT and ext4, which is taken in and written",
        largest: 4 << 10,
        memory: 256 << 20,
        mutations: 20,
        run: targets::disk::run,
    },
    Target {
        name: "stored",
        reads: "a stored image's manifest, and its blob",
        largest: 32 << 10,
        memory: 256 << 20,
        mutations: 60,
        run: targets::stored::run,
    },
    Target {
        name: "boot-config",
        reads: "GRUB's configuration or a boot loader entry, which gets kernel arguments",
        largest: 16 << 10,
        memory: 32 << 20,
        mutations: 200,
        run: targets::boot_config::run,
    },
    Target {
        name: "boot-record",
        reads: "the end of a boot medium",
        largest: 32 << 10,
        memory: 16 << 20,
        mutations: 1000,
        run: targets::boot_record::run,
    },
    Target {
        name: "manifest",
        reads: "a manifest of machines, projects, images and leases, in TOML",
        largest: 16 << 10,
        memory: 64 << 20,
        mutations: 300,
        run: targets::manifest::run,
    },
    Target {
        name: "user-data",
        reads: "what a tenant hands to cloud-init",
        largest: 66 << 10,
        memory: 128 << 20,
        mutations: 500,
        run: targets::user_data::run,
    },
    Target {
        name: "agent",
        reads: "what an agent says, and what is decided then",
        largest: 32 << 10,
        memory: 64 << 20,
        mutations: 300,
        run: targets::agent::run,
    },
    Target {
        name: "phone-home",
        reads: "the form that a machine posts after its first boot",
        largest: 16 << 10,
        memory: 16 << 20,
        mutations: 1000,
        run: targets::phone_home::run,
    },
    Target {
        name: "api",
        reads: "a request to the API, its token, cursor and body",
        largest: 8 << 10,
        memory: 128 << 20,
        mutations: 150,
        run: targets::api::run,
    },
    Target {
        name: "console",
        reads: "the files of a recording, what a machine writes, and what is looked for",
        largest: 64 << 10,
        memory: 128 << 20,
        mutations: 150,
        run: targets::console::run,
    },
    Target {
        name: "evidence",
        reads: "signed statements, checkpoints, exports of the audit log, trusted keys",
        largest: 32 << 10,
        memory: 64 << 20,
        mutations: 300,
        run: targets::evidence::run,
    },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
