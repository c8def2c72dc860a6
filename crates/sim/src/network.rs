//! Agents' messages: sent, lost, late, answered, and what an agent makes of them.

use billet_control::AgentError;
use billet_model::{
    step::Step,
    work::{Progress, Work, WorkOutcome},
};
use billet_protocol::agent::{CONFIRM_SECONDS, Hello};
use jiff::SignedDuration;

use crate::{
    agent::{self, At},
    calls::{Answer, Call},
    check::Seen,
    event::Event,
    metal::{Owner, Running, Temper},
    sim::{OWN, Sim, SimError, show},
};

/// When an agent stops to wait for an answer.
const PATIENCE: SignedDuration = SignedDuration::from_secs(10);

impl Sim {
    /// The agent goes on.
    pub fn agent(&mut self, m: usize, life: u64, number: u64) {
        let metal = &mut self.machines[m].metal;
        if metal.life != life {
            return;
        }
        let Some(agent) = metal.agent.as_mut().filter(|a| a.call == number) else {
            return;
        };
        let token = agent.token.clone();
        match agent.at.clone() {
            At::Hello => {
                let hello = Hello {
                    version: "1".into(),
                    serial: Some(metal.serial.clone()),
                    kernel_boot_id: agent.kernel.clone(),
                    uptime_seconds: 10,
                };
                self.say(m, Call::Hello { token, hello });
            }
            At::Idle if !self.quiet && self.dice.per_mille(1) => {
                metal.agent = None;
                self.note(m, "the agent dies while it waits");
            }
            At::Idle => self.say(m, Call::Task { token }),
            At::Telling { task, outcome } => {
                let task = task.id;
                self.say(
                    m,
                    Call::Outcome {
                        token,
                        task,
                        outcome,
                    },
                );
            }
            At::Doing {
                task, done, pieces, ..
            } if done >= pieces => {
                let starts = matches!(task.work, Work::Start(_) | Work::Trial(_));
                let fails = starts && !self.quiet && self.dice.per_mille(100);
                let outcome = Box::new(match fails {
                    true => agent::no_kexec(),
                    false => agent::outcome(metal, &task),
                });
                if let Some(agent) = &mut metal.agent {
                    agent.at = At::Telling { task, outcome };
                }
                self.again(m, SignedDuration::from_millis(10));
            }
            At::Doing {
                task, done, yes, ..
            } => {
                if !self.quiet && self.dice.per_mille(4) {
                    self.note(m, "the agent hangs");
                    return;
                }
                if !self.quiet && self.dice.per_mille(3) {
                    self.note(m, "the agent's kernel panics and reboots");
                    self.machines[m].metal.restart();
                    self.posts(m);
                    return;
                }
                self.piece(m, *task, done, yes, token);
            }
        }
    }

    /// One piece of work, or the question that must come before it.
    fn piece(
        &mut self,
        m: usize,
        task: billet_model::work::Task,
        done: u32,
        yes: Option<billet_model::Time>,
        token: String,
    ) {
        let writes = task.work.word().writes();
        if let Work::Write(order) = &task.work
            && order.prepared
            && done == 0
            && !agent::stands(&self.machines[m].metal, order)
        {
            // It looks before it takes that for granted.
            if let Some(agent) = &mut self.machines[m].metal.agent {
                let outcome = Box::new(agent::not_prepared());
                let task = Box::new(task);
                agent.at = At::Telling { task, outcome };
            }
            self.again(m, SignedDuration::from_millis(10));
            return;
        }
        let good = SignedDuration::from_secs(i64::try_from(CONFIRM_SECONDS).unwrap_or(0));
        if writes && yes.is_none_or(|asked| self.now.duration_since(asked) > good) {
            let task = task.id;
            self.say(m, Call::Confirm { token, task });
            return;
        }
        let now = self.now;
        let one = &mut self.machines[m];
        let mut last = false;
        if let Some(agent) = &mut one.metal.agent
            && let At::Doing { done, pieces, .. } = &mut agent.at
        {
            *done += 1;
            last = *done >= *pieces;
        }
        if writes {
            let drives = agent::write_piece(&mut one.metal, &task, last);
            let whole = one.metal.disks.iter().all(|d| d.temper != Temper::Dead);
            if last && whole && matches!(task.work, billet_model::work::Work::Erase(_)) {
                one.metal.erased_at = Some(now);
            }
            show(
                &mut self.checkers,
                &mut self.findings,
                now,
                m,
                &Seen::Wrote {
                    task: task.id,
                    drives: &drives,
                    lease: one.lease.as_ref(),
                    machine: one.stored.as_ref(),
                    metal: &one.metal,
                },
            );
            if let Work::Prepare(order) = &task.work {
                let lease = self.machines[m].lease.clone();
                self.see(
                    m,
                    &Seen::Prepared {
                        image: &order.image,
                        everyones: !order.image.ends_with(OWN),
                        lease: lease.as_ref(),
                    },
                );
            }
            self.note(
                m,
                format!("the agent writes for {} ({})", task.id, task.work.word()),
            );
        }
        if self.dice.per_mille(250) {
            let progress = Progress {
                step: "at it".into(),
                done: u64::from(done),
                total: 10,
                unit: "pieces".into(),
            };
            let task = task.id;
            self.say(
                m,
                Call::Progress {
                    token,
                    task,
                    progress,
                },
            );
        } else {
            let pause = self.dice.seconds(1, 9);
            self.again(m, pause);
        }
    }

    /// What the agent loaded is started.
    fn jumps(&mut self, m: usize, work: &Work) {
        let hangs = !self.quiet && self.dice.per_mille(80);
        let running = match work {
            _ if hangs => Running::Nothing,
            Work::Trial(order) => Running::Ramdisk(order.next),
            Work::Start(order) => Running::System(Owner::Lease(order.lease)),
            _ => return,
        };
        self.note(m, format!("kexec starts {running:?}"));
        let pause = self.dice.seconds(2, 15);
        self.machines[m].metal.kexec(running.clone());
        let life = self.machines[m].metal.life;
        match running {
            Running::Ramdisk(_) => self.after(pause, Event::RamdiskUp { m, life }),
            Running::System(_) => self.after(pause, Event::SystemUp { m, life }),
            Running::Nothing | Running::Firmware | Running::Installer(_) => {}
        }
        self.count("kernels started by kexec");
        let one = &self.machines[m];
        show(
            &mut self.checkers,
            &mut self.findings,
            self.now,
            m,
            &Seen::Jumped {
                metal: &one.metal,
                lease: one.lease.as_ref(),
            },
        );
    }

    /// The agent goes on after a pause.
    fn again(&mut self, m: usize, pause: SignedDuration) {
        let metal = &mut self.machines[m].metal;
        let life = metal.life;
        if let Some(agent) = &mut metal.agent {
            agent.call += 1;
            let call = agent.call;
            self.after(pause, Event::Agent { m, life, call });
        }
    }

    /// The agent sends a message and waits.
    fn say(&mut self, m: usize, call: Call) {
        let now = self.now;
        let metal = &mut self.machines[m].metal;
        let life = metal.life;
        let Some(agent) = &mut metal.agent else {
            return;
        };
        agent.call += 1;
        let number = agent.call;
        // A yes counts from when it was asked for.
        if let (At::Doing { yes, .. }, Call::Confirm { .. }) = (&mut agent.at, &call) {
            *yes = Some(now);
        }
        let way = self.dice.millis(10, 300);
        if !self.trouble(m, 60) {
            self.after(
                way,
                Event::Arrive {
                    m,
                    life,
                    number,
                    call,
                    heard: true,
                },
            );
            return;
        }
        self.count("agents' messages in trouble");
        self.after(PATIENCE, Event::Unanswered { m, life, number });
        let way = match self.dice.number(0, 3) {
            0 => return,
            1 => way,
            _ => self.dice.seconds(5, 240),
        };
        self.after(
            way,
            Event::Arrive {
                m,
                life,
                number,
                call,
                heard: false,
            },
        );
    }

    /// A message of a machine's arrives.
    pub fn arrive(
        &mut self,
        m: usize,
        life: u64,
        number: u64,
        call: Call,
        heard: bool,
    ) -> Result<(), SimError> {
        if !self.up {
            if heard {
                self.after(
                    SignedDuration::from_secs(2),
                    Event::Unanswered { m, life, number },
                );
            }
            return Ok(());
        }
        let answer = self.call(Some(m), call.clone())?;
        if heard {
            self.told(m, life, number, &call, answer);
        }
        Ok(())
    }

    /// No answer came: the agent asks again, and a yes that was not heard is none.
    pub fn unanswered(&mut self, m: usize, life: u64, number: u64) {
        let metal = &mut self.machines[m].metal;
        if metal.life != life {
            return;
        }
        let Some(agent) = metal.agent.as_mut().filter(|a| a.call == number) else {
            return;
        };
        if let At::Doing { yes, .. } = &mut agent.at {
            *yes = None;
        }
        let pause = self.dice.seconds(1, 5);
        self.again(m, pause);
    }

    /// The agent hears an answer.
    pub fn told(&mut self, m: usize, life: u64, number: u64, call: &Call, answer: Answer) {
        let stored = self.machines[m].stored.as_ref();
        let waits = stored.is_some_and(|s| matches!(s.step, Step::Warm { .. }));
        let metal = &mut self.machines[m].metal;
        if metal.life != life {
            return;
        }
        let Some(agent) = metal.agent.as_mut().filter(|a| a.call == number) else {
            return;
        };
        let refused = matches!(
            &answer,
            Answer::Hello(Err(AgentError::Unknown))
                | Answer::Task(Err(AgentError::Unknown))
                | Answer::Confirm(Err(AgentError::Unknown))
                | Answer::Done(Err(AgentError::Unknown))
        );
        if refused {
            // It stops at once, whatever it does, and powers the machine off.
            metal.power_off(self.now);
            self.note(
                m,
                "the agent's token is not good: it powers the machine off",
            );
            return;
        }
        if let (Answer::Done(Ok(())), At::Telling { task, outcome }) = (&answer, &agent.at)
            && matches!(**outcome, WorkOutcome::Starting(_))
        {
            let work = task.work.clone();
            self.jumps(m, &work);
            return;
        }
        let confirms = matches!(call, Call::Confirm { .. });
        let mut pause = self.dice.millis(100, 1500);
        match answer {
            Answer::Hello(Ok(())) | Answer::Done(Ok(())) => agent.at = At::Idle,
            Answer::Task(Ok(Some(task))) => {
                // Much work is short; some takes minutes, in which much can happen.
                let pieces = if self.dice.per_mille(650) {
                    self.dice.number(1, 5)
                } else {
                    self.dice.number(6, 25)
                };
                let pieces = u32::try_from(pieces).unwrap_or(1);
                agent.at = At::Doing {
                    task: Box::new(task),
                    done: 0,
                    pieces,
                    yes: None,
                };
            }
            // Who waits for hours asks less often, for time's sake.
            Answer::Task(Ok(None)) if waits => pause = self.dice.seconds(20, 45),
            Answer::Task(Ok(None)) => pause = self.dice.seconds(3, 12),
            Answer::Confirm(Ok(true)) if confirms => {
                // Between the yes and the write anything may take its time.
                if !self.quiet && self.dice.per_mille(150) {
                    pause = self.dice.seconds(2, 60);
                } else if !self.quiet && self.dice.per_mille(15) {
                    pause = self.dice.seconds(100, 600);
                }
            }
            Answer::Confirm(Ok(true)) => pause = self.dice.seconds(1, 6),
            Answer::Confirm(Ok(false)) => agent.at = At::Idle,
            _ => {
                if let At::Doing { yes, .. } = &mut agent.at {
                    *yes = None;
                }
                pause = self.dice.seconds(1, 5);
            }
        }
        self.again(m, pause);
    }
}
