//! Faults on request: what can go wrong in the lab, where it acts, and which are armed now.
//!
//! A fault waits, armed, until something it matches comes along; then it is spent once, and goes
//! when its count is used up. [`CATALOGUE`] says of every kind where it acts; whoever adds a kind
//! adds a row, which a test holds to.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

mod catalogue;
mod kind;

pub use catalogue::{CATALOGUE, Row};
pub use kind::{FaultKind, Point, Said};

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

    /// Takes away what waits for this machine alone and is wanted: its cause is gone.
    pub(crate) fn lift(&self, machine: &str, wanted: impl Fn(&FaultKind) -> bool) {
        self.lock()
            .faults
            .retain(|f| f.asked.machine.as_deref() != Some(machine) || !wanted(&f.asked.fault));
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
            r#"{"kind":"bare"}"#,
            r#"{"kind":"busy","ms":1}"#,
            r#"{"kind":"restart"}"#,
            r#"{"kind":"new_certificate"}"#,
            r#"{"kind":"no_sessions"}"#,
            r#"{"kind":"password_expired"}"#,
            r#"{"kind":"password_policy"}"#,
            r#"{"kind":"accounts_stay"}"#,
            r#"{"kind":"other_firmware","version":"9"}"#,
            r#"{"kind":"needs_off"}"#,
            r#"{"kind":"eject_first"}"#,
            r#"{"kind":"hide_boot"}"#,
            r#"{"kind":"hidden_until_reset","property":"Attributes"}"#,
            r#"{"kind":"parent_first"}"#,
            r#"{"kind":"null_members"}"#,
            r#"{"kind":"empty_ids","path":"/Drives"}"#,
            r#"{"kind":"no_chassis_type"}"#,
            r#"{"kind":"delay","ms":1}"#,
            r#"{"kind":"drop"}"#,
            r#"{"kind":"status","code":500}"#,
            r#"{"kind":"hang"}"#,
            r#"{"kind":"late","ms":1}"#,
            r#"{"kind":"lie_power","says":"paused"}"#,
            r#"{"kind":"forget_boot"}"#,
            r#"{"kind":"no_start"}"#,
            r#"{"kind":"drive_gone"}"#,
            r#"{"kind":"no_system"}"#,
            r#"{"kind":"drive_errors"}"#,
            r#"{"kind":"power_cut"}"#,
            r#"{"kind":"kexec_refused"}"#,
            r#"{"kind":"kexec_hangs"}"#,
            r#"{"kind":"silence"}"#,
        ] {
            let kind: FaultKind = serde_json::from_str(json).expect(json);
            let row = kind.row().expect(json);
            assert!(!row.at.is_empty(), "{json}");
            assert!(json.contains(row.kind));
        }
        assert_eq!(CATALOGUE.len(), 33);
    }
}
