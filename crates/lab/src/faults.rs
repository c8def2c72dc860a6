//! Faults on request: what can go wrong in the lab, where it acts, and which are armed now.
//!
//! A fault waits, armed, until something it matches comes along; then it is spent once, and goes
//! when its count is used up. [`CATALOGUE`] says of every kind where it acts; whoever adds a kind
//! adds a row, which a test holds to.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::metal::Power;

/// What kind of request or step a fault waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// Any request to the BMC.
    Any,
    /// A new connection to the BMC, before TLS.
    Connect,
    /// Creating or deleting a session.
    Session,
    /// A change of power.
    Power,
    /// A change of the boot override.
    Boot,
    /// Inserting or ejecting a medium.
    Media,
    /// Any request that only reads.
    Read,
    /// The machine starting.
    Start,
    /// The agent erasing a drive.
    Erase,
    /// The agent writing an image.
    Write,
    /// The agent doing anything.
    Agent,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// The connection is closed before anything is done.
    Refuse,
    /// Everything happens, `ms` later.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// The request is carried out, and its answer lost: the connection closes.
    Drop,
    /// Nothing is done, and the answer has this status.
    Status {
        /// An HTTP status, 400 to 599.
        code: u16,
    },
    /// Nothing is done, and no answer comes for `ms` milliseconds; then the connection closes.
    Hang {
        /// Milliseconds; ten minutes where absent.
        #[serde(default = "ten_minutes")]
        ms: u64,
    },
    /// The BMC carries the request out `ms` milliseconds later, whatever has happened since.
    Late {
        /// Milliseconds until it is carried out.
        ms: u64,
        /// Whether the caller is told at once that all is well; if not, no answer comes.
        #[serde(default)]
        answered: bool,
    },
    /// The BMC says that the machine's power is so.
    LiePower {
        /// What it says.
        says: Power,
    },
    /// The boot override is accepted, shown, and not obeyed at the next start.
    ForgetBoot,
    /// A machine told to start stays off, though the BMC answers that all is well.
    NoStart,
    /// Drives fail what the agent asks of them. An emulated machine's drives are given this at
    /// its next start from media: all writes and deallocations then end in an error.
    DriveErrors {
        /// The drive; all where absent.
        #[serde(default)]
        serial: Option<String>,
    },
    /// The power goes while the agent is at work.
    PowerCut {
        /// Cut when so many bytes were written to the drives since the machine started.
        #[serde(default)]
        after_bytes: u64,
    },
    /// A phantom's agent says nothing any more, until the machine is started again.
    Silence,
}

fn ten_minutes() -> u64 {
    600_000
}

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
        at: &[Point::Any, Point::Power, Point::Boot, Point::Media],
        emulated: true,
        phantom: true,
        what: "answered at once or never, carried out later whatever has happened since",
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
        kind: "silence",
        at: &[Point::Erase, Point::Write, Point::Agent],
        emulated: false,
        phantom: true,
        what: "the agent says nothing any more",
    },
];

impl FaultKind {
    /// Its name in JSON and in the table.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Delay { .. } => "delay",
            Self::Drop => "drop",
            Self::Status { .. } => "status",
            Self::Hang { .. } => "hang",
            Self::Late { .. } => "late",
            Self::LiePower { .. } => "lie_power",
            Self::ForgetBoot => "forget_boot",
            Self::NoStart => "no_start",
            Self::DriveErrors { .. } => "drive_errors",
            Self::PowerCut { .. } => "power_cut",
            Self::Silence => "silence",
        }
    }

    /// Its row in the table, where the table has one.
    #[must_use]
    pub fn row(&self) -> Option<&'static Row> {
        CATALOGUE.iter().find(|row| row.kind == self.name())
    }
}

/// A fault as someone asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFault {
    /// The machine it is for; every machine where absent.
    #[serde(default)]
    pub machine: Option<String>,
    /// What it waits for.
    pub at: Point,
    /// What goes wrong.
    #[serde(flatten)]
    pub fault: FaultKind,
    /// How often; for ever where absent.
    #[serde(default)]
    pub count: Option<u32>,
}

/// An armed fault.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fault {
    /// Its number, for taking it away.
    pub id: u64,
    /// What was asked for; `count` is what is left.
    #[serde(flatten)]
    pub asked: NewFault,
    /// How often it has struck.
    pub struck: u64,
}

/// Why a fault cannot be armed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FaultError {
    /// The kind has no effect there.
    #[error("a fault of kind {kind} does not act at {at:?}; it acts at {may:?}")]
    WrongPoint {
        /// The kind asked for.
        kind: &'static str,
        /// Where it was to act.
        at: Point,
        /// Where it may.
        may: &'static [Point],
    },
    /// Zero times is never.
    #[error("a fault with a count of 0 would never strike")]
    NeverStrikes,
    /// Not a status of failure.
    #[error("status {0} is not one of failure, 400 to 599")]
    NotAFailure(u16),
}

#[derive(Default)]
struct Armed {
    next: u64,
    faults: Vec<Fault>,
}

/// The faults that are armed in a lab.
#[derive(Default)]
pub struct Faults {
    armed: Mutex<Armed>,
}

impl Faults {
    fn lock(&self) -> std::sync::MutexGuard<'_, Armed> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Arm a fault.
    ///
    /// # Errors
    /// Where it could never strike: see [`FaultError`].
    pub fn add(&self, asked: NewFault) -> Result<Fault, FaultError> {
        if asked.count == Some(0) {
            return Err(FaultError::NeverStrikes);
        }
        if let FaultKind::Status { code } = asked.fault
            && !(400..600).contains(&code)
        {
            return Err(FaultError::NotAFailure(code));
        }
        let may = asked.fault.row().map_or(&[][..], |row| row.at);
        if !may.contains(&asked.at) {
            return Err(FaultError::WrongPoint {
                kind: asked.fault.name(),
                at: asked.at,
                may,
            });
        }
        let mut armed = self.lock();
        armed.next += 1;
        let fault = Fault {
            id: armed.next,
            asked,
            struck: 0,
        };
        armed.faults.push(fault.clone());
        Ok(fault)
    }

    /// All that are armed.
    #[must_use]
    pub fn list(&self) -> Vec<Fault> {
        self.lock().faults.clone()
    }

    /// Take one away; whether it was there.
    pub fn remove(&self, id: u64) -> bool {
        let mut armed = self.lock();
        let before = armed.faults.len();
        armed.faults.retain(|f| f.id != id);
        armed.faults.len() != before
    }

    /// Take all away.
    pub fn clear(&self) {
        self.lock().faults.clear();
    }

    /// Whether a fault would strike, without spending it.
    pub fn peek(
        &self,
        machine: &str,
        points: &[Point],
        wanted: impl Fn(&FaultKind) -> bool,
    ) -> Option<FaultKind> {
        self.lock()
            .faults
            .iter()
            .find(|f| matches(f, machine, points) && wanted(&f.asked.fault))
            .map(|f| f.asked.fault.clone())
    }

    /// The oldest fault that waits for one of these points on this machine and is wanted; spends
    /// it once.
    pub fn strike(
        &self,
        machine: &str,
        points: &[Point],
        wanted: impl Fn(&FaultKind) -> bool,
    ) -> Option<FaultKind> {
        let mut armed = self.lock();
        let at = armed
            .faults
            .iter()
            .position(|f| matches(f, machine, points) && wanted(&f.asked.fault))?;
        let fault = &mut armed.faults[at];
        fault.struck += 1;
        let kind = fault.asked.fault.clone();
        tracing::info!(
            machine,
            fault = fault.id,
            kind = kind.name(),
            "a fault strikes"
        );
        if let Some(count) = &mut fault.asked.count {
            *count -= 1;
            if *count == 0 {
                armed.faults.remove(at);
            }
        }
        Some(kind)
    }
}

fn matches(fault: &Fault, machine: &str, points: &[Point]) -> bool {
    fault.asked.machine.as_deref().is_none_or(|m| m == machine) && points.contains(&fault.asked.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(json: &str) -> NewFault {
        serde_json::from_str(json).expect("a fault")
    }

    #[test]
    fn a_fault_strikes_as_often_as_it_was_asked_to() {
        let faults = Faults::default();
        faults
            .add(fault(
                r#"{"machine":"a","at":"power","kind":"drop","count":2}"#,
            ))
            .expect("armed");
        let any = |_: &FaultKind| true;
        assert_eq!(faults.strike("b", &[Point::Power], any), None);
        assert_eq!(faults.strike("a", &[Point::Media], any), None);
        assert_eq!(
            faults.strike("a", &[Point::Power], any),
            Some(FaultKind::Drop)
        );
        assert_eq!(
            faults.strike("a", &[Point::Power], any),
            Some(FaultKind::Drop)
        );
        assert_eq!(faults.strike("a", &[Point::Power], any), None);
        assert!(faults.list().is_empty());
    }

    #[test]
    fn a_fault_that_could_never_strike_is_refused() {
        let faults = Faults::default();
        let misplaced = fault(r#"{"at":"erase","kind":"drop"}"#);
        assert!(matches!(
            faults.add(misplaced),
            Err(FaultError::WrongPoint { kind: "drop", .. })
        ));
        let never = fault(r#"{"at":"power","kind":"drop","count":0}"#);
        assert_eq!(faults.add(never).unwrap_err(), FaultError::NeverStrikes);
        let fine = fault(r#"{"at":"power","kind":"status","code":200}"#);
        assert_eq!(faults.add(fine).unwrap_err(), FaultError::NotAFailure(200));
    }

    #[test]
    fn every_kind_has_its_row() {
        for json in [
            r#"{"kind":"refuse"}"#,
            r#"{"kind":"delay","ms":1}"#,
            r#"{"kind":"drop"}"#,
            r#"{"kind":"status","code":500}"#,
            r#"{"kind":"hang"}"#,
            r#"{"kind":"late","ms":1}"#,
            r#"{"kind":"lie_power","says":"off"}"#,
            r#"{"kind":"forget_boot"}"#,
            r#"{"kind":"no_start"}"#,
            r#"{"kind":"drive_errors"}"#,
            r#"{"kind":"power_cut"}"#,
            r#"{"kind":"silence"}"#,
        ] {
            let kind: FaultKind = serde_json::from_str(json).expect(json);
            let row = kind.row().expect(json);
            assert!(!row.at.is_empty(), "{json}");
            assert!(json.contains(row.kind));
        }
        assert_eq!(CATALOGUE.len(), 12);
    }
}
