//! The program itself, driven as people and scripts drive it.

#[path = "../../../client/tests/fake/mod.rs"]
mod fake;
#[path = "../../../store/src/tests/postgres.rs"]
mod postgresql;

mod apply;
mod evidence;
mod inspect;
mod life;
mod offline;
mod restored;
mod server;
mod support;
