//! The program itself, driven as people and scripts drive it.

#[path = "../../../client/tests/fake/mod.rs"]
mod fake;

mod apply;
mod evidence;
mod inspect;
mod life;
mod offline;
mod server;
mod support;
