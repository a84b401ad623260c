use losertree::{Chunk, Labels, Response, Series, Warning};

use crate::{Random, Script};

/// Makes the script of a store: series, mostly in order, single and in batches, with warnings and hints in between,
/// without pauses.
///
/// The labels are such that removing `replica` keeps some answers in order and others not, and removing `a_replica`
/// hardly any. Equal seeds of `random` and numbers of series give answers that have many series in common.
pub fn random_store(random: &mut Random, name: &str, most_series: usize) -> Script<Response> {
    let with_zone = [0.0, 0.0, 0.2, 1.0][random.below(4)];
    let with_first = [0.0, 0.0, 0.5][random.below(3)];
    let mut all: Vec<_> = (0..random.below(most_series + 1))
        .map(|_| {
            let pod = format!("pod-{}", random.below(most_series));
            let mut pairs = vec![("__name__", "up".to_owned()), ("pod", pod)];
            let replica = ["a", "b"][random.below(2)].to_owned();
            if random.chance(with_first) {
                pairs.push(("a_replica", replica.clone()));
            }
            if random.chance(0.8) {
                pairs.push(("replica", replica));
            }
            if random.chance(with_zone) {
                pairs.push(("zone", "z".to_owned()));
            }
            let chunks = (0..random.below(3))
                .map(|_| {
                    let start = [0, 1, 2][random.below(3)];
                    Chunk::new(start, start + 1, ["", "a", "b"][random.below(3)])
                })
                .collect();
            Series::new(Labels::from_pairs(pairs).unwrap_or_default(), chunks)
        })
        .collect();
    if random.chance(0.85) {
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    let mut frames: Vec<Response> = Vec::new();
    let mut rest = all.into_iter().peekable();
    while rest.peek().is_some() || random.chance(0.3) {
        let at = frames.len();
        match random.below(8) {
            0 => frames.push(Warning::new(format!("warning {at} of {name}")).into()),
            1 => frames.push(Response::Hints(format!("hints {at} of {name}").into())),
            2..=4 => {
                let length = random.below(5);
                frames.push(Response::Batch(rest.by_ref().take(length).collect()));
            }
            _ => frames.extend(rest.next().map(Response::from)),
        }
    }
    Script::of(frames).named(name)
}
