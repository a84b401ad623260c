//! Executors as processes of their own, and what one asks them.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use losertree::LeakLedger;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep, timeout};

use super::executor::Executor;

/// The first argument of a process that is an executor.
pub(crate) const ROLE: &str = "executor";

/// How many open entries are looked at for which of them are inputs of merges.
const ENTRIES: usize = 10_000;

/// How long an executor has for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the ledger of an executor says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) failed: u64,
    pub(crate) dropped: u64,
    pub(crate) lost: u64,
    pub(crate) open: u64,
    /// How many of the open ones are inputs of merges.
    pub(crate) open_inputs: u64,
}

impl Books {
    fn of(ledger: &LeakLedger) -> Self {
        let snapshot = ledger.snapshot();
        let entries = ledger.open_entries(ENTRIES);
        let open_inputs = entries.iter().filter(|entry| entry.what.starts_with("input")).count() as u64;
        Self {
            opened: snapshot.opened,
            closed: snapshot.closed,
            failed: snapshot.failed,
            dropped: snapshot.dropped_unclosed,
            lost: snapshot.lost,
            open: snapshot.open,
            open_inputs,
        }
    }

    fn to_line(self) -> String {
        let Self { opened, closed, failed, dropped, lost, open, open_inputs } = self;
        format!("{opened} {closed} {failed} {dropped} {lost} {open} {open_inputs}")
    }

    fn from_line(line: &str) -> Option<Self> {
        let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [opened, closed, failed, dropped, lost, open, open_inputs] = numbers[..] else { return None };
        Some(Self { opened, closed, failed, dropped, lost, open, open_inputs })
    }

    /// Whether all that was opened has ended, each in one way.
    pub(crate) fn balance(self) -> bool {
        self.open == 0 && self.lost == 0 && self.opened == self.closed + self.failed + self.dropped
    }

    /// Those of several executors together.
    pub(crate) fn sum(all: &[Self]) -> Self {
        all.iter().fold(Self::default(), |sum, books| Self {
            opened: sum.opened + books.opened,
            closed: sum.closed + books.closed,
            failed: sum.failed + books.failed,
            dropped: sum.dropped + books.dropped,
            lost: sum.lost + books.lost,
            open: sum.open + books.open,
            open_inputs: sum.open_inputs + books.open_inputs,
        })
    }
}

impl std::fmt::Display for Books {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { opened, closed, failed, dropped, open, .. } = self;
        write!(f, "opened {opened}, closed {closed}, failed {failed}, dropped {dropped}, open {open}")
    }
}

/// Runs an executor, until its standard input ends. Each line of that is answered with its books.
pub(crate) fn be_executor(arguments: &[String]) -> ExitCode {
    let [port, work_dir, vcores] = arguments else {
        eprintln!("an executor needs a port, a directory and a number of cores");
        return ExitCode::FAILURE;
    };
    let (Ok(scheduler_port), Ok(vcores)) = (port.parse(), vcores.parse()) else {
        eprintln!("an executor needs numbers");
        return ExitCode::FAILURE;
    };
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ledger = LeakLedger::sites();
    let books = ledger.clone();
    let executor = Executor { scheduler_port, work_dir: PathBuf::from(work_dir), vcores, ledger };
    let (stop, stopped) = tokio::sync::oneshot::channel();
    // A thread that nobody waits for: it may never get another line.
    std::thread::spawn(move || {
        for _ in io::stdin().lock().lines().map_while(Result::ok) {
            let mut out = io::stdout().lock();
            if writeln!(out, "{}", Books::of(&books).to_line()).and_then(|()| out.flush()).is_err() {
                break;
            }
        }
        let _ = stop.send(());
    });
    let served = runtime.block_on(async {
        tokio::select! {
            served = executor.serve() => served,
            _ = stopped => Ok(()),
        }
    });
    runtime.shutdown_background();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the executor has ended: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A process that is an executor. It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    work_dir: PathBuf,
}

impl Process {
    pub(crate) fn start(scheduler_port: u16, work_dir: PathBuf, vcores: usize) -> io::Result<Self> {
        std::fs::create_dir_all(&work_dir)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ROLE)
            .arg(scheduler_port.to_string())
            .arg(&work_dir)
            .arg(vcores.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the executor has no standard input or output"));
        };
        Ok(Self { child, stdin, lines: BufReader::new(stdout).lines(), work_dir })
    }

    pub(crate) async fn books(&mut self) -> io::Result<Books> {
        let ask = async {
            self.stdin.write_all(b"\n").await?;
            self.stdin.flush().await?;
            self.lines.next_line().await
        };
        let line =
            timeout(PATIENCE, ask).await.map_err(|_| io::Error::other("the executor does not answer"))??;
        line.as_deref()
            .and_then(Books::from_line)
            .ok_or_else(|| io::Error::other(format!("the executor has answered {line:?}")))
    }

    /// Waits until all is closed, and returns the books, balanced or not, at the latest after a time.
    pub(crate) async fn settled(&mut self, limit: Duration) -> io::Result<Books> {
        let begin = Instant::now();
        loop {
            let books = self.books().await?;
            if books.balance() || begin.elapsed() > limit {
                return Ok(books);
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// How many shuffle files it has open, as the kernel knows. `None` where there is no `/proc`.
    pub(crate) fn open_shuffle_files(&self) -> Option<usize> {
        let work_dir = self.work_dir.canonicalize().ok()?;
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()?)).ok()?;
        let links = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        Some(links.filter(|file| file.starts_with(&work_dir)).count())
    }

    /// Kills it with no warning.
    pub(crate) async fn kill(mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Has it end by itself.
    pub(crate) async fn stop(self) -> io::Result<bool> {
        let Self { mut child, stdin, .. } = self;
        drop(stdin);
        let status = timeout(PATIENCE, child.wait()).await;
        Ok(status.map_err(|_| io::Error::other("the executor does not end"))??.success())
    }
}
