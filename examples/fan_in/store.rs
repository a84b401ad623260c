//! A store: one scrape, as what a query asks.

use std::future::{Ready, ready};
use std::io::{self, Read};

use futures::stream::{self, Once};
use losertree::response::Store;
use losertree::stream::FromStream;
use losertree::{Response, from_stream};

use crate::exposition::{self, Malformed, Problem};
use crate::input::Input;

/// All that a store sends: one frame with all of its series.
pub(crate) type Scrape = FromStream<Once<Ready<Result<Response, StoreError>>>>;

/// Why a store fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot open {path}")]
    Open {
        path: String,
        #[source]
        error: io::Error,
    },
    #[error("cannot read {path}")]
    Read {
        path: String,
        #[source]
        error: io::Error,
    },
    #[error("{path}:{line}: {problem}")]
    Malformed { path: String, line: usize, problem: Problem },
}

/// Makes a store of an input. Nothing is read before a query opens it.
///
/// Opening blocks while it reads, which is all right for a program that has nothing else to do. In a service it
/// would be `Pending`. The series come in the order of the exporter: sorting them is left to the query.
pub(crate) fn store(input: Input) -> Store<Scrape> {
    Store::new(input.name().to_owned(), async move {
        let frame = read(&input)?;
        Ok(from_stream(stream::once(ready(Ok(frame)))))
    })
}

fn read(input: &Input) -> Result<Response, StoreError> {
    let path = || input.name().to_owned();
    let mut scrape = Vec::new();
    let mut open = input.open().map_err(|error| StoreError::Open { path: path(), error })?;
    open.read_to_end(&mut scrape).map_err(|error| StoreError::Read { path: path(), error })?;
    let malformed = |Malformed { line, problem }| StoreError::Malformed { path: path(), line, problem };
    Ok(Response::Batch(exposition::parse(&scrape).map_err(malformed)?))
}
