//! What can happen next.

use billet_model::bmc::{BmcReply, BmcRequest};

use crate::{calls::Call, check::Word};

/// Something that is due at some time.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The control plane looks at a machine.
    Work { m: usize, run: u64 },
    /// What came of a request reaches the process that sent it.
    Reply {
        m: usize,
        run: u64,
        number: u64,
        request: BmcRequest,
        reply: BmcReply,
    },
    /// The tenant's port is tried.
    Probed { m: usize, run: u64 },
    /// A request arrives at its BMC, which carries it out.
    Carry {
        m: usize,
        request: BmcRequest,
        word: Word,
        answer: Option<(u64, u64)>,
    },
    /// Power really goes on or off.
    PowerTo { m: usize, on: bool },
    /// Firmware is through, and boots something.
    Firmware { m: usize, life: u64 },
    /// The ramdisk is up.
    RamdiskUp { m: usize, life: u64 },
    /// A system is up.
    SystemUp { m: usize, life: u64 },
    /// A tenant's own installer is up.
    InstallerUp { m: usize, life: u64 },
    /// It has written its system.
    Installs { m: usize, life: u64 },
    /// It, or its system, says that it is done, for the so-manieth time.
    Report { m: usize, life: u64, tries: u32 },
    /// It restarts the machine.
    Restarts { m: usize, life: u64 },
    /// The agent goes on.
    Agent { m: usize, life: u64, call: u64 },
    /// A message of a machine's arrives at the control plane.
    Arrive {
        m: usize,
        life: u64,
        number: u64,
        call: Call,
        heard: bool,
    },
    /// The agent gives up to wait for an answer.
    Unanswered { m: usize, life: u64, number: u64 },
    /// A system phones home, for the so-manieth time.
    Phone { m: usize, life: u64, tries: u32 },
    /// A tenant uses the machine.
    Use { m: usize, life: u64 },
    /// The operator thinks of a machine.
    Operator { m: usize },
    /// The tenants think of something.
    Tenants,
    /// The weather around a machine changes.
    Weather { m: usize },
    /// The control plane dies.
    Crash,
    /// And comes again.
    Start,
    /// All that is stored is looked at.
    Audit,
    /// The faults stop.
    Quiet,
    /// It is over.
    End,
}
