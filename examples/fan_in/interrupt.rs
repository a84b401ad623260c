//! Being asked to end.

use std::future::pending;

use tokio::signal;

/// Waits for Ctrl-C or, on Unix, SIGTERM, and returns the exit code that shells have for it: 128 and the number of the
/// signal.
///
/// From the first poll on, the program no longer ends by itself.
pub(crate) async fn interrupted() -> u8 {
    #[cfg(unix)]
    let terminated = async {
        match signal::unix::signal(signal::unix::SignalKind::terminate()) {
            Ok(mut terminations) => drop(terminations.recv().await),
            Err(_) => pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = pending::<()>();
    let interrupted = async {
        // Without a handler, the system still ends the program.
        if signal::ctrl_c().await.is_err() {
            pending::<()>().await;
        }
    };
    tokio::select! {
        () = interrupted => 130,
        () = terminated => 143,
    }
}
