//! What agent and control plane say to each other.
//!
//! The agent calls, over TLS, with the token of its boot as bearer; the control
//! plane never connects to it. Tasks have ids and can be asked for again.

pub mod agent;
pub mod boot;
pub mod install;
pub mod phone_home;
