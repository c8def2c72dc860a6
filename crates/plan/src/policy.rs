//! How long things may take, and how often they are tried.

use jiff::SignedDuration;

/// Durations and counts that decisions use. The defaults suit real servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A change whose outcome is uncertain may still be carried out this long
    /// after: nothing is offered or handed over before.
    pub settle: SignedDuration,
    /// Between two readings of the power while it is about to change.
    pub power_poll: SignedDuration,
    /// A change of power that showed no effect is asked for again after this.
    pub power_again: SignedDuration,
    /// A change of power must show within this.
    pub power_deadline: SignedDuration,
    /// Asking a BMC for a medium or boot target must succeed within this.
    pub bmc_deadline: SignedDuration,
    /// From power on to the agent's first call.
    pub boot_deadline: SignedDuration,
    /// An agent at work that is not heard for this long is lost.
    pub agent_silence: SignedDuration,
    /// Work that does not go forward for this long is stuck.
    pub work_stall: SignedDuration,
    /// From power on to the end of the image's first boot.
    pub first_boot_deadline: SignedDuration,
    /// From a kernel's start by kexec to the end of the image's first boot: less
    /// than [`Policy::first_boot_deadline`] by what firmware takes.
    pub kexec_deadline: SignedDuration,
    /// From the ramdisk's start of itself to its agent's first call.
    pub trial_deadline: SignedDuration,
    /// A machine that did not become or stay warm is left alone for this long, and
    /// twice as long after each further failure.
    pub warm_again: SignedDuration,
    /// A machine that waited warm for this long, or up to a quarter longer, is
    /// begun anew.
    pub warm_refresh: SignedDuration,
    /// How long power stays off between erase and read-back.
    pub power_break: SignedDuration,
    /// Between two looks at a machine at rest.
    pub look: SignedDuration,
    /// A hold is brought up again after this.
    pub remind: SignedDuration,
    /// Between two probes of a port.
    pub probe: SignedDuration,
    /// First pause after a failed request to a BMC; doubled each time.
    pub backoff: SignedDuration,
    /// Longest such pause.
    pub backoff_max: SignedDuration,
    /// How often a procedure is begun before it is given up.
    pub max_attempts: u32,
    /// How often a change of power is asked for within a step.
    pub max_power_asks: u32,
    /// Canaries planted on each drive.
    pub canaries: u32,
    /// Blocks sampled on each drive after the erase.
    pub samples: u32,
    /// How long before a lease's end its tenant is warned, each once.
    pub warn: Vec<SignedDuration>,
    /// A machine whose firmware versions are not as before the lease is held from
    /// tenants; else it is offered with its health degraded.
    pub hold_on_firmware_change: bool,
}

impl Default for Policy {
    fn default() -> Self {
        let s = SignedDuration::from_secs;
        Self {
            settle: s(300),
            power_poll: s(2),
            power_again: s(60),
            power_deadline: s(300),
            bmc_deadline: s(600),
            boot_deadline: s(1200),
            agent_silence: s(120),
            work_stall: s(900),
            first_boot_deadline: s(1800),
            kexec_deadline: s(1200),
            trial_deadline: s(300),
            warm_again: s(1800),
            warm_refresh: SignedDuration::from_hours(24),
            power_break: s(10),
            look: s(300),
            remind: s(86_400),
            probe: s(3),
            backoff: s(2),
            backoff_max: s(60),
            max_attempts: 3,
            max_power_asks: 4,
            canaries: 32,
            samples: 1024,
            warn: vec![
                SignedDuration::from_hours(24),
                SignedDuration::from_hours(1),
            ],
            hold_on_firmware_change: false,
        }
    }
}

impl Policy {
    /// The same with another limit to an image's first boot. What firmware takes of it stays as
    /// long, but for half of it at the most.
    #[must_use]
    pub fn with_first_boot(self, limit: SignedDuration) -> Self {
        let firmware = self.first_boot_deadline - self.kexec_deadline;
        Self {
            first_boot_deadline: limit,
            kexec_deadline: (limit - firmware).max(limit / 2),
            ..self
        }
    }

    /// Pauses for the lab: its machines boot in half a minute and its BMCs
    /// answer at once, so waiting for real servers' slowness would only cost time.
    pub fn lab() -> Self {
        let s = SignedDuration::from_secs;
        Self {
            settle: s(20),
            power_poll: SignedDuration::from_millis(500),
            power_again: s(15),
            power_deadline: s(60),
            bmc_deadline: s(120),
            boot_deadline: s(300),
            agent_silence: s(45),
            work_stall: s(180),
            first_boot_deadline: s(600),
            kexec_deadline: s(300),
            trial_deadline: s(120),
            warm_again: s(120),
            power_break: s(5),
            look: s(60),
            backoff: s(1),
            backoff_max: s(10),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_boot_without_firmware_has_less_time() {
        let s = SignedDuration::from_secs;
        for (pace, limit, kexec) in [
            (Policy::default(), 20, 10),
            (Policy::default(), 900, 450),
            (Policy::default(), 1800, 1200),
            (Policy::default(), 8 * 3600, 8 * 3600 - 600),
            (Policy::lab(), 20, 10),
            (Policy::lab(), 600, 300),
            (Policy::lab(), 1800, 1500),
        ] {
            let policy = pace.with_first_boot(s(limit));
            assert_eq!(policy.first_boot_deadline, s(limit));
            assert_eq!(policy.kexec_deadline, s(kexec), "of {limit} s");
        }
    }
}
