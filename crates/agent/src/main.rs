//! `billet-agent`: init of the boot ramdisk.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        billet_agent::init::run()
    }
    billet_agent::console::say(
        "billet-agent is the init of Billet's boot ramdisk: it does nothing when started otherwise",
    );
    ExitCode::from(2)
}
