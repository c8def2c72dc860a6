//! `billet-agent`: init of the boot ramdisk.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        if std::env::args().nth(1).as_deref() == Some(billet_agent::leave::WORD) {
            billet_agent::leave::run()
        }
        billet_agent::init::run()
    }
    billet_agent::console::say(
        "billet-agent is the init of Billet's boot ramdisk: it does nothing when started otherwise",
    );
    ExitCode::from(2)
}
