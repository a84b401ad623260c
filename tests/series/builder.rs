//! Ways to make labels: from texts and arrays, by setting, and without empty values.

// quickcheck hands arguments over by value.

use std::collections::BTreeMap;

use losertree::series::{LabelsError, ParseLabelsError};
use losertree::{Labels, LabelsBuilder};
use quickcheck::{Arbitrary, Gen, QuickCheck};

fn labels(text: &str) -> Labels {
    text.parse().unwrap()
}

/// Few names and values, so that names come twice and values are empty or a NUL.
#[derive(Debug, Clone)]
struct Pair(&'static str, &'static str);

impl Arbitrary for Pair {
    fn arbitrary(g: &mut Gen) -> Self {
        const NAMES: [&str; 8] = ["", "a", "a\0", "\0", "ab", "b", "c", "__name__"];
        const VALUES: [&str; 5] = ["", "\0", "1", "2", ""];
        Self(g.choose(&NAMES).unwrap(), g.choose(&VALUES).unwrap())
    }
}

fn check<P: quickcheck::Testable>(property: P) {
    QuickCheck::new().tests(20_000).quickcheck(property);
}

#[test]
fn texts_and_arrays_are_made_into_labels() {
    let expected = labels(r#"{__name__="up", job="api"}"#);
    assert_eq!(Labels::try_from(r#"{job="api",__name__="up"}"#), Ok(expected.clone()));
    assert_eq!(Labels::try_from([("job", "api"), ("__name__", "up")]), Ok(expected.clone()));
    assert_eq!(Labels::try_from([("job".to_owned(), "api"), ("__name__".to_owned(), "up")]), Ok(expected));
    assert_eq!(Labels::try_from([("a", ""); 0]), Ok(Labels::new()));

    assert_eq!(Labels::try_from("{"), "{".parse::<Labels>());
    assert!(matches!(Labels::try_from("up"), Err(ParseLabelsError::Expected { offset: 0, .. })));
    let twice = LabelsError::DuplicateName { name: "a".into() };
    assert_eq!(Labels::try_from([("a", "1"), ("a", "")]), Err(twice));
}

#[test]
fn setting_agrees_with_a_map() {
    fn agrees(added: Vec<Pair>, set: Vec<Pair>) -> bool {
        let mut builder = LabelsBuilder::new();
        let mut model = BTreeMap::new();
        for Pair(name, value) in added {
            // Only once, but sometimes before it is set.
            if model.insert(name, value).is_none() {
                builder.label(name, value);
            } else {
                builder.set(name, value);
            }
        }
        for Pair(name, value) in set {
            builder.set(name, value);
            model.insert(name, value);
        }
        builder.build() == Labels::from_pairs(&model)
    }
    check(agrees as fn(Vec<Pair>, Vec<Pair>) -> bool);
}

#[test]
fn setting_replaces_duplicates() {
    let mut builder = Labels::builder();
    builder.label("b", "1").label("a", "x").label("b", "2").label("c", "y");
    assert!(builder.build().is_err());
    assert_eq!(builder.set("b", "3").build(), Ok(labels(r#"{a="x", b="3", c="y"}"#)));
    builder.clear();
    assert_eq!(builder.set("b", "").build(), Ok(labels(r#"{b=""}"#)));
}

// F60
#[test]
fn empty_values_are_no_labels_if_that_is_asked_for() {
    fn agrees(pairs: Vec<Pair>) -> bool {
        let mut builder = LabelsBuilder::new();
        for Pair(name, value) in &pairs {
            builder.label(name, value);
        }
        let as_given = builder.build();
        let without = builder.without_empty_values().build();

        // A name that was given an empty value is absent, the others must come once.
        let is_absent =
            |name: &str| pairs.iter().any(|Pair(other, value)| *other == name && value.is_empty());
        let left =
            pairs.iter().filter(|Pair(name, _)| !is_absent(name)).map(|Pair(name, value)| (name, value));
        let expected = Labels::from_pairs(left);
        without == expected
            && as_given.map_or(true, |labels| Ok(labels.without_empty_values()) == expected)
            && expected.map_or(true, |labels| labels.iter().all(|(_, value)| !value.is_empty()))
    }
    check(agrees as fn(Vec<Pair>) -> bool);

    // Two texts that are one series for Prometheus.
    let [a, b] = [r#"{node="n1", zone=""}"#, r#"{node="n1"}"#].map(labels);
    assert_ne!(a, b);
    assert_eq!(a.without_empty_values(), b);
    assert_eq!(b.without_empty_values().packed().as_ptr(), b.packed().as_ptr(), "nothing was copied");

    // The builder keeps to it, and setting nothing takes away.
    let mut builder = LabelsBuilder::new();
    builder.without_empty_values().label("node", "n1").label("zone", "x").set("zone", "");
    assert_eq!(builder.build(), Ok(b));
    builder.clear();
    assert_eq!(builder.label("a", "").build(), Ok(Labels::new()));
    assert_eq!(builder.clone().label("b\0", "").label("c\0", "\0").build().unwrap().len(), 1);
}
