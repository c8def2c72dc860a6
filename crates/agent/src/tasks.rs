//! The loop: ask for a task, do it, report, until the machine is turned off.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use billet_model::{
    TaskId,
    work::{Task, WorkOutcome},
};
use billet_protocol::boot::BootRecord;

use crate::{
    channel::{Channel, ChannelError},
    console::say,
    desk::Desk,
    halt, kexec, leave, rescue,
    work::Worker,
};

/// How long the control plane may be silent before the machine is turned off.
const GIVE_UP: Duration = Duration::from_secs(30 * 60);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Serves the control plane, to the machine's end.
pub fn serve(channel: Channel, record: BootRecord) -> ! {
    let channel = Arc::new(channel);
    let mut worker = Worker::new(record);
    let mut done: Option<(TaskId, WorkOutcome)> = None;
    say("waiting for work");
    loop {
        let task = patiently("asking for a task", || channel.task());
        let Some(task) = task else {
            continue;
        };
        // Asked for again: the outcome was lost, the work was not.
        let outcome = match done.take() {
            Some((id, outcome)) if id == task.id => outcome,
            _ => perform(&mut worker, &channel, &task),
        };
        let taken = deliver(&channel, task.id, &outcome);
        if matches!(outcome, WorkOutcome::Starting(_)) {
            if taken {
                leave::begin();
            }
            // Nobody waits for it.
            kexec::unload();
            continue;
        }
        done = Some((task.id, outcome));
    }
}

fn perform(worker: &mut Worker, channel: &Arc<Channel>, task: &Task) -> WorkOutcome {
    let kind = task.work.word();
    say(format!("task {}: {kind}", task.id));
    let desk = Desk::new(channel.clone(), task.id);
    let outcome = desk.attend(|| worker.perform(&task.work, channel, &desk));
    if let WorkOutcome::Failed { kind, detail } = &outcome {
        say(format!("task {}: failed ({kind:?}): {detail}", task.id));
    }
    outcome
}

/// Reports until it is acknowledged, or refused; whether it was acknowledged.
fn deliver(channel: &Channel, task: TaskId, outcome: &WorkOutcome) -> bool {
    let answer = patiently_or("reporting the outcome", || channel.outcome(task, outcome));
    match answer {
        Ok(()) => {
            say(format!("task {task}: reported"));
            true
        }
        Err(error) => {
            say(format!("task {task}: the report was not taken: {error}"));
            false
        }
    }
}

/// Calls until there is an answer; an answer that is a refusal is waited out too.
fn patiently<T>(what: &str, call: impl Fn() -> Result<T, ChannelError>) -> T {
    loop {
        match patiently_or(what, &call) {
            Ok(value) => return value,
            Err(error) => {
                say(format!("{what}: {error}"));
                thread::sleep(LONGEST_PAUSE);
            }
        }
    }
}

/// Calls until there is an answer or a refusal that does not pass.
fn patiently_or<T>(
    what: &str,
    call: impl Fn() -> Result<T, ChannelError>,
) -> Result<T, ChannelError> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(500);
    loop {
        match call() {
            Err(error) if error.passes() => {
                say(format!("{what}: {error}"));
                // A tenant at work in a rescue is not cut off.
                if began.elapsed() > GIVE_UP && !rescue::is_up() {
                    halt::power_off("the control plane was silent for too long");
                }
                thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            other => return other,
        }
    }
}
