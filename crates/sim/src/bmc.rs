//! A BMC's manners: what becomes of a request that is sent to it.

use billet_model::{
    Time,
    bmc::{BmcFailure, BmcRequest},
};
use jiff::SignedDuration;

use crate::dice::Dice;

/// Longest time after it was sent that a late request is still carried out.
/// Shorter than the policy's settling time, which is what that is for.
pub(crate) const LATEST: u32 = 290;

/// When a caller stops to wait for an answer.
pub(crate) const TIMEOUT: SignedDuration = SignedDuration::from_secs(30);

/// Which troubles a machine and its BMC have at the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weather {
    /// Requests are lost, late and refused often.
    pub rough: Option<Time>,
    /// It does not answer.
    pub down: Option<Time>,
    /// It tells the power wrong.
    pub lies: Option<Time>,
    /// The boot override is forgotten.
    pub forgets: Option<Time>,
    /// Media are refused.
    pub no_media: Option<Time>,
    /// What boots hangs.
    pub hangs: Option<Time>,
    /// It takes another password now.
    pub password: bool,
    /// It is down for good.
    pub dead: bool,
}

impl Weather {
    /// Whether something goes on at `now`.
    pub fn holds(until: Option<Time>, now: Time) -> bool {
        until.is_some_and(|t| t > now)
    }

    /// The faults have stopped: what does not stay broken is well.
    pub fn clear(&mut self) {
        *self = Self {
            password: self.password,
            dead: self.dead,
            ..Self::default()
        };
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Carried out and answered.
    Answered,
    /// Not carried out, and that is said.
    Failed(BmcFailure),
    /// It never arrives; nobody answers.
    Lost,
    /// Carried out at once; the answer is lost.
    Unheard,
    /// Carried out so much later; nobody answers.
    Late(SignedDuration),
    /// Answered as done, and not done.
    Ignored,
}

/// Throws the dice for a request.
pub(crate) fn fate(
    dice: &mut Dice,
    weather: &Weather,
    request: &BmcRequest,
    now: Time,
    faults: bool,
) -> Fate {
    let change = request.is_change();
    if weather.dead || Weather::holds(weather.down, now) {
        return if change && dice.per_mille(300) {
            Fate::Lost
        } else {
            Fate::Failed(BmcFailure::Unreachable)
        };
    }
    if weather.password {
        return Fate::Failed(BmcFailure::Credentials);
    }
    if matches!(request, BmcRequest::InsertMedia { .. })
        && Weather::holds(weather.no_media, now)
        && dice.per_mille(800)
    {
        return Fate::Failed(BmcFailure::Refused);
    }
    let rough = Weather::holds(weather.rough, now);
    let trouble = match (faults, rough) {
        (false, _) => 0,
        (true, true) => 450,
        (true, false) if change => 60,
        (true, false) => 20,
    };
    if !dice.per_mille(trouble) {
        return Fate::Answered;
    }
    if !change {
        return match dice.number(0, 3) {
            0 => Fate::Lost,
            1 => Fate::Failed(BmcFailure::Malformed),
            _ => Fate::Failed(BmcFailure::Unreachable),
        };
    }
    match dice.number(0, 9) {
        0 => Fate::Failed(BmcFailure::Refused),
        1 => Fate::Failed(BmcFailure::Unreachable),
        2 => Fate::Lost,
        3 | 4 => Fate::Unheard,
        // Ejecting and the boot target are read back by the client.
        5 if matches!(
            request,
            BmcRequest::Power { .. } | BmcRequest::InsertMedia { .. }
        ) =>
        {
            Fate::Ignored
        }
        _ => Fate::Late(dice.seconds(1, LATEST)),
    }
}
