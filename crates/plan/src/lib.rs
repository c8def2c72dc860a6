//! The decisions of Billet: pure functions of facts and the time.
//!
//! Nothing here waits, reads, writes, asks the clock or throws dice. Whoever
//! acts gathers [`Facts`], calls [`next_step`], commits the [`Decision`] in one
//! transaction, and only then carries out its [`Effect`].
//!
//! ```text
//! enrolled ── take over ──► ReadSettings [─► Rotate] ─► Ramdisk(Inspect) ─► Working(Inspect)
//!                                                   │ may hold data        │ erased already
//!                                                   ▼                      ▼
//!            ReadSettings ─► Ramdisk(Erase) ─► Working(Erase) ─► …    Working(Test) ─► Shelve ─► available
//!   release ─────┘  │            PowerBreak ─► Ramdisk(Verify) ─► Working(Verify) ─► certificate ─► Working(Test)
//!                   └─► Restore, Rotate ─► …      └─► ReadSettings where something was put back
//! available ── lease ──► ReadSettings ─► Ramdisk(Write) ─► Working(Write) ─► DiskBoot ─► FirstBoot ─► active
//!    │ waits warm: ReadSettings ─► Working(Write) ─► Working(Start) ─► FirstBoot, by kexec ─► active
//!    │                                │ failed         │ not possible: DiskBoot ─► …
//!    │                                └──► Ramdisk(Write), by the full way ◄──┘ did not come up
//!    └── wanted warm ─► Ramdisk ─► [Working(Trial) ─►] Working(Prepare) ─► Warming ─► Warm (see warm.rs)
//! active ── reinstall ──► Ramdisk(Wipe) ─► Working(Wipe) ─► Working(Write) ─► DiskBoot ─► FirstBoot ─► active
//!    │                      │ drives kept: Ramdisk(Write)                        │ failed: parked off, lease broken
//!    │  an install configuration: [Ramdisk(Wipe) ─► Working(Wipe) ─►] Install ─► active, instead of Write and what follows
//!    ├── measure ─► Ramdisk(Measure) ─► Working(Measure) ─► DiskBoot ─► FirstBoot ─► active
//!    └── rescue ──► Ramdisk(Rescue) ─► Working(Rescue) ─► Rescue ── end ──► DiskBoot ─► FirstBoot ─► active
//! ```

pub mod compare;
pub mod console;
pub mod correct;
pub mod decision;
mod disk;
pub mod drives;
pub mod facts;
pub mod file_systems;
pub mod inspection;
mod install;
pub mod install_text;
pub mod layout;
mod look_over;
mod next;
pub mod placement;
pub mod policy;
mod power;
mod procedure;
mod ramdisk;
pub mod requests;
mod rest;
mod rotate;
pub mod seed;
mod settings;
mod shelve;
pub mod storage;
pub mod tenant;
pub mod term;
mod told;
pub mod verdict;
mod visit;
mod warm;
pub mod warm_choice;
mod warm_start;
pub mod webhook;
mod working;

pub use decision::{AuditNote, Decision, Effect, PasswordWrite};
pub use facts::{Facts, Fresh};
pub use next::{looks_inside, next_step};
pub use policy::Policy;
