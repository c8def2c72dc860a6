//! Changes of power, and what a machine is started with.
//!
//! Every start decides anew where the machine looks for its system: a boot override for once is
//! spent by the start that obeys it, whoever caused that start.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Bmc;
use super::error::RedfishError;
use super::state::{BootOverride, OverrideEnabled, State};
use crate::faults::{FaultKind, Point};
use crate::metal::{BootPlan, BootTarget, MetalError, MetalEvent, Power};

/// How long the power stays off in a power cycle.
const OFF_TIME: Duration = Duration::from_millis(200);

/// Redfish's kinds of reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reset {
    On,
    ForceOff,
    GracefulShutdown,
    GracefulRestart,
    ForceRestart,
    PowerCycle,
    Nmi,
    PushPowerButton,
}

impl Reset {
    pub fn from_redfish(word: &str) -> Option<Self> {
        use Reset::{
            ForceOff, ForceRestart, GracefulRestart, GracefulShutdown, Nmi, On, PowerCycle,
            PushPowerButton,
        };
        let kinds = [
            On,
            ForceOff,
            GracefulShutdown,
            GracefulRestart,
            ForceRestart,
            PowerCycle,
            Nmi,
            PushPowerButton,
        ];
        let at = super::resources::RESETS.iter().position(|r| *r == word)?;
        kinds.get(at).copied()
    }
}

fn failed(e: MetalError) -> RedfishError {
    RedfishError::internal(e)
}

/// Carry out one kind of reset.
pub(super) async fn reset(bmc: &Arc<Bmc>, kind: Reset) -> Result<(), RedfishError> {
    let _one_at_a_time = bmc.power_lock.lock().await;
    let power = bmc.metal.power();
    let needs_on = |what: &str| match power {
        Power::On => Ok(()),
        Power::Off => Err(RedfishError::conflict(format!(
            "{what} cannot be carried out: the machine is off."
        ))),
    };
    match kind {
        Reset::On => {
            if power == Power::On {
                return Err(RedfishError::conflict("The machine is on already."));
            }
            start(bmc).await.map_err(failed)
        }
        Reset::ForceOff => {
            needs_on("ForceOff")?;
            stop(bmc).await.map_err(failed)
        }
        Reset::ForceRestart | Reset::PowerCycle => {
            needs_on("A restart")?;
            stop(bmc).await.map_err(failed)?;
            tokio::time::sleep(OFF_TIME).await;
            start(bmc).await.map_err(failed)
        }
        Reset::GracefulShutdown => {
            needs_on("GracefulShutdown")?;
            bmc.lock().restart_after_off = false;
            bmc.metal.press_button().await.map_err(failed)
        }
        Reset::GracefulRestart => {
            needs_on("GracefulRestart")?;
            bmc.lock().restart_after_off = true;
            bmc.metal.press_button().await.map_err(failed)
        }
        Reset::Nmi => {
            needs_on("Nmi")?;
            bmc.metal.nmi().await.map_err(failed)
        }
        Reset::PushPowerButton => match power {
            Power::Off => start(bmc).await.map_err(failed),
            Power::On => {
                bmc.lock().restart_after_off = false;
                bmc.metal.press_button().await.map_err(failed)
            }
        },
    }
}

async fn stop(bmc: &Arc<Bmc>) -> Result<(), MetalError> {
    bmc.metal.force_off().await?;
    let mut state = bmc.lock();
    state.last_reset = Timestamp::now();
    state.restart_after_off = false;
    state.note("OK", "The machine was powered off.");
    Ok(())
}

/// Start the machine; it is off, and the power lock is held.
async fn start(bmc: &Arc<Bmc>) -> Result<(), MetalError> {
    let struck = |wanted: fn(&FaultKind) -> bool| {
        bmc.faults
            .strike(&bmc.name, &[Point::Start], wanted)
            .is_some()
    };
    if struck(|kind| *kind == FaultKind::NoStart) {
        return Ok(());
    }
    let plan = {
        let mut state = bmc.lock();
        let forget = state.lasting.boot.enabled != OverrideEnabled::Disabled
            && struck(|kind| *kind == FaultKind::ForgetBoot);
        let plan = plan(&mut state, forget);
        state.last_plan = Some(plan);
        bmc.save(&state);
        plan
    };
    start_with(bmc, plan).await
}

async fn start_with(bmc: &Arc<Bmc>, plan: BootPlan) -> Result<(), MetalError> {
    let result = bmc.metal.power_on(plan).await;
    let mut state = bmc.lock();
    state.last_reset = Timestamp::now();
    match &result {
        Ok(()) => state.note(
            "OK",
            format!(
                "The machine was powered on; it boots from {}.",
                plan.first.as_redfish()
            ),
        ),
        Err(e) => state.note("Critical", format!("The machine did not start: {e}.")),
    }
    result
}

/// What the machine is started with: settings that waited take effect, and an override for once
/// is spent, even where the firmware forgets to obey it.
fn plan(state: &mut State, forget: bool) -> BootPlan {
    let pending = std::mem::take(&mut state.lasting.bios_pending);
    state.lasting.bios.extend(pending);
    state.lasting.secure_boot = state.secure_boot_wanted;
    let boot = state.lasting.boot;
    if boot.enabled == OverrideEnabled::Once {
        state.lasting.boot = BootOverride {
            enabled: OverrideEnabled::Disabled,
            target: BootTarget::None,
        };
    }
    let obeyed = boot.enabled != OverrideEnabled::Disabled && !forget;
    BootPlan {
        first: if obeyed {
            boot.target
        } else {
            BootTarget::None
        },
    }
}

/// Whether a machine that stopped by itself is started again.
enum Again {
    Not,
    /// By a new decision.
    Anew,
    /// By the old decision, because nothing has come of it yet.
    AsBefore(BootPlan),
}

/// The machine did something by itself.
pub(super) async fn happened(bmc: &Arc<Bmc>, event: MetalEvent) {
    let _one_at_a_time = bmc.power_lock.lock().await;
    // Somebody's power command may have come first; then there is nothing left to do.
    if bmc.metal.power() == Power::On {
        return;
    }
    let again = {
        let mut state = bmc.lock();
        state.last_reset = Timestamp::now();
        let again = match &event {
            MetalEvent::Restarted { booted: true } => {
                state.note("OK", "The system restarted the machine.");
                Again::Anew
            }
            MetalEvent::Restarted { booted: false } => {
                state.note("OK", "The firmware restarted the machine.");
                state.last_plan.map_or(Again::Anew, Again::AsBefore)
            }
            MetalEvent::PoweredOff => {
                state.note("OK", "The system powered the machine off.");
                if state.restart_after_off {
                    Again::Anew
                } else {
                    Again::Not
                }
            }
            MetalEvent::Died(why) => {
                state.note("Critical", format!("The machine lost power: {why}."));
                Again::Not
            }
        };
        state.restart_after_off = false;
        again
    };
    let started = match again {
        Again::Not => return,
        Again::Anew => start(bmc).await,
        Again::AsBefore(plan) => start_with(bmc, plan).await,
    };
    if let Err(e) = started {
        tracing::error!(machine = bmc.name, error = %e, "restarting a machine");
    }
}

/// The power fails.
pub(super) async fn cut(bmc: &Arc<Bmc>) -> Result<(), MetalError> {
    let _one_at_a_time = bmc.power_lock.lock().await;
    bmc.metal.force_off().await?;
    let mut state = bmc.lock();
    state.last_reset = Timestamp::now();
    state.restart_after_off = false;
    state.note("Critical", "The machine lost power.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bmc::state::Lasting;

    fn state(enabled: OverrideEnabled) -> State {
        let mut state = State::new(Lasting::new("admin", "password"));
        state.lasting.boot = BootOverride {
            enabled,
            target: BootTarget::Cd,
        };
        state
    }

    #[test]
    fn an_override_for_once_holds_for_one_start() {
        let mut state = state(OverrideEnabled::Once);
        assert_eq!(plan(&mut state, false).first, BootTarget::Cd);
        assert_eq!(plan(&mut state, false).first, BootTarget::None);
    }

    #[test]
    fn a_continuous_override_holds_until_it_is_lifted() {
        let mut state = state(OverrideEnabled::Continuous);
        assert_eq!(plan(&mut state, false).first, BootTarget::Cd);
        assert_eq!(plan(&mut state, false).first, BootTarget::Cd);
    }

    #[test]
    fn a_forgotten_override_is_spent_all_the_same() {
        let mut state = state(OverrideEnabled::Once);
        assert_eq!(plan(&mut state, true).first, BootTarget::None);
        assert_eq!(plan(&mut state, false).first, BootTarget::None);
    }
}
