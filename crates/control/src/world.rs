//! Time and chance: the one place that asks for them.

use billet_model::Time;

/// What a core takes from outside: the clock and dice. A simulator brings its
/// own, so that the same seed gives the same history.
pub trait World: Send + Sync {
    /// The time.
    fn now(&self) -> Time;
    /// Random bytes, fit for secrets in the real world.
    fn fill(&self, bytes: &mut [u8]);
}

/// The real world.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl World for System {
    fn now(&self) -> Time {
        // The store keeps microseconds: what is compared must be what was kept.
        let now = jiff::Timestamp::now();
        jiff::Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    fn fill(&self, bytes: &mut [u8]) {
        rand::fill(bytes);
    }
}

/// A new id of any kind.
pub trait NewId {
    /// From its parts.
    fn from_parts(millis: u64, random: [u8; 10]) -> Self;
}

macro_rules! new_ids {
    ($($name:ident),*) => {$(
        impl NewId for billet_model::$name {
            fn from_parts(millis: u64, random: [u8; 10]) -> Self {
                billet_model::$name::from_parts(millis, random)
            }
        }
    )*};
}

new_ids!(
    MachineId,
    LeaseId,
    ImageId,
    OperationId,
    TaskId,
    OrganisationId,
    ProjectId,
    TokenId,
    UserId,
    GroupId,
    SiteId,
    NetworkId,
    MachineTypeId,
    EvidenceId,
    EventId,
    BootId,
    WebhookId
);
