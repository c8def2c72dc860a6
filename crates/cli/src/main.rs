//! The program `billet`; see the library beside it.

use std::process::ExitCode;

/// A control plane makes and drops many small things on many threads. The C library's allocator
/// takes a quarter of its processor time for that, and keeps what was freed; how this one is set
/// is in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    billet_cli::run()
}
