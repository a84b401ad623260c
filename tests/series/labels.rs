//! Labels: their order and its codes, their packed form, reading, removing and building.

// quickcheck hands arguments over by value.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

use losertree::series::LabelsError;
use losertree::{Labels, LabelsBuilder, Response, Series, SortKey, merge};
use quickcheck::{Arbitrary, Gen, QuickCheck, TestResult};

/// A string over few characters, so that ties and beginnings of one another are frequent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Text(String);

impl Arbitrary for Text {
    fn arbitrary(g: &mut Gen) -> Self {
        const FIXED: [&str; 8] = ["", "__name__", "__name_", "__name__\0", "a", "a\0", "\0", "\u{10FFFF}"];
        const CHARS: [char; 12] =
            ['\0', '\u{1}', '_', 'a', 'b', '"', '\\', '\n', '\u{7F}', '\u{80}', 'ÿ', '\u{10FFFF}'];
        if u8::arbitrary(g).is_multiple_of(4) {
            return Self((*g.choose(&FIXED).unwrap()).to_owned());
        }
        let length = usize::from(u8::arbitrary(g) % 4);
        Self((0..length).map(|_| *g.choose(&CHARS).unwrap()).collect())
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        Box::new(self.0.shrink().map(Self))
    }
}

/// The model of a label set. Now and then two of them differ in one place only.
#[derive(Debug, Clone)]
struct Model(BTreeMap<Text, Text>);

impl Arbitrary for Model {
    fn arbitrary(g: &mut Gen) -> Self {
        let count = u8::arbitrary(g) % 5;
        let mut pairs: BTreeMap<Text, Text> = (0..count).map(|_| Arbitrary::arbitrary(g)).collect();
        if bool::arbitrary(g) {
            pairs.insert(Text("__name__".to_owned()), Text::arbitrary(g));
        }
        Self(pairs)
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        Box::new(self.0.shrink().map(Self))
    }
}

impl Model {
    fn pairs(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.0.as_str(), value.0.as_str()))
    }

    fn labels(&self) -> Labels {
        // From the last to the first, so that the builder has to sort.
        Labels::from_pairs(self.pairs().rev()).unwrap()
    }

    /// Changes one value, so that everything before it is a tie.
    fn with_changed(&self, index: usize, value: &Text) -> Self {
        let mut changed = self.clone();
        if let Some(old) = changed.0.values_mut().nth(index % 6) {
            *old = value.clone();
        }
        changed
    }
}

/// The order of Prometheus, spelled out: names, values, then how many.
fn prometheus_order(a: &Model, b: &Model) -> Ordering {
    for ((a_name, a_value), (b_name, b_value)) in a.pairs().zip(b.pairs()) {
        if a_name != b_name {
            return a_name.as_bytes().cmp(b_name.as_bytes());
        }
        if a_value != b_value {
            return a_value.as_bytes().cmp(b_value.as_bytes());
        }
    }
    a.0.len().cmp(&b.0.len())
}

fn check<P: quickcheck::Testable>(property: P) {
    QuickCheck::new().tests(20_000).max_tests(100_000).quickcheck(property);
}

fn labels(text: &str) -> Labels {
    text.parse().unwrap()
}

#[test]
fn order_is_that_of_prometheus() {
    fn agrees(a: &Model, b: &Model) -> bool {
        let expected = prometheus_order(a, b);
        let (a, b) = (a.labels(), b.labels());
        a.cmp(&b) == expected
            && a.compare(&b) == expected
            && a.packed().cmp(b.packed()) == expected
            && (a == b) == expected.is_eq()
    }
    fn unrelated(a: Model, b: Model) -> bool {
        agrees(&a, &b)
    }
    fn neighbours(a: Model, index: usize, value: Text) -> bool {
        agrees(&a, &a.with_changed(index, &value))
    }
    check(unrelated as fn(Model, Model) -> bool);
    check(neighbours as fn(Model, usize, Text) -> bool);
}

#[test]
fn order_of_hard_cases() {
    // Each is smaller than the next.
    let ascending: [&[(&str, &str)]; 14] = [
        &[],
        &[("", "")],
        &[("", ""), ("a", "")],
        &[("", "\0")],
        &[("", "a")],
        &[("\0", "z")],
        &[("A", "b")],
        &[("__name__", "up")],
        &[("__name__", "up"), ("job", "x")],
        &[("__name__", "up\0")],
        &[("__name__", "up\u{1}")],
        &[("__name__\0", "")],
        &[("a", "\u{10FFFF}")],
        &[("ab", "")],
    ];
    let ascending = ascending.map(|pairs| Labels::from_pairs(pairs.iter().copied()).unwrap());
    for (index, a) in ascending.iter().enumerate() {
        for (other, b) in ascending.iter().enumerate() {
            assert_eq!(a.cmp(b), index.cmp(&other), "{a} against {b}");
            assert!(a.code() >= b.code() || a < b, "codes of {a} and {b}");
        }
    }
}

#[test]
fn codes_preserve_the_order() {
    fn agrees<K: SortKey>(a: &K, b: &K) -> bool {
        let fits = |code: u64| code.checked_shr(K::CODE_BITS).unwrap_or(0) == 0;
        fits(a.code()) && (a.code() >= b.code() || a.compare(b).is_lt())
    }
    fn preserved(a: Model, b: Model, index: usize, value: Text) -> bool {
        let near = a.with_changed(index, &value).labels();
        let (a, b) = (a.labels(), b.labels());
        let (c, d) = (Series::new(a.clone(), vec![]), Series::new(b.clone(), vec![]));
        agrees(&a, &b)
            && agrees(&b, &a)
            && agrees(&a, &near)
            && agrees(&near, &a)
            && agrees(&c, &d)
            && agrees(&Response::Series(c), &Response::Series(d))
    }
    check(preserved as fn(Model, Model, usize, Text) -> bool);
}

#[test]
fn codes_look_past_the_name_of_the_metric_label() {
    let a = labels(r#"{__name__="go_gc_cycles_total"}"#);
    let b = labels(r#"{__name__="go_goroutines", job="a"}"#);
    assert!(a.code() < b.code());
    let [upper, lower] = [r#"{Zone="a"}"#, r#"{zone="a"}"#].map(labels);
    assert!(upper.code() < a.code() && b.code() < lower.code());
    assert!(Response::from(Series::new(a, vec![])).code() < Response::from(Series::new(b, vec![])).code());
}

#[test]
fn merging_sorts() {
    fn sorted(left: Vec<Model>, right: Vec<Model>) -> bool {
        let [mut left, mut right] =
            [left, right].map(|run| run.iter().map(Model::labels).collect::<Vec<_>>());
        left.sort();
        right.sort();
        let mut expected = [left.clone(), right.clone()].concat();
        expected.sort();
        merge([left, right]).eq(expected)
    }
    QuickCheck::new().tests(500).quickcheck(sorted as fn(Vec<Model>, Vec<Model>) -> bool);
}

#[test]
fn packed_form_comes_back() {
    fn comes_back(model: Model) -> bool {
        let labels = model.labels();
        Labels::from_packed(labels.packed()) == Ok(labels)
    }
    check(comes_back as fn(Model) -> bool);
}

#[test]
fn packed_form_is_unique() {
    // Whatever is accepted is what its own pairs pack to: there is one packed form for each set.
    fn unique(bytes: Vec<u8>) -> TestResult {
        const BYTES: [u8; 8] = [0, 0, 0, 0xFF, b'a', b'b', 0xC3, 0xBF];
        let bytes: Vec<u8> = bytes.iter().take(12).map(|byte| BYTES[usize::from(byte % 8)]).collect();
        Labels::from_packed(&bytes).map_or_else(
            |_| TestResult::discard(),
            |labels| {
                let again = Labels::from_pairs(&labels).unwrap();
                TestResult::from_bool(labels.packed() == bytes && again == labels)
            },
        )
    }
    QuickCheck::new().tests(5_000).max_tests(1_000_000).quickcheck(unique as fn(Vec<u8>) -> TestResult);
}

#[test]
fn malformed_packed_forms_are_refused() {
    let duplicate = |name: &str| LabelsError::DuplicateName { name: name.to_owned() };
    let cases: [(&[u8], LabelsError); 16] = [
        (b"a", LabelsError::Truncated { offset: 0 }),
        (b"\0", LabelsError::Truncated { offset: 0 }),
        (b"a\0", LabelsError::Truncated { offset: 0 }),
        (b"a\0b", LabelsError::Truncated { offset: 0 }),
        (b"a\0b\0\xFF", LabelsError::Truncated { offset: 0 }),
        (b"a\0b\0c", LabelsError::Truncated { offset: 4 }),
        (b"a\0b\0c\0", LabelsError::Truncated { offset: 4 }),
        (b"\xFF", LabelsError::Truncated { offset: 0 }),
        (b"\xFF\0b\0", LabelsError::NotUtf8 { offset: 0 }),
        (b"a\0\xFF\0", LabelsError::Truncated { offset: 0 }),
        (b"a\0b\xFF\0", LabelsError::NotUtf8 { offset: 2 }),
        (b"a\0b\0\xC3\0c\0", LabelsError::NotUtf8 { offset: 4 }),
        (b"a\0b\0\xFF\xFF\0", LabelsError::NotUtf8 { offset: 2 }),
        (b"b\0\0a\0\0", LabelsError::Unsorted { offset: 3 }),
        (b"a\0\0a\0\0", duplicate("a")),
        (b"a\0\xFF\0\0a\0\xFF\0\0", duplicate("a\0")),
    ];
    for (bytes, error) in cases {
        assert_eq!(Labels::from_packed(bytes), Err(error), "{}", bytes.escape_ascii());
    }
    // A character cut in two by an escaped NUL, and an encoded surrogate.
    assert!(Labels::from_packed(b"a\0\xC3\0\xFF\xBF\0\0").is_err());
    assert!(Labels::from_packed(b"a\0\xED\xA0\x80\0").is_err());
    assert_eq!(Labels::from_packed(b""), Ok(Labels::new()));
}

#[test]
fn every_cut_is_refused_or_ends_a_pair() {
    fn refused(model: Model, at: usize) -> TestResult {
        // A cut within an escaped NUL leaves an end, which changes what the bytes say.
        let has_nul = model.pairs().any(|(name, value)| name.contains('\0') || value.contains('\0'));
        let whole = model.labels();
        let Some(at) = at.checked_rem(whole.packed().len()).filter(|_| !has_nul) else {
            return TestResult::discard();
        };
        TestResult::from_bool(match Labels::from_packed(&whole.packed()[..at]) {
            Ok(cut) => cut.len() < whole.len() && cut.iter().eq(whole.iter().take(cut.len())),
            Err(error) => matches!(error, LabelsError::Truncated { offset } if offset < at),
        })
    }
    check(refused as fn(Model, usize) -> TestResult);
}

#[test]
fn reading_agrees_with_a_map() {
    fn agrees(model: Model, other: Text) -> bool {
        let labels = model.labels();
        let pairs: Vec<(&str, &str)> = model.pairs().collect();
        let read: Vec<_> = labels.iter().collect();
        let (least, most) = labels.iter().size_hint();
        let get = |name: &Text| labels.get(&name.0).as_deref() == model.0.get(name).map(|value| &*value.0);
        read == pairs.iter().map(|(name, value)| (Cow::from(*name), Cow::from(*value))).collect::<Vec<_>>()
            && labels.len() == pairs.len()
            && labels.is_empty() == pairs.is_empty()
            && (least..=most.unwrap()).contains(&pairs.len())
            && labels.iter().count() == pairs.len()
            && model.0.keys().all(get)
            && get(&other)
            && labels.metric_name() == labels.get("__name__")
    }
    check(agrees as fn(Model, Text) -> bool);
}

#[test]
fn only_strings_with_nul_are_copied() {
    let labels = Labels::from_pairs([("a", "x"), ("b\0", "y\0z")]).unwrap();
    let borrowed = |text: &Cow<'_, str>| matches!(text, Cow::Borrowed(_));
    let read: Vec<_> = labels.iter().map(|(name, value)| (borrowed(&name), borrowed(&value))).collect();
    assert_eq!(read, [(true, true), (false, false)]);
}

#[test]
fn removing_agrees_with_a_map() {
    fn agrees(mut model: Model, others: Vec<Text>, index: usize) -> bool {
        let labels = model.labels();
        let mut names = others;
        names.extend(model.0.keys().nth(index % 6).cloned());
        model.0.retain(|name, _| !names.contains(name));
        let names: Vec<&str> = names.iter().map(|name| name.0.as_str()).collect();
        labels.without(&names) == model.labels()
    }
    check(agrees as fn(Model, Vec<Text>, usize) -> bool);

    let labels = labels(r#"{a="1", b="2"}"#);
    assert_eq!(labels.without(&["c", ""]).packed().as_ptr(), labels.packed().as_ptr(), "nothing was copied");
    assert_eq!(labels.without(&["b", "a", "b"]), Labels::new());
}

#[test]
fn builder_sorts_refuses_duplicates_and_can_go_on() {
    fn sorts(pairs: Vec<(Text, Text)>) -> bool {
        let mut builder = LabelsBuilder::new();
        for (name, value) in &pairs {
            builder.label(&name.0, &value.0);
        }
        let model = Model(pairs.iter().cloned().collect());
        let is_unique = model.0.len() == pairs.len();
        match builder.build() {
            Ok(labels) => is_unique && labels == model.labels() && builder.build() == Ok(labels),
            Err(LabelsError::DuplicateName { name }) => {
                pairs.iter().filter(|pair| pair.0.0 == name).count() > 1
            }
            Err(_) => false,
        }
    }
    check(sorts as fn(Vec<(Text, Text)>) -> bool);

    let mut builder = Labels::builder();
    builder.label("b", "").label(String::from("a"), Cow::from("1"));
    assert_eq!(format!("{builder:?}"), r#"{"b": "", "a": "1"}"#);
    assert_eq!(builder.build().unwrap().to_string(), r#"{a="1", b=""}"#);
    let error = builder.label("b", "2").build().unwrap_err();
    assert_eq!(error, LabelsError::DuplicateName { name: "b".into() });
    builder.clear();
    assert_eq!(builder.build(), Ok(Labels::new()));
}

#[test]
fn many_labels_beyond_what_fits_on_the_stack() {
    let mut builder = Labels::builder();
    for index in (0..1_000).rev() {
        builder.label(format!("name_{index:04}"), "x".repeat(index));
    }
    let labels = builder.build().unwrap();
    assert_eq!(labels.len(), 1_000);
    assert_eq!(labels.get("name_0700").unwrap().len(), 700);
    assert_eq!(labels.to_string().parse(), Ok(labels));
}

#[test]
fn equal_labels_hash_alike() {
    fn alike(a: Model, index: usize, value: Text) -> bool {
        let state = RandomState::new();
        let b = a.with_changed(index, &value).labels();
        let a = a.labels();
        a != b || state.hash_one(&a) == state.hash_one(&b)
    }
    check(alike as fn(Model, usize, Text) -> bool);

    let mut counts = HashMap::new();
    for text in [r#"{a="1",b="2"}"#, r#"{b="2",a="1"}"#, r#"{a="1"}"#] {
        *counts.entry(labels(text)).or_insert(0) += 1;
    }
    assert_eq!(counts[&labels(r#"{a="1", b="2"}"#)], 2);
}

#[test]
fn notation_comes_back() {
    fn comes_back(model: Model) -> bool {
        let labels = model.labels();
        labels.to_string().parse() == Ok(labels)
    }
    check(comes_back as fn(Model) -> bool);

    for character in '\0'..='\u{7FF}' {
        let text = String::from(character);
        let labels = Labels::from_pairs([(&text, &text)]).unwrap();
        assert_eq!(labels.to_string().parse(), Ok(labels));
    }
}
