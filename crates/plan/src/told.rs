//! What a BMC said, in words for whoever reads them.

use billet_model::bmc::{BmcFailure, BmcReply};

use crate::decision::Draft;

/// Why a request was not done, or not known to be; nothing for one that was.
///
/// A BMC's own words, and those of the connection to it, name its address, its
/// user and its paths. While a lease holds the machine, what is said of it goes
/// into the lease's operations and records, which its tenant reads: then it is
/// the kind of failure alone. The operator finds the rest with the machine, as
/// its BMC's trouble.
pub(crate) fn words(draft: &Draft<'_>, reply: &BmcReply) -> Option<String> {
    let tenants = draft.m().lease.is_some();
    let general = match reply {
        BmcReply::Done { .. } => return None,
        BmcReply::Failed { detail, .. } | BmcReply::Uncertain { detail } if !tenants => {
            return Some(detail.clone());
        }
        BmcReply::Failed { kind, .. } => match kind {
            BmcFailure::Unreachable => "it cannot be reached",
            BmcFailure::Credentials => "it refuses its user or password",
            BmcFailure::PasswordChange => "its password must be changed first",
            BmcFailure::Certificate => "it has another certificate than before",
            BmcFailure::Refused => "it refused",
            BmcFailure::Malformed => "it answered what cannot be understood",
        },
        BmcReply::Uncertain { .. } => "it did not say whether it was done",
    };
    Some(general.to_owned())
}
