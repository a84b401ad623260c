use std::io;

use futures::{StreamExt, TryStreamExt, stream};
use losertree::response::{ProxyQuery, ProxyQueryBuilder, ResponseSetOptions, RetrievalStrategy, Store};
use losertree::{BoxSource, Chunk, Labels, LeakLedger, Response, Series, Source, from_stream};

use crate::{pend, wait};

fn store(
    name: &'static str,
    jobs: &'static [&'static str],
) -> Store<BoxSource<'static, Response, io::Error>> {
    Store::new(name, async move {
        pend().await;
        let series = jobs.iter().map(|&job| {
            let labels =
                Labels::from_pairs([("__name__", "up"), ("job", job)]).expect("they are no duplicates");
            Ok(Response::from(Series::new(labels, vec![Chunk::new(0, 59_999, "…")])))
        });
        Ok(from_stream(stream::iter(series)).boxed())
    })
}

fn query(options: ResponseSetOptions) -> ProxyQueryBuilder<BoxSource<'static, Response, io::Error>> {
    let stores = [store("a", &["api", "db"]), store("b", &["api"])];
    ProxyQuery::builder().stores(stores).response_sets(options)
}

/// Without a runtime, so that the sets receive in the merge's own task.
pub(crate) fn answers() {
    for retrieval in [RetrievalStrategy::Lazy, RetrievalStrategy::Eager] {
        let ledger = LeakLedger::sites();
        let mut query = query(ResponseSetOptions::new().retrieval(retrieval)).ledger(&ledger).times().build();
        let answer: Vec<_> = wait(query.by_ref().try_collect()).expect("no store fails");
        assert_eq!((answer.len(), query.merged_series()), (2, 1));
        ledger.assert_all_closed();
    }
}

/// A store that has to be waited for, which nothing can time.
#[cfg(feature = "all")]
pub(crate) fn timeouts_are_errors() {
    use losertree::error::Cause;
    use std::time::Duration;

    let minute = Duration::from_secs(60);
    let new = ResponseSetOptions::new;
    for options in [new().open_timeout(minute), new().total_timeout(minute)] {
        let answer = wait(query(options).build().try_collect::<Vec<_>>());
        assert!(matches!(answer.expect_err("there is no clock").cause(), Cause::NoTimer));
    }
    // Nothing is waited for.
    let answer = wait(query(new().frame_timeout(minute)).build().try_collect::<Vec<_>>());
    assert_eq!(answer.expect("no frame is late").len(), 2);
}
