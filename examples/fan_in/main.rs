//! Merges the answers of many stores into one: scrapes of Prometheus exporters, one file for each store.
//!
//! `cargo run --release --example fan_in` merges the scrapes in `examples/data/`; add `-- --help` for more.
//!
//! It shows what a query engine does with this library: [`store`] is the transport, [`query`] asks all stores by a
//! [`ProxyQuery`](losertree::response::ProxyQuery) and closes it on every path, and [`report`] reads the ledger
//! afterwards.

mod args;
mod exposition;
mod input;
mod interrupt;
mod query;
mod report;
mod store;

use std::process::ExitCode;
use std::time::Instant;

use losertree::LeakLedger;
use tokio::io::{BufWriter, stdout};
use tokio::runtime::Builder;

use args::Args;
use input::Input;
use report::{Summary, WithCauses, say};
use store::store;

fn main() -> ExitCode {
    let start = Instant::now();
    let args = Args::read();
    let inputs = match args.inputs() {
        Ok(inputs) => inputs,
        Err(error) => {
            say(format_args!("error: cannot list {}: {error}", Input::SHIPPED));
            return ExitCode::FAILURE;
        }
    };

    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format_args!("error: cannot start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };

    let ledger = LeakLedger::sites();
    let stores = inputs.into_iter().map(|input| store(input, args.format()));
    let mut out = BufWriter::new(stdout());
    let outcome = runtime.block_on(query::run(stores, &args, &ledger, &mut out));
    // Not `drop`, which would wait for a thread that reads from a terminal or writes to a pipe.
    runtime.shutdown_background();
    for failure in &outcome.failures {
        say(format_args!("error: {}", WithCauses(failure)));
    }
    let record = ledger.snapshot();
    say(Summary { outcome: &outcome, record: &record, time: start.elapsed() });
    // The query has been closed, so anything else is a leak. The summary has the report.
    let all_closed = record.is_all_closed();
    if !all_closed {
        say("error: not every source was closed");
    }
    match outcome.interrupted {
        _ if !all_closed || !outcome.failures.is_empty() => ExitCode::FAILURE,
        Some(code) => ExitCode::from(code),
        None => ExitCode::SUCCESS,
    }
}
