//! The control plane's process: which machine it looks at when, what it sends,
//! and how it dies. It does as the real loop does, in virtual time.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use billet_control::{Input, Stepped};
use billet_model::{
    bmc::{BmcFact, BmcFailure, BmcReply, BmcRequest, Restore},
    lifecycle::Lifecycle,
    step::{Pending, Step},
};
use billet_plan::Effect;
use jiff::SignedDuration;

use crate::{
    block::block_on,
    bmc::{self, Fate, LATEST, TIMEOUT},
    calls::{Answer, Call, perform},
    check::{Seen, Word},
    clock::{Between, Died},
    event::Event,
    finding::Violation,
    mutants::Channel,
    sim::{Sim, SimError, show},
};

/// Steps without a pause after which something is wrong.
const MOST_STEPS: u32 = 60;

/// A call that came between another's reading and its commit.
#[derive(Clone)]
pub(crate) struct Other {
    pub call: Call,
    /// The machine whose message it is, its life, the message's number, and
    /// whether its answer is heard.
    pub from: Option<(usize, u64, u64, bool)>,
}

/// Calls that came between, and what came of them.
type Came = Arc<Mutex<Vec<(Other, Answer)>>>;

impl Sim {
    /// Makes a call into the core, with whatever comes between.
    pub fn call(&mut self, m: Option<usize>, call: Call) -> Result<Answer, SimError> {
        self.calls += 1;
        let came = Came::default();
        let shown = word(&call);
        if !self.quiet {
            self.between(m, &call, &came);
        }
        let core = self.core.clone();
        let answer = catch_unwind(AssertUnwindSafe(|| block_on(perform(&core, call.clone()))));
        self.world.unplan();
        let answer = match answer {
            Ok(answer) => self.channel(&call, answer),
            Err(payload) if payload.is::<Died>() => {
                self.note(m, format!("{shown}: dies before the commit"));
                self.count("died before a commit");
                self.crash("died");
                Answer::Unknown
            }
            Err(payload) => resume_unwind(payload),
        };
        let answer = if !self.quiet && self.dice.per_mille(6) && !matches!(answer, Answer::Unknown)
        {
            self.note(
                m,
                format!("{shown}: {} (its caller is never told)", answer.word()),
            );
            self.count("acknowledgement lost");
            self.find_new(&call)?;
            Answer::Unknown
        } else {
            self.note(m, format!("{shown}: {}", answer.word()));
            answer
        };
        if let Some(m) = m {
            self.observe(m)?;
        }
        let came = std::mem::take(&mut *came.lock().unwrap_or_else(PoisonError::into_inner));
        for (other, answer) in came {
            let word = format!("between: {}: {}", word(&other.call), answer.word());
            self.note(m, word);
            self.count("came between");
            self.came_between(other, answer)?;
        }
        Ok(answer)
    }

    /// Plans what comes between this call's reading and its commit.
    fn between(&mut self, m: Option<usize>, call: &Call, came: &Came) {
        let at = u32::try_from(self.dice.number(1, 12)).unwrap_or(1);
        if self.dice.per_mille(6) {
            self.world.plan(at, Between::Death);
            return;
        }
        if !self.dice.per_mille(70) {
            return;
        }
        let Some(other) = self.another(m, call) else {
            return;
        };
        let (core, came) = (self.core.clone(), came.clone());
        self.world.plan(
            at,
            Between::Call(Box::new(move || {
                let answer = block_on(perform(&core, other.call.clone()));
                came.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((other, answer));
            })),
        );
    }

    /// What a planted bug in the agents' channel makes of an answer.
    fn channel(&self, call: &Call, answer: Answer) -> Answer {
        match (self.options.mutant.map(|m| m.channel), call) {
            (Some(Channel::AlwaysYes), Call::Confirm { .. }) => Answer::Confirm(Ok(true)),
            _ => answer,
        }
    }

    /// The process dies, with all that it knows.
    pub fn crash(&mut self, how: &str) {
        if !self.up {
            return;
        }
        self.note(None, format!("the control plane is {how}"));
        self.count("crashes");
        self.up = false;
        self.run += 1;
        for one in &mut self.machines {
            one.busy = false;
            one.rang = false;
            one.work_at = None;
            one.steps = 0;
        }
        let pause = if self.dice.per_mille(100) {
            self.dice.seconds(300, 1200)
        } else {
            self.dice.seconds(1, 60)
        };
        self.after(pause, Event::Start);
    }

    pub fn start_plane(&mut self) -> Result<(), SimError> {
        if self.up {
            return Ok(());
        }
        self.up = true;
        self.note(None, "the control plane starts");
        let due = block_on(self.core.store.machines_due(self.now, 100_000))?;
        for (n, due) in due.iter().enumerate() {
            if let Some(m) = self.by_id.get(&due.machine).copied() {
                let pause = SignedDuration::from_millis(10 * i64::try_from(n).unwrap_or(0));
                let run = self.run;
                self.after(pause, Event::Work { m, run });
            }
        }
        for m in 0..self.machines.len() {
            self.schedule(m);
        }
        Ok(())
    }

    /// Sees to it that a machine is looked at when it is due.
    pub fn schedule(&mut self, m: usize) {
        if !self.up {
            return;
        }
        let jitter = self.dice.millis(0, 400);
        let (now, run) = (self.now, self.run);
        let one = &mut self.machines[m];
        let Some(stored) = &one.stored else { return };
        if stored.lifecycle == Lifecycle::Retired {
            return;
        }
        if one.busy {
            one.rang |= stored.wake_at <= now;
            return;
        }
        let at = stored.wake_at.max(now) + jitter;
        if one.work_at.is_some_and(|t| t <= at) {
            return;
        }
        one.work_at = Some(at);
        self.queue.put(at, Event::Work { m, run });
    }

    pub fn work(&mut self, m: usize, run: u64) -> Result<(), SimError> {
        if run != self.run || !self.up {
            return Ok(());
        }
        let one = &mut self.machines[m];
        one.work_at = None;
        if one.busy || one.stored.as_ref().is_none_or(|s| s.wake_at > self.now) {
            self.schedule(m);
            return Ok(());
        }
        one.busy = true;
        one.known = None;
        one.steps = 0;
        let input = Input {
            orphaned: true,
            ..Input::default()
        };
        self.step(m, input, None)
    }

    pub fn reply(
        &mut self,
        m: usize,
        run: u64,
        number: u64,
        request: &BmcRequest,
        reply: BmcReply,
    ) -> Result<(), SimError> {
        if run != self.run {
            return Ok(());
        }
        let input = Input {
            reply: Some((number, reply.clone())),
            ..Input::default()
        };
        self.step(m, input, Some((request.clone(), reply)))
    }

    /// Takes steps until the machine waits for something.
    pub fn step(
        &mut self,
        m: usize,
        mut input: Input,
        mut told: Option<(BmcRequest, BmcReply)>,
    ) -> Result<(), SimError> {
        loop {
            let Some(machine) = self.machines[m].id else {
                return Ok(());
            };
            let run = self.run;
            let known = self.machines[m].known.take();
            let answer = self.call(
                Some(m),
                Call::Step {
                    machine,
                    known,
                    input: input.clone(),
                },
            )?;
            if self.run != run {
                return Ok(());
            }
            let stepped = match answer {
                Answer::Stepped(Ok(Some(stepped))) => stepped,
                Answer::Stepped(Err(error)) => {
                    self.find(
                        m,
                        Violation::Failed {
                            machine: Some(machine),
                            why: error.to_string(),
                        },
                    );
                    return self.pause(m);
                }
                // The database's word did not come: as after an error. What was
                // told is recorded all the same.
                _ => {
                    if let Some((_, reply)) = told.take() {
                        self.see(m, &Seen::Replied { reply: &reply });
                    }
                    return self.pause(m);
                }
            };
            if let Some((_, reply)) = told.take() {
                self.see(m, &Seen::Replied { reply: &reply });
            }
            let probes = stepped.effect == Some(Effect::Probe);
            self.machines[m].known = (!probes).then(|| Box::new(stepped.known.clone()));
            if self.acts(m, stepped) {
                return Ok(());
            }
            input = Input::default();
        }
    }

    /// After an error the machine is let go, and looked at again.
    fn pause(&mut self, m: usize) -> Result<(), SimError> {
        let one = &mut self.machines[m];
        one.busy = false;
        one.rang = false;
        let run = self.run;
        self.after(SignedDuration::from_secs(1), Event::Work { m, run });
        Ok(())
    }

    /// Carries an effect out; `false` where there is none, nor a pause.
    fn acts(&mut self, m: usize, stepped: Stepped) -> bool {
        let run = self.run;
        match stepped.effect {
            Some(Effect::Ask(pending)) => {
                self.machines[m].steps = 0;
                if !self.quiet && self.dice.per_mille(4) {
                    self.count("died before sending");
                    self.crash("dead between commit and sending");
                    return true;
                }
                let deadly = if pending.request.is_change() { 30 } else { 3 };
                let dies = !self.quiet && self.dice.per_mille(deadly);
                self.send(m, &pending, dies);
                if dies {
                    self.count("died after sending");
                    self.crash("dead between sending and the answer");
                }
                true
            }
            Some(Effect::Probe) => {
                self.machines[m].steps = 0;
                let pause = self.dice.millis(100, 3000);
                self.after(pause, Event::Probed { m, run });
                true
            }
            None if stepped.wake_at > self.now => {
                let one = &mut self.machines[m];
                one.busy = false;
                one.steps = 0;
                if std::mem::take(&mut one.rang) {
                    self.after(SignedDuration::ZERO, Event::Work { m, run });
                } else {
                    self.schedule(m);
                }
                true
            }
            None => {
                let one = &mut self.machines[m];
                one.steps += 1;
                if one.steps <= MOST_STEPS {
                    return false;
                }
                self.find(m, Violation::Spins(MOST_STEPS));
                self.machines[m].busy = false;
                self.after(SignedDuration::from_secs(30), Event::Work { m, run });
                true
            }
        }
    }

    /// On whose word a request goes out: a tenant's, if it asked for just that.
    fn word_for(&mut self, m: usize, request: &BmcRequest) -> Word {
        let one = &mut self.machines[m];
        let (Some(stored), BmcRequest::Power { action }) = (&one.stored, request) else {
            return Word::Billet;
        };
        if !matches!(stored.step, Step::ChangePower { .. }) {
            return Word::Billet;
        }
        let tenant = stored
            .lease
            .filter(|_| stored.lifecycle == Lifecycle::Active);
        match one.asked.iter().position(|a| *a == (tenant, *action)) {
            Some(at) => {
                one.asked.remove(at);
                tenant.map_or(Word::Operator, Word::Tenant)
            }
            None => Word::Billet,
        }
    }

    /// Sends a request to its BMC.
    fn send(&mut self, m: usize, pending: &Pending, dies: bool) {
        let request = &pending.request;
        let word = self.word_for(m, request);
        self.see(m, &Seen::Sent { request, word });
        let faults = !self.quiet;
        let mut fate = bmc::fate(
            &mut self.dice,
            &self.machines[m].weather,
            request,
            self.now,
            faults,
        );
        if fate == Fate::Answered {
            fate = self.refused(m, request);
        }
        if *request == BmcRequest::SetPassword {
            let [_, next] = self.passwords_kept(m);
            if next.is_none() {
                self.find(m, Violation::Unkept);
            }
            self.machines[m].metal.password_sent = next;
        }
        if dies && pending.request.is_change() && fate == Fate::Answered && self.dice.per_mille(400)
        {
            // What takes a process down often takes its network along.
            fate = Fate::Late(self.dice.seconds(1, LATEST));
        }
        self.note(
            m,
            format!("→ BMC #{} {request:?} ({word:?}): {fate:?}", pending.number),
        );
        self.count(match fate {
            Fate::Answered => "requests answered",
            Fate::Failed(_) => "requests failed",
            Fate::Lost => "requests lost",
            Fate::Unheard => "replies lost",
            Fate::Late(_) => "requests late",
            Fate::Ignored => "requests ignored",
        });
        let (run, number) = (self.run, pending.number);
        let way = match request {
            // Many resources are read for one of these.
            BmcRequest::Discover | BmcRequest::ReadSettings => self.dice.seconds(2, 25),
            _ => self.dice.millis(50, 900),
        };
        let carry = |answer| Event::Carry {
            m,
            request: request.clone(),
            word,
            answer,
        };
        let unsure = || Event::Reply {
            m,
            run,
            number,
            request: request.clone(),
            reply: if request.is_change() {
                BmcReply::Uncertain {
                    detail: "no answer in time".into(),
                }
            } else {
                BmcReply::Failed {
                    kind: billet_model::bmc::BmcFailure::Unreachable,
                    detail: "no answer in time".into(),
                }
            },
        };
        match fate {
            Fate::Answered => {
                let event = carry(Some((run, number)));
                self.after(way, event);
            }
            Fate::Failed(kind) => {
                let reply = BmcReply::Failed {
                    kind,
                    detail: format!("{kind:?}"),
                };
                let event = Event::Reply {
                    m,
                    run,
                    number,
                    request: request.clone(),
                    reply,
                };
                self.after(way, event);
            }
            Fate::Lost => {
                let event = unsure();
                self.after(TIMEOUT, event);
            }
            Fate::Unheard => {
                let (carry, unsure) = (carry(None), unsure());
                self.after(way, carry);
                self.after(TIMEOUT, unsure);
            }
            Fate::Late(after) => {
                let (carry, unsure) = (carry(None), unsure());
                self.after(after, carry);
                self.after(TIMEOUT, unsure);
            }
            Fate::Ignored => {
                let reply = BmcReply::Done {
                    fact: BmcFact::Done,
                };
                let event = Event::Reply {
                    m,
                    run,
                    number,
                    request: request.clone(),
                    reply,
                };
                self.after(way, event);
            }
        }
    }

    /// What its BMC does not do, whatever the weather.
    fn refused(&self, m: usize, request: &BmcRequest) -> Fate {
        let metal = &self.machines[m].metal;
        let refused = match request {
            BmcRequest::Restore {
                what: Restore::RemoveAccount { .. },
            } => metal.stubborn,
            BmcRequest::SetPassword => {
                let [_, next] = self.passwords_kept(m);
                let plain = |p: &String| p.chars().all(|c| c.is_ascii_alphanumeric());
                metal.picky && next.as_ref().is_none_or(plain)
            }
            _ => false,
        };
        let locked = metal.password.is_some()
            && *request != BmcRequest::TryPassword
            && metal.password != self.passwords_kept(m)[0];
        match (refused, locked) {
            (_, true) => Fate::Failed(BmcFailure::Credentials),
            (true, _) => Fate::Failed(BmcFailure::Refused),
            _ => Fate::Answered,
        }
    }

    /// Reads a machine's record again and shows it to the checkers.
    pub fn observe(&mut self, m: usize) -> Result<(), SimError> {
        let Some(id) = self.machines[m].id else {
            return Ok(());
        };
        let store = self.core.store.clone();
        let Some(machine) = block_on(store.machine(id))? else {
            return Ok(());
        };
        let one = &mut self.machines[m];
        if one.stored.as_ref() == Some(&machine) {
            // A lease on a machine that is held is released with no change of it.
            let lease = match machine.lease {
                Some(id) => block_on(store.lease(id))?,
                None => None,
            };
            if one.lease == lease {
                return Ok(());
            }
        }
        let before = one.stored.replace(machine.clone());
        let is = one.metal.password.clone();
        if is.is_some() && !self.passwords_kept(m).contains(&is) {
            self.find(m, Violation::LockedOut);
        }
        let of = machine.lease.or(before.as_ref().and_then(|b| b.lease));
        let lease = match of {
            Some(id) => block_on(store.lease(id))?,
            None => None,
        };
        let cleared = before.as_ref().is_some_and(|b| {
            (b.may_hold_data && !machine.may_hold_data) || b.lease != machine.lease
        });
        let evidence = if cleared {
            let filter = billet_store::EvidenceFilter {
                machine: Some(id),
                ..billet_store::EvidenceFilter::default()
            };
            block_on(store.evidence_list(&filter, None, 10_000))?
        } else {
            Vec::new()
        };
        if before
            .as_ref()
            .is_none_or(|b| b.lifecycle != machine.lifecycle || b.step != machine.step)
        {
            let text = format!("is {} at {:?}", machine.lifecycle, machine.step);
            self.history.add(self.now, Some(m), &text);
        }
        if before
            .as_ref()
            .is_some_and(|b| b.lifecycle != machine.lifecycle)
        {
            self.count(machine.lifecycle.as_str());
        }
        let lied = self.machines[m].lied_at.is_some_and(|at| {
            self.machines[m]
                .metal
                .erased_at
                .is_none_or(|erased| at >= erased)
        });
        show(
            &mut self.checkers,
            &mut self.findings,
            self.now,
            m,
            &Seen::Stored {
                before: before.as_ref(),
                machine: &machine,
                lease: lease.as_ref(),
                metal: &self.machines[m].metal,
                evidence: &evidence,
                lied,
            },
        );
        self.machines[m].lease = lease.filter(|l| machine.lease == Some(l.id));
        self.schedule(m);
        Ok(())
    }
}

/// A call in a few words.
pub(crate) fn word(call: &Call) -> String {
    match call {
        Call::Step { input, .. } => {
            let reply = input
                .reply
                .as_ref()
                .map(|(n, r)| format!(" #{n} {}", reply_word(r)));
            format!(
                "step{}{}",
                if input.orphaned { " (new)" } else { "" },
                reply.unwrap_or_default()
            )
        }
        Call::Hello { .. } => "agent: hello".into(),
        Call::Task { .. } => "agent: what is to be done?".into(),
        Call::Confirm { task, .. } => format!("agent: may I write, {task}?"),
        Call::Progress { .. } => "agent: so far".into(),
        Call::Outcome { outcome, .. } => {
            let text = format!("{outcome:?}");
            let end = text.find([' ', '(']).unwrap_or(text.len());
            format!("agent: {}", &text[..end])
        }
        Call::PhoneHome { .. } => "system: phones home".into(),
        Call::Enroll { .. } => "operator: enroll".into(),
        Call::TakeOver { .. } => "operator: take over".into(),
        Call::Command { command, .. } => format!("operator: {command:?}"),
        Call::Create { new, .. } => format!("tenant: create {:?}", new.name),
        Call::Release { lease } => format!("tenant: release {lease}"),
        Call::Power { lease, action } => format!("tenant: power {action} {lease}"),
        Call::Extend { lease, .. } => format!("tenant: extend {lease}"),
        Call::Reinstall { lease, keep, image } => {
            format!("tenant: reinstall {lease}, keep: {keep}, with {image:?}")
        }
        Call::Installed { .. } => "installer: is done".into(),
        Call::InstalledByHand { lease } => format!("tenant: {lease} is installed"),
        Call::Rescue { lease } => format!("tenant: rescue {lease}"),
        Call::Measure { lease } => format!("tenant: measure {lease}"),
        Call::EndRescue { lease } => format!("tenant: end the rescue of {lease}"),
    }
}

fn reply_word(reply: &BmcReply) -> String {
    match reply {
        BmcReply::Done {
            fact: BmcFact::Power { power },
        } => format!("power is {power}"),
        BmcReply::Done { .. } => "done".into(),
        BmcReply::Failed { kind, .. } => format!("failed: {kind:?}"),
        BmcReply::Uncertain { .. } => "uncertain".into(),
    }
}
