//! The table of faults: every kind, where it acts, and what it does.

use serde::Serialize;

use super::kind::Point;

/// One row of the table of faults.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The kind, as it is written in JSON.
    pub kind: &'static str,
    /// Where it may act.
    pub at: &'static [Point],
    /// Whether emulated machines have it.
    pub emulated: bool,
    /// Whether phantoms have it.
    pub phantom: bool,
    /// What happens.
    pub what: &'static str,
}

const REQUESTS: &[Point] = &[
    Point::Any,
    Point::Session,
    Point::Power,
    Point::Boot,
    Point::Media,
    Point::Read,
];

const REQUESTS_AND_CONNECT: &[Point] = &[
    Point::Any,
    Point::Connect,
    Point::Session,
    Point::Power,
    Point::Boot,
    Point::Media,
    Point::Read,
];

const CHANGES: &[Point] = &[Point::Any, Point::Power, Point::Boot, Point::Media];

/// Every kind of fault: where it acts, and on which machines.
pub const CATALOGUE: &[Row] = &[
    Row {
        kind: "refuse",
        at: REQUESTS_AND_CONNECT,
        emulated: true,
        phantom: true,
        what: "the connection is closed, nothing is done",
    },
    Row {
        kind: "delay",
        at: REQUESTS_AND_CONNECT,
        emulated: true,
        phantom: true,
        what: "everything happens, later",
    },
    Row {
        kind: "drop",
        at: REQUESTS,
        emulated: true,
        phantom: true,
        what: "carried out, but the answer is lost",
    },
    Row {
        kind: "status",
        at: REQUESTS,
        emulated: true,
        phantom: true,
        what: "answered with a status of one's choice, nothing is done",
    },
    Row {
        kind: "hang",
        at: REQUESTS_AND_CONNECT,
        emulated: true,
        phantom: true,
        what: "no answer, nothing is done",
    },
    Row {
        kind: "late",
        at: CHANGES,
        emulated: true,
        phantom: true,
        what: "answered at once or never, carried out later whatever has happened since",
    },
    Row {
        kind: "bare",
        at: CHANGES,
        emulated: true,
        phantom: true,
        what: "answered 200 with no body and no Location, carried out later",
    },
    Row {
        kind: "busy",
        at: REQUESTS,
        emulated: true,
        phantom: true,
        what: "everything is answered 503 for a while",
    },
    Row {
        kind: "restart",
        at: REQUESTS,
        emulated: true,
        phantom: true,
        what: "the BMC restarts in the middle, and forgets its sessions",
    },
    Row {
        kind: "new_certificate",
        at: &[Point::Connect],
        emulated: true,
        phantom: true,
        what: "the BMC has another certificate from now on",
    },
    Row {
        kind: "no_sessions",
        at: &[Point::Session],
        emulated: true,
        phantom: true,
        what: "all session slots are taken, basic authentication works",
    },
    Row {
        kind: "password_expired",
        at: &[Point::Session],
        emulated: true,
        phantom: true,
        what: "the password must be changed before anything else",
    },
    Row {
        kind: "password_policy",
        at: &[Point::Any],
        emulated: true,
        phantom: true,
        what: "a new password must have other characters than letters and digits",
    },
    Row {
        kind: "accounts_stay",
        at: &[Point::Any],
        emulated: true,
        phantom: true,
        what: "accounts cannot be deleted, nor disabled where so",
    },
    Row {
        kind: "other_firmware",
        at: &[Point::Read],
        emulated: true,
        phantom: true,
        what: "the system's firmware is of another version",
    },
    Row {
        kind: "needs_off",
        at: CHANGES,
        emulated: true,
        phantom: true,
        what: "boot override and media are refused while the machine is on",
    },
    Row {
        kind: "eject_first",
        at: &[Point::Media],
        emulated: true,
        phantom: true,
        what: "a medium is refused until an eject was asked for",
    },
    Row {
        kind: "hide_boot",
        at: &[Point::Read],
        emulated: true,
        phantom: true,
        what: "the boot override is obeyed and never shown",
    },
    Row {
        kind: "hidden_until_reset",
        at: &[Point::Read],
        emulated: true,
        phantom: true,
        what: "a property is not there until the BMC is reset",
    },
    Row {
        kind: "parent_first",
        at: &[Point::Read],
        emulated: true,
        phantom: true,
        what: "not found until the parent has been read",
    },
    Row {
        kind: "null_members",
        at: &[Point::Read],
        emulated: true,
        phantom: true,
        what: "collections have null for their members",
    },
    Row {
        kind: "empty_ids",
        at: &[Point::Read],
        emulated: true,
        phantom: true,
        what: "ids and a member's link are empty",
    },
    Row {
        kind: "no_chassis_type",
        at: &[Point::Read],
        emulated: true,
        phantom: true,
        what: "chassis do not say of which type they are",
    },
    Row {
        kind: "lie_power",
        at: &[Point::Any, Point::Read],
        emulated: true,
        phantom: true,
        what: "the power state read is made up",
    },
    Row {
        kind: "forget_boot",
        at: &[Point::Start],
        emulated: true,
        phantom: true,
        what: "the boot override is not obeyed at the next start",
    },
    Row {
        kind: "no_start",
        at: &[Point::Start],
        emulated: true,
        phantom: true,
        what: "told to start, it stays off",
    },
    Row {
        kind: "drive_gone",
        at: &[Point::Start],
        emulated: true,
        phantom: false,
        what: "a drive is not there from this start on until another; its BMC lists it all the same",
    },
    Row {
        kind: "no_system",
        at: &[Point::System],
        emulated: false,
        phantom: true,
        what: "what stands on the drive does not boot",
    },
    Row {
        kind: "drive_errors",
        at: &[Point::Erase, Point::Write],
        emulated: true,
        phantom: true,
        what: "drives fail what is asked of them",
    },
    Row {
        kind: "power_cut",
        at: &[Point::Erase, Point::Write, Point::Agent],
        emulated: true,
        phantom: true,
        what: "the power goes while the agent is at work",
    },
    Row {
        kind: "kexec_refused",
        at: &[Point::Kexec],
        emulated: false,
        phantom: true,
        what: "the agent cannot load the kernel that it is to start, and says so",
    },
    Row {
        kind: "kexec_hangs",
        at: &[Point::Kexec],
        emulated: false,
        phantom: true,
        what: "the kernel that the agent starts does not come up",
    },
    Row {
        kind: "silence",
        at: &[Point::Erase, Point::Write, Point::Kexec, Point::Agent],
        emulated: false,
        phantom: true,
        what: "the agent says nothing any more",
    },
];
