//! Series, chunks, warnings and responses: their order, and what they tell.

use losertree::series::{LabelsError, LabelsIter, ParseLabelsError};
use losertree::{Chunk, Labels, LabelsBuilder, Response, Series, SortKey, SourceId, Warning, merge};
use quickcheck::QuickCheck;

fn labels(text: &str) -> Labels {
    text.parse().unwrap()
}

#[test]
fn what_is_not_a_series_comes_before_every_series() {
    let series =
        |text: &str| Response::from(Series::new(labels(text), vec![Chunk::new(1, 2, text.to_owned())]));
    let warning = || Response::from(Warning::new("slow"));
    let hints = || Response::Hints("hints".into());
    let batch = || Response::Batch(vec![Series::default(), Series::default()]);

    // Each is smaller than the next, or equal where both have one number.
    let ascending = [
        (0, warning()),
        (0, hints()),
        (0, batch()),
        (1, series("{}")),
        (2, series(r#"{""=""}"#)),
        (3, series(r#"{A="1"}"#)),
        (4, series(r#"{__name__="up", job="a"}"#)),
        (4, Response::from(Series::new(labels(r#"{__name__="up", job="a"}"#), vec![]))),
        (5, series(r#"{__name__="up", job="b"}"#)),
        (6, series(r#"{job="a"}"#)),
    ];
    for (a_rank, a) in &ascending {
        for (b_rank, b) in &ascending {
            assert_eq!(a.compare(b), a_rank.cmp(b_rank), "{a:?} against {b:?}");
            assert!(a.code() >= b.code() || a_rank < b_rank, "codes of {a:?} and {b:?}");
        }
    }

    let counts: Vec<usize> = ascending.iter().map(|(_, response)| response.series_count()).collect();
    assert_eq!(counts, [0, 0, 2, 1, 1, 1, 1, 1, 1, 1]);

    // Stable: warnings and hints of both sources first, in source order.
    let left = [warning(), series(r#"{a="1"}"#), series(r#"{a="3"}"#)];
    let right = [hints(), series(r#"{a="1"}"#), series(r#"{a="2"}"#)];
    let merged: Vec<Response> = merge([left.clone(), right.clone()]).collect();
    let [l0, l1, l2] = left;
    let [r0, r1, r2] = right;
    assert_eq!(merged, [l0, r0, l1, r1, r2, l2]);
}

#[test]
fn responses_give_their_series() {
    let series = Series::new(labels(r#"{a="1"}"#), vec![Chunk::new(0, 9, "x")]);
    let response = Response::from(series.clone());
    assert_eq!(response.as_series(), Some(&series));
    assert_eq!(response.into_series(), Some(series.clone()));
    for other in [Response::from(Warning::new("")), Response::Hints("".into()), Response::Batch(vec![series])]
    {
        assert_eq!(other.as_series(), None);
        assert_eq!(other.into_series(), None);
    }
}

#[test]
fn warnings_name_their_source() {
    let named = Warning::about(SourceId::new(3, Some("store-a".into())), "gone");
    let unnamed = Warning::about(SourceId::new(3, None), "gone");
    let general = Warning::new("gone");
    assert_eq!(named.to_string(), r#"source 3 "store-a": gone"#);
    assert_eq!(unnamed.to_string(), "source 3: gone");
    assert_eq!(general.to_string(), "gone");
    assert_eq!((named.origin().index(), named.message()), (Some(3), "gone"));
    assert!(general.origin().is_empty());
}

#[test]
fn chunks_are_ordered_by_time_then_data() {
    fn ordered(a: (i64, i64, Vec<u8>), b: (i64, i64, Vec<u8>)) -> bool {
        let chunk = |(min, max, data): (i64, i64, Vec<u8>)| Chunk::new(min % 3, max % 3, data);
        let key = |(min, max, data): (i64, i64, Vec<u8>)| (min % 3, max % 3, data);
        chunk(a.clone()).cmp(&chunk(b.clone())) == key(a).cmp(&key(b))
    }
    QuickCheck::new()
        .tests(5_000)
        .quickcheck(ordered as fn((i64, i64, Vec<u8>), (i64, i64, Vec<u8>)) -> bool);
}

#[test]
fn everything_can_be_sent_and_shared() {
    fn auto<T: Send + Sync + Unpin + 'static>() {}
    auto::<Labels>();
    auto::<LabelsBuilder>();
    auto::<LabelsIter<'static>>();
    auto::<Chunk>();
    auto::<Series>();
    auto::<Warning>();
    auto::<Response>();
    auto::<LabelsError>();
    auto::<ParseLabelsError>();
}

/// What a response is counted as wherever memory is bounded.
#[test]
fn sizes_are_those_of_the_parts() {
    let chunk = |data: &'static str| Chunk::new(0, 9, data);
    let chunk_bytes = size_of::<Chunk>();
    assert_eq!(chunk("").size_bytes(), chunk_bytes);
    assert_eq!(chunk("12345").size_bytes(), chunk_bytes + 5);

    // `job`, `api` and their ends.
    let series = Series::new(labels(r#"{job="api"}"#), vec![chunk("12345"), chunk("678")]);
    let series_bytes = size_of::<Series>() + 8 + 2 * chunk_bytes + 8;
    assert_eq!(series.size_bytes(), series_bytes);
    assert_eq!(Series::default().size_bytes(), size_of::<Series>());
    let mut roomy = series.clone();
    roomy.chunks.reserve(100);
    assert_eq!(roomy.size_bytes(), series_bytes);

    let response_bytes = size_of::<Response>();
    let size = |response: Response| response.size_bytes();
    assert_eq!(size(Series::default().into()), response_bytes);
    assert_eq!(size(series.clone().into()), response_bytes - size_of::<Series>() + series_bytes);
    assert_eq!(size(Warning::new("slow").into()), response_bytes + 4);
    assert_eq!(size(Response::Hints("hints".into())), response_bytes + 5);
    assert_eq!(size(Response::Batch(vec![])), response_bytes);
    let two = Response::Batch(vec![series, Series::default()]);
    assert_eq!(size(two), response_bytes + series_bytes + size_of::<Series>());
}
