//! What the program is told.

pub(crate) const HELP: &str = "\
Ballista on this machine, with executors that merge by windows: a scheduler, executors that are processes of their own,
Parquet files in a directory that is removed, and ports of 127.0.0.1 only.

Asks ordered queries and compares each answer with that of a single process; cancels a job; kills an executor half-way.
The exit code is 0 only if all answers are right, nothing has hung, and all books balance.

usage: cluster [OPTIONS]

  --quick          a tenth of the rows
  --rows N         rows of the larger table (default 200000, at least 10000)
  --executors N    how many executors (default 2, at least 2, since one is killed)
  --vcores N       tasks at once, for each executor (default 2)
  --table          instead, ask 1, 2 and 3 executors in turn and print a table
  --help           this text
";

#[derive(Debug, Clone, Copy)]
pub(crate) struct Args {
    pub(crate) rows: usize,
    pub(crate) executors: usize,
    pub(crate) vcores: usize,
    pub(crate) table: bool,
}

/// What to do.
pub(crate) enum Command {
    Run(Args),
    Help,
}

impl Args {
    pub(crate) fn parse(arguments: &[String]) -> Result<Command, String> {
        let mut args = Self { rows: 200_000, executors: 2, vcores: 2, table: false };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut number = |least: usize| {
                let value = arguments.next().ok_or_else(|| format!("{argument} needs a number"))?;
                match value.parse() {
                    Ok(number) if number >= least => Ok(number),
                    _ => Err(format!("{argument} needs a number of at least {least}, not {value}")),
                }
            };
            match argument.as_str() {
                "--quick" => args.rows = 20_000,
                "--rows" => args.rows = number(10_000)?,
                "--executors" => args.executors = number(2)?,
                "--vcores" => args.vcores = number(1)?,
                "--table" => args.table = true,
                "--help" | "-h" => return Ok(Command::Help),
                _ => return Err(format!("there is no option {argument}: see --help")),
            }
        }
        Ok(Command::Run(args))
    }
}
