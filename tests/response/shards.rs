//! Shards: which of them a series belongs to, by the hash that other processes compute as well.

// quickcheck hands arguments over by value.

use allocation_counter::measure;
use losertree::Labels;
use losertree::response::{ShardError, ShardMatcher};
use losertree_testkit::Random;
use quickcheck::QuickCheck;
use twox_hash::XxHash64;

const NAMES: [&str; 7] = ["", "__name__", "a", "a\0", "job", "pod", "ü"];
const VALUES: [&str; 6] =
    ["", "\0", "api", "x\0y\0", "日本", "a value that is longer than one stripe of 32 bytes"];

fn random_labels(random: &mut Random) -> Labels {
    let mut builder = Labels::builder();
    for name in NAMES {
        if random.chance(0.5) {
            builder.label(name, random.pick(&VALUES).unwrap());
        }
    }
    builder.build().unwrap()
}

fn random_names(random: &mut Random) -> Vec<&'static str> {
    let mut names: Vec<_> = NAMES.into_iter().filter(|_| random.chance(0.4)).collect();
    names.extend(["", "job"].into_iter().filter(|_| random.chance(0.2)));
    names.push("a label that no series has");
    random.shuffle(&mut names);
    names
}

/// Of so many shards the index is the hash itself.
const HASH: u64 = u64::MAX;

// Computed by the Python package `xxhash` 4.1.0 (xxHash 0.8.4), as of the first set:
// xxhash.xxh64(b'__name__\xffup\xffinstance\xff10.0.0.7:9090\xffjob\xffapi\xffpod\xffa\xff').hexdigest()
#[test]
fn the_hashes_are_those_of_other_processes() {
    let up = r#"{__name__="up", instance="10.0.0.7:9090", job="api", pod="a"}"#;
    let latency = r#"{__name__="http_server_request_duration_seconds_bucket", cluster="production-eu-west-1",
        container="query-frontend", le="0.5", pod="größe-日本"}"#;
    let nul = Labels::from_pairs([("a\0", "\0x\0"), ("b", "")]).unwrap();
    let (up, latency): (Labels, Labels) = (up.parse().unwrap(), latency.parse().unwrap());
    let by = |names: &[&str], index| ShardMatcher::by(names, index, HASH).unwrap();
    let without = |names: &[&str], index| ShardMatcher::without(names, index, HASH).unwrap();

    assert!(without(&[], 0xef46_db37_51d8_e999).matches(&Labels::new()));
    assert!(by(&["job", "pod"], 0xef46_db37_51d8_e999).matches(&nul));
    assert!(without(&[], 0x9846_3746_60d4_fc0d).matches(&up));
    assert!(without(&[], 0xab09_1fcb_659d_7ae8).matches(&latency));
    assert!(without(&[], 0xab9c_5f83_dbdf_0889).matches(&nul));
    assert!(by(&["a\0", "b"], 0xab9c_5f83_dbdf_0889).matches(&nul));
    assert!(by(&["job"], 0xbb09_b45a_74ce_66b8).matches(&up));
    assert!(by(&["job", "__name__"], 0x2796_7ec8_7265_eaef).matches(&up));
    assert!(without(&["pod"], 0x3a26_9d90_9c8e_e09c).matches(&up));
    assert!(without(&["pod", "le"], 0x0783_667a_b312_62f0).matches(&latency));

    for (labels, of_16, of_7) in [(&up, 13, 5), (&latency, 8, 0), (&nul, 9, 1), (&Labels::new(), 9, 6)] {
        assert!(ShardMatcher::without([""; 0], of_16, 16).unwrap().matches(labels));
        assert!(ShardMatcher::without([""; 0], of_7, 7).unwrap().matches(labels));
    }
}

/// The rule once more, with the bytes put together before they are hashed.
#[test]
fn the_labels_that_count_are_hashed_in_the_order_of_their_names() {
    fn agrees(seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let (labels, names) = (random_labels(&mut random), random_names(&mut random));
        [true, false].into_iter().all(|is_by| {
            let mut bytes = Vec::new();
            for (name, value) in labels.iter().filter(|(name, _)| names.contains(&&**name) == is_by) {
                for text in [name, value] {
                    bytes.extend_from_slice(text.as_bytes());
                    bytes.push(0xFF);
                }
            }
            let index = XxHash64::oneshot(0, &bytes);
            let shard = if is_by { ShardMatcher::by } else { ShardMatcher::without }(&names, index, HASH);
            shard.unwrap().matches(&labels)
        })
    }
    QuickCheck::new().tests(10_000).quickcheck(agrees as fn(u64) -> bool);
}

#[test]
fn every_series_is_in_exactly_one_shard() {
    fn property(seed: u64, total: u8) -> bool {
        let total = u64::from(total) % 50 + 1;
        let mut random = Random::seed(seed);
        let (labels, names) = (random_labels(&mut random), random_names(&mut random));
        let by = (0..total).map(|index| ShardMatcher::by(&names, index, total).unwrap());
        let without = (0..total).map(|index| ShardMatcher::without(&names, index, total).unwrap());
        by.filter(|shard| shard.matches(&labels)).count() == 1
            && without.filter(|shard| shard.matches(&labels)).count() == 1
    }
    QuickCheck::new().tests(2_000).quickcheck(property as fn(u64, u8) -> bool);
}

/// What aggregates are computed from one by one must not be torn apart.
#[test]
fn series_of_one_group_are_in_one_shard() {
    fn property(seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let (labels, names) = (random_labels(&mut random), random_names(&mut random));
        let rest: Vec<_> = NAMES.into_iter().filter(|name| !names.contains(name)).collect();
        (0..7).all(|index| {
            let by = ShardMatcher::by(&names, index, 7).unwrap();
            let without = ShardMatcher::without(&names, index, 7).unwrap();
            by.matches(&labels) == by.matches(&labels.without(&rest))
                && without.matches(&labels) == without.matches(&labels.without(&names))
        })
    }
    QuickCheck::new().tests(5_000).quickcheck(property as fn(u64) -> bool);
}

#[test]
fn shards_are_about_equal() {
    let mut in_shard = [0; 8];
    for pod in 0..8_000 {
        let labels = Labels::from_pairs([("job", "api"), ("pod", &format!("api-{pod}"))]).unwrap();
        let is_in = |index: &u64| ShardMatcher::without([""; 0], *index, 8).unwrap().matches(&labels);
        in_shard[usize::try_from((0..8).find(is_in).unwrap()).unwrap()] += 1;
    }
    assert!(in_shard.iter().all(|count| (850..1_150).contains(count)), "{in_shard:?}");
}

#[test]
fn a_shard_that_is_not_there_is_an_error() {
    assert_eq!(ShardMatcher::by(["job"], 0, 0), Err(ShardError::NoShards));
    assert_eq!(ShardMatcher::without(["job"], 3, 3), Err(ShardError::NoSuchShard { index: 3, total: 3 }));
    let error = ShardMatcher::by(["job"], u64::MAX, u64::MAX).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no shard 18446744073709551615 of 18446744073709551615: the last one is 18446744073709551614"
    );
    assert_eq!(ShardError::NoShards.to_string(), "series cannot be divided into 0 shards");

    let last = ShardMatcher::by(["job", "a\0"], 2, 3).unwrap();
    assert_eq!((last.index(), last.total()), (2, 3));
    assert_eq!(format!("{last:?}"), r#"ShardMatcher { by: ["a\0", "job"], index: 2, total: 3 }"#);
}

#[test]
fn matching_allocates_nothing() {
    let mut random = Random::seed(1);
    let sets: Vec<_> = (0..100).map(|_| random_labels(&mut random)).collect();
    let shards = [
        ShardMatcher::by(["a\0", "job"], 0, 2).unwrap(),
        ShardMatcher::without(["a\0", "job"], 0, 2).unwrap(),
    ];
    let mut matches = 0;
    let counted = measure(|| {
        matches = shards.iter().flat_map(|shard| sets.iter().filter(|labels| shard.matches(labels))).count();
    });
    assert!((1..200).contains(&matches));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}
