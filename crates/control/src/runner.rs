//! The loop that acts: whichever machine is due is claimed, taken step by step,
//! and let go when it waits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use billet_model::{MachineId, bmc::BmcReply, machine::Machine, step::Pending};
use billet_plan::Effect;
use billet_store::{Due, EngineKind, StoreError};
use jiff::SignedDuration;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::Semaphore,
};

use crate::{Control, core::Input};

/// Machines worked on at a time.
const AT_A_TIME: usize = 64;
/// How long a claim holds when its holder dies.
const CLAIM: SignedDuration = SignedDuration::from_secs(60);
/// How often a claim is renewed while its holder lives.
const RENEW: Duration = Duration::from_secs(15);
/// How often the database is asked when nothing rings.
const POLL: Duration = Duration::from_millis(500);
/// A pause for which connections to a BMC are not kept.
const REST: SignedDuration = SignedDuration::from_secs(5);
/// Steps without a pause after which something is thought to be wrong.
const MOST_STEPS: u32 = 200;

/// Machines being worked on: what each was due for when that began, and what it was found
/// due for since, where that is something else.
type Busy = Arc<Mutex<HashMap<MachineId, (Due, Option<Due>)>>>;

impl Control {
    /// Works until `stop` ends; then waits for what is under way, so that
    /// replies of BMCs are still recorded.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let busy: Busy = Arc::default();
        let permits = Arc::new(Semaphore::new(AT_A_TIME));
        let me = format!("{}", self.new_id::<billet_model::EventId>());
        let mut stop = std::pin::pin!(stop);
        let mut sealed_at = self.now();
        loop {
            if let Err(error) = self.start_due(&busy, &permits, &me).await {
                tracing::error!(%error, "looking for machines that are due");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let now = self.now();
            if now.duration_since(sealed_at) >= SignedDuration::from_secs(1) {
                sealed_at = now;
                if let Err(error) = self.store().seal(now).await {
                    tracing::error!(%error, "sealing the audit log");
                }
            }
            tokio::select! {
                () = &mut stop => break,
                () = self.changed.notified() => {
                    // Changes come in bursts: one look serves many.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                () = tokio::time::sleep(POLL) => {}
            }
        }
        // All permits back means that nothing is under way.
        let all = u32::try_from(AT_A_TIME).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(Duration::from_secs(20), permits.acquire_many(all)).await;
        if let Err(error) = self.store().seal(self.now()).await {
            tracing::error!(%error, "sealing the audit log");
        }
    }

    async fn start_due(
        &self,
        busy: &Busy,
        permits: &Arc<Semaphore>,
        me: &str,
    ) -> Result<(), StoreError> {
        let under_way = busy.lock().unwrap_or_else(PoisonError::into_inner).len();
        let due = self
            .store()
            .machines_due(self.now(), under_way + 2 * AT_A_TIME)
            .await?;
        for due in due {
            let machine = due.machine;
            {
                let mut busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((began, rang)) = busy.get_mut(&machine) {
                    // A question that is on no record leaves the machine due for the same.
                    if *began != due {
                        *rang = Some(due);
                    }
                    continue;
                }
                busy.insert(machine, (due, None));
            }
            let (control, busy, permits, me) =
                (self.clone(), busy.clone(), permits.clone(), me.to_owned());
            tokio::spawn(async move {
                let _permit = permits.acquire_owned().await;
                loop {
                    let woken = control.warm.woken();
                    control.work(machine, &me).await;
                    if control.warm.woken() != woken {
                        continue;
                    }
                    let mut busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
                    // What rang while the last step was being taken may not
                    // have been seen by it.
                    let Some((_, Some(rang))) = busy.remove(&machine) else {
                        break;
                    };
                    busy.insert(machine, (rang, None));
                }
            });
        }
        Ok(())
    }

    async fn work(&self, machine: MachineId, me: &str) {
        // SQLite has one control plane at a time, and `busy` keeps its own
        // workers apart: a claim would only write the machine's row twice more.
        let claims = self.store().engine() == EngineKind::Postgres;
        if !claims {
            return self.work_on(machine).await;
        }
        let now = self.now();
        match self.store().claim(machine, me, now, now + CLAIM).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::error!(%error, %machine, "claiming a machine");
                tokio::time::sleep(Duration::from_secs(1)).await;
                return;
            }
        }
        let renewing = async {
            loop {
                tokio::time::sleep(RENEW).await;
                let now = self.now();
                match self.store().claim(machine, me, now, now + CLAIM).await {
                    Ok(true) => {}
                    // It is another's: what is decided here is compared by version.
                    Ok(false) => tracing::warn!(%machine, "a claim ran out under its work"),
                    Err(error) => tracing::error!(%error, %machine, "renewing a claim"),
                }
            }
        };
        meanwhile(self.work_on(machine), renewing).await;
        if let Err(error) = self.store().release_claim(machine, me).await {
            tracing::error!(%error, %machine, "letting a machine go");
        }
    }

    async fn work_on(&self, machine: MachineId) {
        if let Err(error) = self.steps(machine).await {
            tracing::error!(%error, %machine, "taking a step");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn steps(&self, machine: MachineId) -> Result<(), StoreError> {
        // A request that is pending when the work begins was sent by nobody
        // who could still bring the reply.
        let mut input = Input {
            orphaned: true,
            ..Input::default()
        };
        let mut known = None;
        for _ in 0..MOST_STEPS {
            let Some(stepped) = self.step(machine, known.take(), &input).await? else {
                return Ok(());
            };
            input = Input::default();
            let record = stepped.known.machine();
            match stepped.effect {
                Some(Effect::Ask(pending)) => {
                    self.consoles().seen(record);
                    let reply = self.asked(record, &pending).await;
                    input.reply = Some((pending.number, reply));
                    known = Some(stepped.known);
                }
                Some(Effect::Probe) => input.probed = Some(probe(record).await),
                None if stepped.wake_at > self.now() => {
                    if stepped.wake_at.duration_since(self.now()) > REST {
                        self.rest(machine);
                    }
                    return Ok(());
                }
                None => known = Some(stepped.known),
            }
        }
        tracing::warn!(%machine, "a machine takes step after step without a pause");
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    async fn asked(&self, machine: &Machine, pending: &Pending) -> BmcReply {
        let began = std::time::Instant::now();
        let reply = self.carry_out(machine, pending).await;
        self.count(&reply, began.elapsed());
        tracing::debug!(
            machine = %machine.name,
            number = pending.number,
            request = ?pending.request,
            ?reply,
            took = ?began.elapsed(),
            "asked the BMC"
        );
        reply
    }
}

/// Does `work`, and until it is done something else beside it.
async fn meanwhile<T>(work: impl Future<Output = T>, beside: impl Future<Output = ()>) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = beside => {}
    }
    work.await
}

/// Whether something speaks SSH at the machine's address: a port that only
/// accepts may be a forwarder's.
async fn probe(machine: &Machine) -> bool {
    let Some(address) = machine.addresses.first() else {
        return false;
    };
    let spoke = async {
        let stream = tokio::net::TcpStream::connect((address.reached_at, 22)).await?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        Ok::<_, std::io::Error>(line.starts_with("SSH-"))
    };
    matches!(
        tokio::time::timeout(Duration::from_secs(5), spoke).await,
        Ok(Ok(true))
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_claim_is_renewed_for_as_long_as_the_work_goes_on() {
        let renewed = AtomicU32::new(0);
        let renewing = async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(2)).await;
                renewed.fetch_add(1, Ordering::Relaxed);
            }
        };
        let work = async {
            while renewed.load(Ordering::Relaxed) < 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            7
        };
        let done = meanwhile(work, renewing);
        let done = tokio::time::timeout(Duration::from_secs(10), done).await;
        assert_eq!(done, Ok(7));
        assert!(RENEW.as_secs() as i64 * 3 < CLAIM.as_secs(), "two may fail");
    }
}
