//! SIGINT and SIGTERM: the first asks for an orderly end, the second ends at once. SIGUSR1 asks for a snapshot.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_signal::{Signal, Signals};
use smol::stream::StreamExt as _;

use super::control::Control;
use crate::museum::planted;

/// What a shell reports of a program that SIGINT has ended.
const EXIT_INTERRUPTED: i32 = 130;

/// Takes the signals over from now on. Without, they end the process as they do by default.
pub(super) fn register() -> Option<Signals> {
    let signals = Signals::new([Signal::Int, Signal::Term, Signal::Usr1]);
    signals.inspect_err(|error| log::warn!("signals cannot be watched, Ctrl-C will end the server at once: {error}")).ok()
}

pub(super) async fn watch(mut signals: Signals, control: Arc<Control>) {
    while let Some(signal) = signals.next().await {
        let Ok(signal) = signal else { continue };
        if control.stopping() {
            continue;
        }
        if signal == Signal::Usr1 {
            log::info!("SIGUSR1: taking a snapshot");
            if !planted("signal_unheard") {
                control.request_snapshot();
            }
            continue;
        }
        log::info!("{}: stopping; once more ends at once", if signal == Signal::Int { "SIGINT" } else { "SIGTERM" });
        // From now on the signal handler itself ends the process, whatever the loop is waiting for.
        let armed = Arc::new(AtomicBool::new(true));
        for signal in [Signal::Int, Signal::Term] {
            let _ = signal_hook::flag::register_conditional_shutdown(signal as i32, EXIT_INTERRUPTED, Arc::clone(&armed));
        }
        control.stop();
    }
}
