//! Another password for a BMC, so that nobody is ever locked out.
//!
//! The next password is kept in the commit that comes before it is sent, beside
//! the current one. What became of it is looked at and not guessed: whichever
//! signs in is the current one from then on. Only once nothing that was sent
//! can come late any more, and the old one still signs in, is the next one
//! forgotten.

use billet_model::{
    bmc::{BmcFact, BmcFailure, BmcReply, BmcRequest, PasswordThatWorks},
    lifecycle::HoldKind,
    operation::OperationState,
    step::{AfterRotation, PasswordForm, RotateStep, Step},
};
use jiff::SignedDuration;

use crate::{
    decision::{Draft, PasswordWrite},
    next::Came,
    procedure, requests, rest, settings, told,
};

/// How often a password is sent.
const MOST_SENT: u32 = 3;

/// Begins; or goes on with what an earlier one left open.
pub(crate) fn begin(draft: &mut Draft<'_>, then: AfterRotation) {
    match draft.m().upkeep.next_password {
        Some(form) => enter(draft, RotateStep::Look, form, 0, then),
        None => enter(draft, RotateStep::Send, PasswordForm::Plain, 0, then),
    }
}

fn enter(
    draft: &mut Draft<'_>,
    at: RotateStep,
    form: PasswordForm,
    sent: u32,
    then: AfterRotation,
) {
    let policy = draft.facts.policy;
    let (reason, within) = match at {
        RotateStep::Send => (
            "renewing what its operator signs in with",
            policy.bmc_deadline,
        ),
        RotateStep::Look => (
            "looking what its operator signs in with",
            policy.settle + policy.bmc_deadline,
        ),
    };
    let step = Step::Rotate {
        at,
        form,
        sent,
        then,
    };
    draft.enter(
        step,
        reason,
        within,
        "both passwords are kept, and it is said",
    );
}

pub(crate) fn rotate(
    draft: &mut Draft<'_>,
    came: &Came<'_>,
    at: RotateStep,
    form: PasswordForm,
    sent: u32,
    then: AfterRotation,
) {
    match at {
        RotateStep::Send => send(draft, came, form, sent, then),
        RotateStep::Look => look(draft, came, form, sent, then),
    }
}

fn send(
    draft: &mut Draft<'_>,
    came: &Came<'_>,
    form: PasswordForm,
    sent: u32,
    then: AfterRotation,
) {
    match came {
        None if draft.m().notes.asked == 0 => {
            if draft.m().upkeep.next_password.is_none() {
                let machine = draft.machine();
                machine.upkeep.password_number += 1;
                machine.upkeep.next_password = Some(form);
                let number = machine.upkeep.password_number;
                draft.decision.password = Some(PasswordWrite::Next { number, form });
                draft.audit(
                    "machine.operator_password_made",
                    serde_json::json!({ "number": number }),
                );
            }
            draft.ask(BmcRequest::SetPassword);
        }
        Some((BmcRequest::SetPassword, reply)) => match reply {
            BmcReply::Done {
                fact:
                    BmcFact::Password {
                        works: PasswordThatWorks::Next,
                    },
            } => took(draft, form, then),
            BmcReply::Failed {
                kind: BmcFailure::Unreachable,
                ..
            } if draft.m().notes.failures < MOST_SENT && !draft.overdue() => {
                let pause = draft.backoff();
                draft.machine().notes.asked = 0;
                draft.sleep(pause);
            }
            // Refused for certain; but what was sent before may come late.
            BmcReply::Failed { .. } if draft.m().uncertain_since.is_none() => {
                let said = told::words(draft, reply).unwrap_or_default();
                let policy = matches!(
                    reply,
                    BmcReply::Failed {
                        kind: BmcFailure::Refused,
                        ..
                    }
                );
                forget(draft);
                if policy && form == PasswordForm::Plain {
                    enter(draft, RotateStep::Send, PasswordForm::Marked, 0, then);
                } else {
                    failed(draft, &said, then);
                }
            }
            _ => enter(draft, RotateStep::Look, form, sent + 1, then),
        },
        // Its sender died: nobody knows.
        _ => enter(draft, RotateStep::Look, form, sent + 1, then),
    }
}

fn look(
    draft: &mut Draft<'_>,
    came: &Came<'_>,
    form: PasswordForm,
    sent: u32,
    then: AfterRotation,
) {
    let now = draft.now();
    match came {
        Some((
            BmcRequest::TryPassword,
            BmcReply::Done {
                fact: BmcFact::Password { works },
            },
        )) => match works {
            PasswordThatWorks::Next => took(draft, form, then),
            PasswordThatWorks::Current if sent < MOST_SENT => {
                // The same one again: whichever is carried out, it is the same then.
                enter(draft, RotateStep::Send, form, sent, then);
            }
            PasswordThatWorks::Current => {
                let settled = draft
                    .m()
                    .uncertain_since
                    .map(|since| since + draft.facts.policy.settle)
                    .filter(|over| now < *over);
                match settled {
                    Some(over) => draft.sleep(over.duration_since(now)),
                    None => {
                        forget(draft);
                        failed(draft, "it was not taken", then);
                    }
                }
            }
            PasswordThatWorks::Neither if draft.overdue() => locked(draft, then),
            // Accounts lock for a while after a wrong password.
            PasswordThatWorks::Neither => draft.sleep(SignedDuration::from_secs(60)),
        },
        _ if draft.overdue() => locked(draft, then),
        _ => draft.ask(BmcRequest::TryPassword),
    }
}

/// The next one signs in: it is the current one.
fn took(draft: &mut Draft<'_>, form: PasswordForm, then: AfterRotation) {
    let now = draft.now();
    let machine = draft.machine();
    machine.upkeep.next_password = None;
    machine.upkeep.rotated_at = Some(now);
    machine.upkeep.rotation_failed = None;
    let number = machine.upkeep.password_number;
    draft.decision.password = Some(PasswordWrite::Promote { number, form });
    draft.audit(
        "machine.operator_password_rotated",
        serde_json::json!({ "number": number }),
    );
    finish(
        draft,
        OperationState::Succeeded,
        "it has another password",
        then,
    );
}

/// The old one signs in, and nothing that was sent can come any more.
fn forget(draft: &mut Draft<'_>) {
    let number = draft.m().upkeep.password_number;
    draft.machine().upkeep.next_password = None;
    draft.decision.password = Some(PasswordWrite::Forget);
    draft.audit(
        "machine.operator_password_forgotten",
        serde_json::json!({ "number": number }),
    );
}

fn failed(draft: &mut Draft<'_>, why: &str, then: AfterRotation) {
    draft.audit(
        "machine.operator_password_kept",
        serde_json::json!({ "why": why }),
    );
    draft.machine().upkeep.rotation_failed = Some(why.to_owned());
    let told = format!("its password is as it was: {why}");
    finish(draft, OperationState::Failed, &told, then);
}

/// Neither signs in, or nothing can be learned: both are kept.
fn locked(draft: &mut Draft<'_>, then: AfterRotation) {
    let why =
        "it is not known which password is taken; the present one and the next one are both kept";
    draft.machine().upkeep.rotation_failed = Some(why.to_owned());
    if draft.m().lifecycle.is_working() {
        draft.hold(HoldKind::BmcCredentials, why);
    } else {
        draft.audit(
            "machine.operator_password_kept",
            serde_json::json!({ "why": why }),
        );
        finish(draft, OperationState::Failed, why, then);
    }
}

fn finish(draft: &mut Draft<'_>, state: OperationState, message: &str, then: AfterRotation) {
    match then {
        AfterRotation::Rest => rest::again(draft, state, message),
        AfterRotation::Discover => requests::start_discovery(draft),
        AfterRotation::Settings { goal } => settings::begin(draft, goal),
        AfterRotation::Ramdisk { work } => {
            procedure::boot_ramdisk(draft, billet_model::step::RamdiskStep::Off, work);
        }
    }
}
