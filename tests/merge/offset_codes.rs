//! Offset-value codes: what a code says of the order of two keys that come after a third.

use std::fmt::Debug;

use losertree::key::{Coded, OffsetCode};
use losertree::{Labels, Response, Series, SortKey, Warning};
use losertree_testkit::{Domain, Random, TestKey};

/// Checks the codes of the three, once they are in order.
fn assert_theorem<K: SortKey + Debug>(mut keys: [K; 3]) {
    keys.sort_by(K::compare);
    let [before, a, b] = &keys;
    let code = |before, key| OffsetCode::after(before, key).expect("it does not come before");
    let (code_a, code_b) = (code(before, a), code(before, b));
    assert!(code_a <= code_b, "{a:?} ({code_a:?}) and {b:?} ({code_b:?}) after {before:?}");
    if code_a < code_b {
        assert!(a.compare(b).is_lt(), "{a:?} and {b:?} after {before:?}");
        assert_eq!(code(a, b), code_b, "{a:?} and {b:?} after {before:?}");
    }
    for (a, b) in [(before, a), (before, b), (a, b)] {
        assert_eq!(code(a, b).is_equal(), a.compare(b).is_eq(), "{a:?} and {b:?}");
        assert_eq!(OffsetCode::after(b, a).is_none(), a.compare(b).is_lt(), "{a:?} and {b:?}");
    }
}

fn check<K: SortKey + Debug>(mut make: impl FnMut(&mut Random, Domain) -> K) {
    let mut random = Random::seed(7);
    for round in 0..5_000 {
        let domain = Domain::ALL[round % 3];
        assert_theorem([(); 3].map(|()| make(&mut random, domain)));
    }
}

#[test]
fn codes_order_keys_that_come_after_a_third() {
    check(Vec::<u8>::generate);
    check(String::generate);
    check(|random, domain| (Vec::<u8>::generate(random, domain), String::generate(random, domain)));
    check(|random, domain| {
        let half = random.chance(0.5).then(|| String::generate(random, domain));
        (String::generate(random, Domain::Few), half, Vec::<u8>::generate(random, domain))
    });
    check(|random, domain| {
        let value = String::generate(random, domain);
        let name = String::generate(random, Domain::Few);
        let labels = Labels::from_pairs([("a", ""), (&format!("b{name}"), &value)]).expect("two names");
        if random.chance(0.1) {
            Warning::new("slow").into()
        } else {
            Response::from(Series::new(labels, Vec::new()))
        }
    });
}

/// What is behind the columns that codes tell apart.
#[test]
fn keys_of_any_length_have_codes() {
    for prefix in [327_670, 327_674, 327_675, 327_680] {
        let key = |end: &[u8]| [&vec![7; prefix], end].concat();
        let ends: [&[u8]; 4] = [b"", b"\0", b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF", b"abcdefg"];
        for a in ends {
            for b in ends {
                assert_theorem([key(b""), key(a), key(b)]);
                assert_theorem([(), (), ()].map(|()| (String::new(), key(a))));
                assert_theorem([(key(a), key(b)), (key(b), key(a)), (key(b""), key(b"z"))]);
            }
        }
    }
}

#[test]
fn what_is_known_to_be_shared_gives_the_same_code() {
    let mut random = Random::seed(11);
    for round in 0..2_000 {
        let domain = Domain::ALL[round % 3];
        let mut pair = [(); 2]
            .map(|()| (Vec::<u8>::generate(&mut random, domain), String::generate(&mut random, domain)));
        pair.sort_by(SortKey::compare);
        let [before, key] = &pair;
        let part = usize::from(before.0 == key.0);
        let (x, y) = (before.part(part), key.part(part));
        let shared = x.iter().zip(y).take_while(|(x, y)| x == y).count();
        assert_eq!(Some(OffsetCode::sharing(key, part, shared)), OffsetCode::after(before, key), "{pair:?}");
    }
}

/// Beyond the last part there is nothing in which keys could differ.
#[test]
fn keys_that_share_all_parts_are_equal() {
    let pair = ("cpu".to_owned(), b"idle".to_vec());
    for beyond in [0, 1, usize::MAX - 2] {
        for shared in [0, 1, usize::MAX] {
            assert_eq!(OffsetCode::sharing(&pair, 2 + beyond, shared), OffsetCode::EQUAL);
            assert_eq!(OffsetCode::sharing("cpu", 1 + beyond, shared), OffsetCode::EQUAL);
            assert_eq!(OffsetCode::sharing(&7_u64, beyond, shared), OffsetCode::EQUAL);
        }
    }
    assert_ne!(OffsetCode::sharing(&pair, 1, 3), OffsetCode::EQUAL);
    assert_ne!(OffsetCode::sharing(&pair, 0, 3), OffsetCode::EQUAL);
}

#[test]
fn coded_items_know_what_they_share_with_the_one_before() {
    let items = ["", "", "a", "ab", "ab", "a"];
    let coded: Vec<_> = Coded::with_codes(items).collect();
    assert!(coded.iter().map(|coded| coded.item).eq(items));
    assert_eq!(coded[0].code, OffsetCode::UNKNOWN);
    assert_eq!(coded[1].code, OffsetCode::EQUAL);
    assert_eq!(Some(coded[3].code), OffsetCode::after("a", "ab"));
    assert!(coded[4].code.is_equal());
    assert_eq!(coded[5].code, OffsetCode::UNKNOWN, "it comes before the one before");
}
