//! A lease's condition, in the words that buyers use.

use billet_model::{
    bmc::PowerAction,
    condition::Condition,
    lease::LeaseState,
    lifecycle::{Health, Hold, HoldKind, Power, PowerReading},
    machine::Machine,
    step::Step,
};

use crate::world::World;

#[test]
fn every_condition_has_its_cause() {
    use Condition::*;
    let mut world = World::new();
    world.run();
    let well = Machine {
        health: Health::Ok,
        power: Some(PowerReading {
            power: Power::On,
            at: world.now,
        }),
        ..world.machine
    };
    let off = Machine {
        power: well.power.map(|r| PowerReading {
            power: Power::Off,
            ..r
        }),
        ..well.clone()
    };
    let stopping = |action| Machine {
        step: Step::ChangePower { action },
        ..well.clone()
    };
    let asked = Machine {
        power_request: Some(PowerAction::Shutdown),
        ..well.clone()
    };
    let ill = Machine {
        health: Health::Degraded,
        ..well.clone()
    };
    let held = Machine {
        hold: Some(Hold {
            kind: HoldKind::Operator,
            detail: "a fan".into(),
            since: world.now,
        }),
        ..ill.clone()
    };
    let table = [
        (LeaseState::Deploying, Some(&off), Provisioning),
        (LeaseState::Reinstalling, Some(&ill), Provisioning),
        (LeaseState::Active, Some(&well), Running),
        (LeaseState::Measuring, Some(&off), Running),
        (LeaseState::Rescue, Some(&off), Running),
        (LeaseState::Active, Some(&off), Stopped),
        (
            LeaseState::Active,
            Some(&stopping(PowerAction::Off)),
            Stopping,
        ),
        (
            LeaseState::Active,
            Some(&stopping(PowerAction::Reset)),
            Running,
        ),
        (LeaseState::Active, Some(&asked), Stopping),
        (LeaseState::Active, Some(&ill), Degraded),
        (LeaseState::Active, Some(&held), MaintenanceRequired),
        (LeaseState::Broken, Some(&ill), Stopped),
        (LeaseState::Broken, Some(&held), MaintenanceRequired),
        (LeaseState::Maintenance, Some(&off), MaintenanceRequired),
        (LeaseState::Releasing, Some(&held), Terminating),
        (LeaseState::Released, None, Terminated),
        (LeaseState::Failed, None, Terminated),
    ];
    for (state, machine, expected) in table {
        assert_eq!(Condition::of(state, machine), expected, "{state}");
    }
    for condition in Condition::ALL {
        assert!(table.iter().any(|row| row.2 == condition), "{condition}");
    }
}
