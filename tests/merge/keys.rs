//! The contract of `SortKey`, for every type that the library implements it for.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use losertree::SortKey;
use quickcheck::{Arbitrary, Gen};

/// Checks a pair of keys against the order that the type is expected to have.
fn assert_contract<K: SortKey + Debug + ?Sized>(a: &K, b: &K, expected: Ordering) {
    assert_eq!(a.compare(b), expected, "comparison of {a:?} and {b:?}");
    assert_eq!(b.compare(a), expected.reverse(), "comparison of {b:?} and {a:?}");
    let (x, y) = (a.code(), b.code());
    assert!(K::CODE_BITS <= 64);
    for code in [x, y] {
        assert!(K::CODE_BITS == 64 || code < 1 << K::CODE_BITS, "code {code:x} of {a:?} or {b:?}");
    }
    if K::PARTS > 0 {
        let parts = |key: &K| (0..K::PARTS).map(|index| key.part(index).to_vec()).collect::<Vec<_>>();
        assert_eq!(parts(a).cmp(&parts(b)), expected, "parts of {a:?} and {b:?}");
    }
    match x.cmp(&y) {
        Ordering::Equal if K::EXACT => assert!(expected.is_eq(), "exact codes of {a:?} and {b:?}"),
        Ordering::Equal => {}
        code_order => assert_eq!(code_order, expected, "codes of {a:?} and {b:?}"),
    }
}

/// Runs the contract over random pairs, each also against itself.
fn check<K>(compare: fn(&K, &K) -> Ordering)
where
    K: SortKey + Arbitrary + Debug,
{
    for round in 0..3_000 {
        let random = &mut Gen::new(1 + round % 20);
        let (a, b) = (K::arbitrary(random), K::arbitrary(random));
        assert_contract(&a, &b, compare(&a, &b));
        assert_contract(&a, &a, Ordering::Equal);
    }
}

fn check_ord<K: SortKey + Arbitrary + Ord + Debug>() {
    check::<K>(Ord::cmp);
}

#[test]
fn integers() {
    check_ord::<u8>();
    check_ord::<u16>();
    check_ord::<u32>();
    check_ord::<u64>();
    check_ord::<u128>();
    check_ord::<usize>();
    check_ord::<i8>();
    check_ord::<i16>();
    check_ord::<i32>();
    check_ord::<i64>();
    check_ord::<i128>();
    check_ord::<isize>();
    check_ord::<bool>();
    check_ord::<char>();
    check_ord::<()>();
}

#[test]
fn extremes_of_integers() {
    for (a, b) in [(u64::MIN, u64::MAX), (u64::MAX - 1, u64::MAX)] {
        assert_contract(&a, &b, Ordering::Less);
    }
    for (a, b) in [(i64::MIN, i64::MAX), (-1, 0), (i64::MIN, i64::MIN + 1)] {
        assert_contract(&a, &b, Ordering::Less);
    }
    for (a, b) in [(i128::MIN, i128::MAX), (-1, 0), (u64::MAX.into(), i128::from(u64::MAX) + 1)] {
        assert_contract(&a, &b, Ordering::Less);
    }
}

// F51: NaN has a place in the order.
#[test]
fn floats_have_the_total_order() {
    check::<f64>(f64::total_cmp);
    check::<f32>(f32::total_cmp);
    let ascending = [
        -f64::NAN,
        f64::NEG_INFINITY,
        f64::MIN,
        -1.0,
        -f64::MIN_POSITIVE,
        -0.0,
        0.0,
        f64::MIN_POSITIVE,
        1.0,
        f64::MAX,
        f64::INFINITY,
        f64::NAN,
    ];
    for (i, a) in ascending.iter().enumerate() {
        for (j, b) in ascending.iter().enumerate() {
            assert_contract(a, b, i.cmp(&j));
        }
    }
}

#[test]
fn text() {
    check_ord::<String>();
    check_ord::<Vec<u8>>();
    // Around the eight bytes that a code holds, with NULs, which short strings are filled with.
    let pieces = ["", "\0", "\0\0", "a", "a\0", "aaaaaaa", "aaaaaaaa", "aaaaaaaa\0", "aaaaaaaab", "aaaaaaab"];
    for a in pieces {
        for b in pieces {
            assert_contract(a, b, a.cmp(b));
            assert_contract(a.as_bytes(), b.as_bytes(), a.cmp(b));
            assert_contract(&Bytes::from(a), &Bytes::from(b), a.cmp(b));
            assert_contract(&Cow::Borrowed(a), &Cow::Owned::<str>(b.to_owned()), a.cmp(b));
            assert_contract(&Arc::<str>::from(a), &Arc::from(b), a.cmp(b));
            assert_contract(&Box::<str>::from(a), &Box::from(b), a.cmp(b));
        }
    }
}

#[test]
fn arrays_are_exact_up_to_eight_bytes() {
    const { assert!(<[u8; 8] as SortKey>::EXACT && !<[u8; 9] as SortKey>::EXACT) };
    assert_eq!(<[u8; 3] as SortKey>::CODE_BITS, 24);
    assert_contract(&[], &[], Ordering::Equal);
    assert_contract(&[1, 2, 3], &[1, 2, 4], Ordering::Less);
    assert_contract(&[0xFF; 8], &[0xFF; 8], Ordering::Equal);
    assert_contract(&[0xFF; 9], &[0xFF; 9], Ordering::Equal);
    assert_contract(&[0, 0, 0, 0, 0, 0, 0, 0, 1], &[0, 0, 0, 0, 0, 0, 0, 0, 2], Ordering::Less);
}

#[test]
fn compound_keys() {
    check_ord::<(u8, u8)>();
    check_ord::<(u32, u32)>();
    check_ord::<(u32, u64)>();
    check_ord::<(u64, u8)>();
    check_ord::<(bool, i16, char)>();
    check_ord::<(u8, String)>();
    check_ord::<(String, u8)>();
    check_ord::<(u8, (), i8, bool)>();
    check_ord::<((u8, i8), (u16, bool))>();
    check_ord::<Option<u8>>();
    check_ord::<Option<u64>>();
    check_ord::<Option<String>>();
    check_ord::<(String, Vec<u8>)>();
    check_ord::<(Option<String>, Option<Option<(String, String)>>)>();
    check_ord::<Option<Option<bool>>>();
    check_ord::<(Option<u8>, Option<i32>)>();
}

#[test]
fn compound_codes_are_exact_while_they_fit() {
    const {
        assert!(<(u32, u32) as SortKey>::EXACT);
        assert!(<(u8, i16, char, bool) as SortKey>::EXACT);
        assert!(<Option<u32> as SortKey>::EXACT);
        assert!(<(u64, ()) as SortKey>::EXACT);
        assert!(!<(u32, u64) as SortKey>::EXACT);
        assert!(!<Option<u64> as SortKey>::EXACT);
        assert!(!<(String, u8) as SortKey>::EXACT);
        assert!(<Reverse<i64> as SortKey>::EXACT);
    }
    assert_eq!(<(u8, bool) as SortKey>::CODE_BITS, 9);
    assert_eq!(<(u32, u64) as SortKey>::CODE_BITS, 64);
    // The high half of the second field is in the code.
    assert_ne!((7_u32, 1_u64 << 40).code(), (7_u32, 2_u64 << 40).code());
}

#[test]
fn reversed_keys() {
    fn check_reversed<K: SortKey + Arbitrary + Ord + Debug>() {
        for round in 0..1_000 {
            let random = &mut Gen::new(1 + round % 20);
            let (a, b) = (K::arbitrary(random), K::arbitrary(random));
            let expected = b.cmp(&a);
            assert_contract(&Reverse(a), &Reverse(b), expected);
        }
    }
    check_reversed::<u64>();
    check_reversed::<i8>();
    check_reversed::<bool>();
    check_reversed::<()>();
    check_reversed::<String>();
    check_reversed::<(u8, String)>();
}
