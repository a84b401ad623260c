use std::collections::{BTreeMap, BTreeSet};

use losertree::{Chunk, Labels, Response, Series};

/// Returns what deduplicating the series of `responses` must give, in whatever order they come: each label set
/// once, in order, with each of its chunks once, in order.
///
/// It shares no code with what it judges: trees do all of it.
///
/// # Examples
///
/// ```
/// use losertree::{Chunk, Labels, Series};
/// use losertree_testkit::deduplicated;
///
/// let chunk = |data: &'static str| Chunk::new(0, 9, data);
/// let series = |chunks| Series::new(Labels::new(), chunks);
/// let responses = [series(vec![chunk("b")]).into(), series(vec![chunk("a"), chunk("b")]).into()];
/// assert_eq!(deduplicated(&responses), [series(vec![chunk("a"), chunk("b")])]);
/// ```
#[must_use]
pub fn deduplicated<'a>(responses: impl IntoIterator<Item = &'a Response>) -> Vec<Series> {
    let mut all = BTreeMap::<&Labels, BTreeSet<&Chunk>>::new();
    for response in responses {
        let series = match response {
            Response::Series(series) => std::slice::from_ref(series),
            Response::Batch(batch) => batch,
            _ => &[],
        };
        for series in series {
            all.entry(&series.labels).or_default().extend(&series.chunks);
        }
    }
    let series = |(labels, chunks): (&Labels, BTreeSet<&Chunk>)| {
        Series::new(labels.clone(), chunks.into_iter().cloned().collect())
    };
    all.into_iter().map(series).collect()
}
