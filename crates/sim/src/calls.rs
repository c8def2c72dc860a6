//! Calls into the core, as data: so that one can come between another's
//! reading and its commit, or be made twice, or late.

use billet_control::{AgentError, Core, Input, MachineCommand, OnRecord, Refusal, Stepped};
use billet_model::{
    LeaseId, MachineId, TaskId,
    api::{NewLease, NewMachine},
    bmc::PowerAction,
    lease::Lease,
    machine::Machine,
    people::{Actor, Project},
    work::{Progress, Task, WorkOutcome},
};
use billet_protocol::{agent::Hello, phone_home::PhoneHome};
use billet_store::StoreError;

/// A call.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Step {
        machine: MachineId,
        /// What the step before left.
        known: Option<Box<OnRecord>>,
        input: Input,
    },
    Hello {
        token: String,
        hello: Hello,
    },
    Task {
        token: String,
    },
    Confirm {
        token: String,
        task: TaskId,
    },
    Progress {
        token: String,
        task: TaskId,
        progress: Progress,
    },
    Outcome {
        token: String,
        task: TaskId,
        outcome: Box<WorkOutcome>,
    },
    PhoneHome {
        token: String,
        form: PhoneHome,
    },
    Enroll {
        new: Box<NewMachine>,
    },
    TakeOver {
        machine: MachineId,
        drives: Vec<String>,
    },
    Command {
        machine: MachineId,
        command: MachineCommand,
    },
    Create {
        project: Box<Project>,
        new: Box<NewLease>,
    },
    Release {
        lease: LeaseId,
    },
    Power {
        lease: LeaseId,
        action: PowerAction,
    },
    Extend {
        lease: LeaseId,
        seconds: u64,
    },
    Reinstall {
        lease: LeaseId,
        keep: bool,
        /// Another image than it has.
        image: Option<&'static str>,
    },
    /// An installer is done.
    Installed {
        token: String,
    },
    /// Its tenant says so.
    InstalledByHand {
        lease: LeaseId,
    },
    Rescue {
        lease: LeaseId,
    },
    EndRescue {
        lease: LeaseId,
    },
    Measure {
        lease: LeaseId,
    },
}

/// What came of a call.
#[derive(Debug)]
pub(crate) enum Answer {
    Stepped(Result<Option<Stepped>, StoreError>),
    Hello(Result<(), AgentError>),
    Task(Result<Option<Task>, AgentError>),
    Confirm(Result<bool, AgentError>),
    Done(Result<(), AgentError>),
    PhoneHome(Result<MachineId, AgentError>),
    Machine(Result<Box<Machine>, Refusal>),
    Lease(Result<Box<Lease>, Refusal>),
    /// It was committed, or not; the caller is not told.
    Unknown,
}

impl Answer {
    /// A word for the history.
    pub fn word(&self) -> String {
        fn of<T, E: std::fmt::Display>(result: &Result<T, E>) -> String {
            match result {
                Ok(_) => "ok".into(),
                Err(error) => format!("no: {error}"),
            }
        }
        match self {
            Self::Stepped(r) => of(r),
            Self::Hello(r) | Self::Done(r) => of(r),
            Self::Task(Ok(Some(task))) => format!("task {} {}", task.id, task.work.word()),
            Self::Task(Ok(None)) => "no task".into(),
            Self::Task(r) => of(r),
            Self::Confirm(Ok(yes)) => format!("current: {yes}"),
            Self::Confirm(r) => of(r),
            Self::PhoneHome(r) => of(r),
            Self::Machine(r) => of(r),
            Self::Lease(r) => of(r),
            Self::Unknown => "never told".into(),
        }
    }
}

fn actor() -> Actor {
    // Who asks makes no difference to the core but in the audit log.
    Actor::Unknown
}

/// Makes a call.
pub(crate) async fn perform(core: &Core, call: Call) -> Answer {
    // Boxed, each of them: one frame would hold what they all need, and the stack be too small.
    match call {
        Call::Step {
            machine,
            known,
            input,
        } => Answer::Stepped(Box::pin(core.step(machine, known.map(|k| *k), &input)).await),
        Call::Hello { token, hello } => {
            Answer::Hello(Box::pin(core.agent_hello(&token, &hello)).await.map(drop))
        }
        Call::Task { token } => Answer::Task(Box::pin(core.agent_task(&token)).await),
        Call::Confirm { token, task } => Answer::Confirm(
            Box::pin(core.agent_confirm(&token, task))
                .await
                .map(|c| c.current),
        ),
        Call::Progress {
            token,
            task,
            progress,
        } => Answer::Confirm(
            Box::pin(core.agent_progress(&token, task, progress))
                .await
                .map(|c| c.current),
        ),
        Call::Outcome {
            token,
            task,
            outcome,
        } => Answer::Done(Box::pin(core.agent_outcome(&token, task, &outcome)).await),
        Call::PhoneHome { token, form } => {
            Answer::PhoneHome(Box::pin(core.phone_home(&token, &form)).await)
        }
        Call::Enroll { new } => Answer::Machine(
            Box::pin(core.enroll(&actor(), *new))
                .await
                .map(|(m, _)| Box::new(m)),
        ),
        Call::TakeOver { machine, drives } => Answer::Machine(
            Box::pin(core.take_over(&actor(), machine, &drives, None, None))
                .await
                .map(|(m, _)| Box::new(m)),
        ),
        Call::Command { machine, command } => Answer::Machine(
            Box::pin(core.machine_command(&actor(), machine, command, None))
                .await
                .map(|(m, _): (Machine, Option<_>)| Box::new(m)),
        ),
        Call::Create { project, new } => Answer::Lease(
            Box::pin(core.create_lease(&actor(), &project, *new))
                .await
                .map(|(l, _)| Box::new(l)),
        ),
        Call::Release { lease } => Answer::Lease(
            Box::pin(core.release_lease(&actor(), lease, None))
                .await
                .map(|(l, _)| Box::new(l)),
        ),
        Call::Power { lease, action } => Answer::Lease(
            Box::pin(core.power_lease(&actor(), lease, action))
                .await
                .map(|(l, _)| Box::new(l)),
        ),
        Call::Installed { token } => Answer::PhoneHome(Box::pin(core.installed(&token)).await),
        Call::InstalledByHand { lease } => Answer::Lease(
            Box::pin(core.installed_by_hand(&actor(), lease, None))
                .await
                .map(|(l, _)| Box::new(l)),
        ),
        Call::Reinstall { lease, keep, image } => {
            let with = billet_model::api::Reinstall {
                image: image.map(str::to_owned),
                keep_data_drives: keep,
                ..billet_model::api::Reinstall::default()
            };
            Answer::Lease(
                Box::pin(core.reinstall_lease(&actor(), lease, &with, None))
                    .await
                    .map(|(l, _)| Box::new(l)),
            )
        }
        Call::Rescue { lease } => Answer::Lease(
            Box::pin(core.rescue_lease(&actor(), lease, None))
                .await
                .map(|(l, _)| Box::new(l)),
        ),
        Call::Measure { lease } => Answer::Lease(
            Box::pin(core.measure_lease(&actor(), lease, None))
                .await
                .map(|(l, _)| Box::new(l)),
        ),
        Call::EndRescue { lease } => Answer::Lease(
            Box::pin(core.end_rescue(&actor(), lease, None))
                .await
                .map(|(l, _)| Box::new(l)),
        ),
        Call::Extend { lease, seconds } => {
            let change = billet_model::api::LeaseChange {
                extend_seconds: Some(seconds),
                ..billet_model::api::LeaseChange::default()
            };
            Answer::Lease(
                Box::pin(core.change_lease(&actor(), lease, &change, None))
                    .await
                    .map(Box::new),
            )
        }
    }
}
