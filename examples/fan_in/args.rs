//! The command line.

use std::io;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use losertree::Labels;

use crate::exposition::Format;
use crate::input::Input;

/// Merges the series of many stores, sorted by their labels.
///
/// Each FILE is one store: what an exporter sends, in the Prometheus text exposition format. Every store is
/// read and sorted by labels, then all of them are merged. Series with the same labels become one, which has
/// the samples of all of them, each once: a line for each, by timestamp and then by text.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch")]
#[command(name = "fan_in", version, verbatim_doc_comment, after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The stores; `-` is standard input. Default: the scrapes shipped in examples/data/.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Removes this label from all series, so that replicas become one.
    ///
    /// May be given several times.
    #[arg(long = "replica-label", value_name = "NAME", verbatim_doc_comment, value_parser = replica_label)]
    pub(crate) replica_labels: Vec<String>,

    /// Ends after N series have come out, and closes all stores.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,

    /// Warns of a store that fails, and gives the rest of the answer.
    #[arg(long)]
    pub(crate) partial: bool,

    /// Prints only how many series come out.
    #[arg(long)]
    pub(crate) count: bool,

    /// Takes a label with an empty value for a label. Prometheus takes it for none.
    #[arg(long)]
    keep_empty_labels: bool,

    /// Reads names in quotes, which may be any UTF-8, as Prometheus does since version 3.
    #[arg(long)]
    utf8_names: bool,
}

const AFTER_HELP: &str = "\
Input: lines `name{label=\"value\",...} value [timestamp]`, comments and empty lines. What Prometheus 2.42
refuses to scrape is malformed, and what it takes has the labels that it has there; two options ask for more.
OpenMetrics is another format: its exemplars and its timestamps in seconds are malformed. Values and
timestamps are printed as they stand in the file.

Output: the same format, sorted, without comments; it can be the input of another run. A summary goes to
standard error: what each store gave and how it ended, how many were opened and closed, and the time.

A store that cannot be read, or has a malformed line, gives nothing. Without --partial it ends the run: it
is named with the line, every other store is closed, and nothing is printed. With --partial it is a warning.

Ctrl-C, or SIGTERM, ends the run wherever it is: every store is closed, and the summary is given.

Exit codes:
  0  the answer was given, possibly cut by --limit, by the reader of the output or, with --partial, by a
     store that failed
  1  a store failed, or the output could not be written
  2  the command line is wrong
  130, 143  it was ended by Ctrl-C or SIGTERM, after which every store was closed

Examples:
  fan_in                                       all shipped scrapes
  fan_in --replica-label replica --count       how many different series they have
  fan_in a.prom b.prom | fan_in - c.prom       in two stages
  curl -s localhost:9100/metrics | fan_in - --limit 10
  fan_in --partial a.prom no-such-file.prom    a.prom and a warning
";

impl Args {
    /// Reads the command line. Ends the program if it is wrong or asks for help.
    pub(crate) fn read() -> Self {
        let args = Self::parse();
        if args.files.iter().filter(|file| is_stdin(file)).count() > 1 {
            let message = "standard input (`-`) can be given only once";
            Self::command().error(ErrorKind::ArgumentConflict, message).exit();
        }
        args
    }

    /// What is read otherwise than Prometheus 2.42 does it.
    pub(crate) const fn format(&self) -> Format {
        Format { keeps_empty_labels: self.keep_empty_labels, utf8_names: self.utf8_names }
    }

    /// Returns the inputs that were asked for, in order.
    pub(crate) fn inputs(&self) -> io::Result<Vec<Input>> {
        if self.files.is_empty() {
            return Input::shipped();
        }
        let input = |file: &PathBuf| if is_stdin(file) { Input::stdin() } else { Input::file(file.clone()) };
        Ok(self.files.iter().map(input).collect())
    }
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn replica_label(name: &str) -> Result<String, &'static str> {
    match name {
        "" => Err("a label has a name"),
        Labels::METRIC_NAME => Err("series without the name of their metric cannot be written"),
        _ => Ok(name.to_owned()),
    }
}
