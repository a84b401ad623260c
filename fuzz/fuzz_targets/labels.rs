//! Labels against their model: sorted lists of pairs, compared pair by pair.
#![no_main]

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use losertree::{Labels, LabelsBuilder, SortKey};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    left: BTreeMap<&'a str, &'a str>,
    right: BTreeMap<&'a str, &'a str>,
    text: &'a str,
    bytes: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let left = build(&input.left);
    let right = build(&input.right);
    let expected = pairwise(&input.left, &input.right);
    assert_eq!(left.cmp(&right), expected);
    assert_eq!(left.compare(&right), expected);
    assert!(left.code() >= right.code() || expected.is_lt());
    assert!(left.code() <= right.code() || expected.is_gt());

    for (labels, model) in [(&left, &input.left), (&right, &input.right)] {
        assert!(labels.iter().eq(model.iter().map(|(name, value)| ((*name).into(), (*value).into()))));
        assert!(model.iter().all(|(name, value)| labels.get(name).as_deref() == Some(*value)));
        comes_back(labels);
    }

    if let Ok(labels) = input.text.parse::<Labels>() {
        comes_back(&labels);
    }
    // Braces are a lot to ask of chance.
    if let Ok(labels) = format!("{{{}}}", input.text).parse::<Labels>() {
        comes_back(&labels);
    }
    if let Ok(labels) = Labels::from_packed(input.bytes) {
        assert_eq!(labels.packed(), input.bytes);
        assert_eq!(Labels::from_pairs(&labels).as_ref(), Ok(&labels));
        comes_back(&labels);
    }
});

/// Builds from the last pair to the first, so that there is something to sort.
fn build(model: &BTreeMap<&str, &str>) -> Labels {
    let mut builder = LabelsBuilder::new();
    for (name, value) in model.iter().rev() {
        builder.label(name, value);
    }
    builder.build().expect("names are unique")
}

fn pairwise(a: &BTreeMap<&str, &str>, b: &BTreeMap<&str, &str>) -> Ordering {
    a.iter()
        .zip(b)
        .map(|((a_name, a_value), (b_name, b_value))| a_name.cmp(b_name).then(a_value.cmp(b_value)))
        .find(|order| order.is_ne())
        .unwrap_or(a.len().cmp(&b.len()))
}

fn comes_back(labels: &Labels) {
    assert_eq!(labels.to_string().parse().as_ref(), Ok(labels));
    assert_eq!(Labels::from_packed(labels.packed()).as_ref(), Ok(labels));
}
