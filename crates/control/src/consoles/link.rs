//! Keeping one console connected, and recording it.

use std::{sync::Arc, time::Duration};

use billet_bmc::console::{ConsoleError, ConsoleLink, SerialConsole};
use billet_model::{MachineId, Time, machine::Machine, people::Actor};
use jiff::{SignedDuration, Timestamp};

use super::{
    is_wanted,
    line::{Line, State},
};
use crate::{Control, passwords::BMC_PASSWORD};

/// The first pause after a connection that failed; it doubles, and varies.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_secs(60);
/// How long output is collected before it is written as one record.
const COLLECT: Duration = Duration::from_millis(10);
/// Bytes after which it is not collected any longer.
const ENOUGH: usize = 16 * 1024;
/// What a BMC sends until it is silent for so long is what it had kept.
const QUIET: Duration = Duration::from_millis(300);
/// And no longer than this.
const REPLAY: Duration = Duration::from_secs(3);
/// How often it is looked whether the console is still wanted.
const LOOK: Duration = Duration::from_secs(10);
/// How often it is noted that nothing was written.
const ALIVE: SignedDuration = SignedDuration::from_mins(10);

/// Keeps a console connected for as long as it is wanted.
pub(super) async fn keep(control: Control, id: MachineId, line: Arc<Line>) {
    let mut pause = FIRST;
    let mut state = line.state();
    if state.connected.take().is_some() {
        state.gap = Some(control.now());
        state.why = Some("a host key was pinned".into());
    }
    // What was not seen since the last record: Billet was not running, unless it is known why.
    state.gap = state.gap.or_else(|| line.recorder.last());
    if state.why.is_none() {
        state.why = Some("Billet was not running".into());
    }
    line.set_state(state);
    loop {
        let machine = match control.store().machine_in_short(id).await {
            Ok(Some(machine)) if is_wanted(&machine) => machine,
            Ok(_) => return lost(&control, &line, "the machine was off, and nobody's".into()),
            Err(error) => {
                tracing::error!(%error, machine = %id, "reading a machine for its console");
                tokio::time::sleep(LONGEST).await;
                continue;
            }
        };
        let began = tokio::time::Instant::now();
        let why = match connect(&control, &machine).await {
            Ok((mut link, console)) => {
                tracing::info!(machine = %machine.name, "connected to the serial console");
                let ended = record(&control, id, &line, &mut link, &console).await;
                if began.elapsed() > LONGEST {
                    pause = FIRST;
                }
                ended
            }
            Err(why) => why,
        };
        tracing::info!(machine = %machine.name, %why, "not connected to the serial console");
        lost(&control, &line, why);
        // Machines of a rack lose their BMCs together, and must not come back together.
        let varied = pause.mul_f64(0.5 + rand::random::<f64>());
        tokio::time::sleep(varied).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// It is not connected, from now on or from before.
fn lost(control: &Control, line: &Line, why: String) {
    let before = line.state();
    let since = match before.connected {
        Some(_) => Some(control.now()),
        None => before.gap,
    };
    line.set_state(State {
        connected: None,
        gap: since,
        why: Some(why),
    });
}

async fn connect(
    control: &Control,
    machine: &Machine,
) -> Result<(ConsoleLink, SerialConsole), String> {
    let client = control.client(machine).await?;
    let console = client.serial_console().await.map_err(|e| e.to_string())?;
    let sealed = control.store().secret(machine.id.0, BMC_PASSWORD).await;
    let sealed = sealed.map_err(|e| e.to_string())?;
    let password = control
        .keys
        .unseal(machine.id.0, BMC_PASSWORD, &sealed.unwrap_or_default())
        .map_err(|e| e.to_string())?;
    let pinned = control.console_host_key(machine.id).await;
    let pinned = pinned
        .map_err(|e| e.to_string())?
        .filter(|key| !key.is_empty());
    let url = url::Url::parse(&machine.bmc.address).map_err(|e| e.to_string())?;
    let host = url.host_str().unwrap_or_default();
    let user = &machine.bmc.user;
    let connecting =
        billet_bmc::console::connect(host, &console, user, &password, pinned.as_deref());
    let link = connecting.await.map_err(|error| match &error {
        ConsoleError::HostKey { shown, .. } => format!(
            "{error}; where the BMC was changed or its key renewed, pin the new one: \
             billet machine console {} --host-key {shown}",
            machine.name
        ),
        _ => error.to_string(),
    })?;
    if pinned.is_none() {
        let key = Some(link.host_key.as_str());
        let kept = control.write_host_key(&Actor::Billet, machine, key).await;
        kept.map_err(|e| e.to_string())?;
    }
    Ok((link, console))
}

/// Records until the connection ends; why it did.
async fn record(
    control: &Control,
    id: MachineId,
    line: &Line,
    link: &mut ConsoleLink,
    console: &SerialConsole,
) -> String {
    let recorder = &line.recorder;
    let before = line.state();
    let failed = |error: billet_console::RecordingError| {
        tracing::error!(%error, machine = %id, "recording a console");
        "it could not be recorded".to_owned()
    };
    // Nobody who types for a connection that is no more is let through.
    let mut typing = line.typing.lock().await;
    while typing.try_recv().is_ok() {}
    let mut replay = Vec::new();
    let until = tokio::time::Instant::now() + REPLAY;
    loop {
        let quiet = (tokio::time::Instant::now() + QUIET).min(until);
        match tokio::time::timeout_at(quiet, link.output()).await {
            Ok(Some(bytes)) => replay.extend_from_slice(&bytes),
            Ok(None) => return refused(&replay, console),
            Err(_) => break,
        }
        if tokio::time::Instant::now() >= until {
            break;
        }
    }
    if is_busy(&replay, console) {
        return refused(&replay, console);
    }
    let now = control.now();
    if let Some(gap) = before.gap {
        let why = before.why.as_deref().unwrap_or("not connected");
        if let Err(error) = recorder.gap(now, gap, why) {
            return failed(error);
        }
    }
    let gap = before.gap.unwrap_or(Timestamp::UNIX_EPOCH);
    if !replay.is_empty()
        && let Err(error) = recorder.replayed(now, gap, &replay)
    {
        return failed(error);
    }
    control.consoles().count(replay.len());
    drop(replay);
    line.set_state(State {
        connected: Some(now),
        gap: None,
        why: None,
    });
    let mut look = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
    let mut noted: Time = now;
    loop {
        tokio::select! {
            output = link.output() => {
                let Some(mut bytes) = output else {
                    return "the BMC ended the connection".into();
                };
                let until = tokio::time::Instant::now() + COLLECT;
                let mut over = false;
                while bytes.len() < ENOUGH && !over {
                    match tokio::time::timeout_at(until, link.output()).await {
                        Ok(Some(more)) => bytes.extend_from_slice(&more),
                        Ok(None) => over = true,
                        Err(_) => break,
                    }
                }
                noted = control.now();
                if let Err(error) = recorder.output(noted, &bytes) {
                    return failed(error);
                }
                control.consoles().count(bytes.len());
                if over {
                    return "the BMC ended the connection".into();
                }
            }
            Some(bytes) = typing.recv() => {
                if let Err(why) = link.type_in(bytes).await {
                    return format!("the connection broke: {why}");
                }
            }
            _ = look.tick() => {
                let now = control.now();
                if now.duration_since(noted) >= ALIVE {
                    noted = now;
                    if let Err(error) = recorder.alive(now) {
                        return failed(error);
                    }
                }
                match control.store().machine_in_short(id).await {
                    Ok(Some(machine)) if is_wanted(&machine) => {}
                    Ok(_) => return "the machine is off, and nobody's".into(),
                    Err(_) => {}
                }
            }
        }
    }
}

/// Whether what the BMC says means that somebody else has the console.
fn is_busy(said: &[u8], console: &SerialConsole) -> bool {
    // A machine's own output may say anything: only an answer to a command counts.
    let said = billet_console::plain(&said[..said.len().min(2048)]).to_lowercase();
    !console.command.is_empty() && console.busy.iter().any(|words| said.contains(words))
}

/// Why there was no console: what the BMC said last.
fn refused(said: &[u8], console: &SerialConsole) -> String {
    let said = billet_console::plain(&said[said.len().saturating_sub(512)..]);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let many = console.sessions.map_or_else(String::new, |n| {
        format!(
            " (it allows {n}; GET /redfish/v1/SessionService/Sessions at the BMC names who has it)"
        )
    });
    if is_busy(said.as_bytes(), console) {
        format!("somebody else has the BMC's console{many}: {said}")
    } else {
        format!("the BMC ended the connection: {said}")
    }
}
