//! Signals to example programs, as a terminal or a supervisor sends them. On Linux, which tells who waits for which.

use std::fs;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Signal {
    /// What Ctrl-C sends.
    Int = 2,
    Term = 15,
}

impl Signal {
    /// Sends the signal, once the program does not just die of it.
    pub(crate) fn send(self, child: &Child) {
        let end = Instant::now() + Duration::from_secs(60);
        while caught(child.id()) & (1 << (self as u32 - 1)) == 0 {
            assert!(Instant::now() < end, "{self:?} is not caught");
            thread::sleep(Duration::from_millis(5));
        }
        let number = (self as u32).to_string();
        let sent = Command::new("kill").args(["-s", &number, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// The exit code of what was ended by the signal, as shells have it.
    pub(crate) const fn exit_code(self) -> i32 {
        128 + self as i32
    }
}

/// The signals that a process has handlers for, a bit for each.
fn caught(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap()
}
