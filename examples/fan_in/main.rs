//! Merges the answers of many stores into one: scrapes of Prometheus exporters, one file for each store.
//!
//! `cargo run --release --example fan_in` merges the scrapes in `examples/data/`; add `-- --help` for more.
//!
//! It shows what a query engine does with this library: [`store`] is a source of its own making, [`merge`]
//! drives the [`ProxyResponseLoserTree`](losertree::ProxyResponseLoserTree) and closes it on every path, and
//! [`report`] reads the books afterwards.

mod args;
mod exposition;
mod input;
mod merge;
mod report;
mod store;

use std::io::{self, BufWriter};
use std::process::ExitCode;
use std::time::Instant;

use futures::executor::block_on;
use losertree::LeakLedger;

use args::Args;
use input::Input;
use report::{Summary, WithCauses, say};
use store::Store;

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

    let ledger = LeakLedger::sites();
    let stores = inputs.into_iter().map(|input| Store::new(input, &args.replica_labels));
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = block_on(merge::run(stores, &args, &ledger, &mut out));
    for failure in &outcome.failures {
        say(format_args!("error: {}", WithCauses(failure)));
    }
    let books = ledger.snapshot();
    say(Summary { outcome: &outcome, books: &books, time: start.elapsed() });
    // The merge has been closed, so anything else is a leak. The summary has the report.
    let all_closed = books.is_all_closed();
    if !all_closed {
        say("error: not every source was closed");
    }
    if all_closed && outcome.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
