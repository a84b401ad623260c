//! A store: one scrape, as what a query asks.

use std::future::{Ready, ready};
use std::io;

use futures::stream::{self, Once};
use losertree::response::Store;
use losertree::stream::FromStream;
use losertree::{Response, from_stream};
use tokio::io::AsyncReadExt;

use crate::exposition::{self, Format, Malformed, Problem};
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
/// The series come in the order of the exporter: sorting them is left to the query.
pub(crate) fn store(input: Input, format: Format) -> Store<Scrape> {
    Store::new(input.name().to_owned(), async move {
        let frame = read(&input, format).await?;
        Ok(from_stream(stream::once(ready(Ok(frame)))))
    })
}

async fn read(input: &Input, format: Format) -> Result<Response, StoreError> {
    let path = || input.name().to_owned();
    let mut scrape = Vec::new();
    let mut open = input.open().await.map_err(|error| StoreError::Open { path: path(), error })?;
    open.read_to_end(&mut scrape).await.map_err(|error| StoreError::Read { path: path(), error })?;
    let malformed = |Malformed { line, problem }| StoreError::Malformed { path: path(), line, problem };
    Ok(Response::Batch(exposition::parse(&scrape, format).map_err(malformed)?))
}
