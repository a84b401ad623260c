use std::fmt::Debug;

use losertree::SortKey;
use quickcheck::Arbitrary;

use crate::Random;

/// A type of key that [`Runs`](crate::Runs) can be generated for.
///
/// Implementations are biased towards what has broken merges: many ties, the smallest and the largest
/// values, keys whose codes are equal though they are not.
pub trait TestKey: SortKey + Clone + Debug + 'static {
    /// Returns a key out of the values that `domain` names.
    fn generate(random: &mut Random, domain: Domain) -> Self;

    /// Returns keys that are simpler than this one, for shrinking.
    ///
    /// Simplifying again and again must come to an end: no key may be simpler than itself.
    fn simpler(&self) -> Box<dyn Iterator<Item = Self>>;
}

/// Which values the keys of one generated input are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Domain {
    /// A handful, so that nearly all keys are tied.
    Few,
    /// The smallest and the largest of the type, and the next to them.
    Extremes,
    /// All of the type.
    Full,
}

impl Domain {
    /// All domains.
    pub const ALL: [Self; 3] = [Self::Few, Self::Extremes, Self::Full];
}

/// A number below `N`.
fn small<const N: u8>(random: &mut Random) -> u8 {
    // Below a `u8`.
    u8::try_from(random.below(usize::from(N))).unwrap_or(0)
}

/// One of the array, which is not empty.
fn one_of<T: Clone, const N: usize>(random: &mut Random, of: &[T; N]) -> T {
    of[random.below(N)].clone()
}

impl TestKey for u64 {
    fn generate(random: &mut Random, domain: Domain) -> Self {
        match domain {
            Domain::Few => Self::from(small::<5>(random)),
            Domain::Extremes => one_of(random, &[0, 1, Self::MAX - 1, Self::MAX]),
            Domain::Full => random.next_u64(),
        }
    }

    fn simpler(&self) -> Box<dyn Iterator<Item = Self>> {
        self.shrink()
    }
}

impl TestKey for i64 {
    fn generate(random: &mut Random, domain: Domain) -> Self {
        match domain {
            Domain::Few => Self::from(small::<5>(random)) - 2,
            Domain::Extremes => one_of(random, &[Self::MIN, Self::MIN + 1, -1, 0, Self::MAX - 1, Self::MAX]),
            Domain::Full => random.next_u64().cast_signed(),
        }
    }

    fn simpler(&self) -> Box<dyn Iterator<Item = Self>> {
        self.shrink()
    }
}

impl TestKey for (u32, u32) {
    fn generate(random: &mut Random, domain: Domain) -> Self {
        let mut half = || match domain {
            Domain::Few => u32::from(small::<3>(random)),
            Domain::Extremes => one_of(random, &[0, 1, u32::MAX - 1, u32::MAX]),
            Domain::Full => (random.next_u64() >> 32) as u32,
        };
        (half(), half())
    }

    fn simpler(&self) -> Box<dyn Iterator<Item = Self>> {
        self.shrink()
    }
}

impl TestKey for Option<u8> {
    fn generate(random: &mut Random, domain: Domain) -> Self {
        match domain {
            Domain::Few => one_of(random, &[None, Some(0), Some(1)]),
            Domain::Extremes => one_of(random, &[None, Some(0), Some(u8::MAX)]),
            Domain::Full => random.chance(0.9).then(|| small::<{ u8::MAX }>(random)),
        }
    }

    fn simpler(&self) -> Box<dyn Iterator<Item = Self>> {
        self.shrink()
    }
}

/// In the total order of IEEE 754, with both zeroes, subnormals, infinities, and NaNs of both signs.
impl TestKey for f64 {
    fn generate(random: &mut Random, domain: Domain) -> Self {
        let tiny = Self::from_bits(1);
        match domain {
            Domain::Few => one_of(random, &[-0.0, 0.0, 1.0, Self::NAN]),
            Domain::Extremes => one_of(
                random,
                &[
                    -Self::NAN,
                    Self::NEG_INFINITY,
                    Self::MIN,
                    -tiny,
                    -0.0,
                    0.0,
                    tiny,
                    Self::MAX,
                    Self::INFINITY,
                    Self::NAN,
                    Self::from_bits(u64::MAX),
                    Self::from_bits(u64::MAX >> 1),
                ],
            ),
            Domain::Full => Self::from_bits(random.next_u64()),
        }
    }

    fn simpler(&self) -> Box<dyn Iterator<Item = Self>> {
        // 0, then 1, then the others, of which the smaller whole number is the simpler. By bits, since NaN
        // is not equal to itself and −0 equals 0.
        let value = *self;
        let ranked =
            [0.0, 1.0].into_iter().take_while(move |simple: &Self| simple.to_bits() != value.to_bits());
        let whole = [value.trunc(), (value / 2.0).trunc()]
            .into_iter()
            .filter(move |whole| whole.abs() > 1.0 && whole.abs() < value.abs());
        Box::new(ranked.chain(whole))
    }
}

impl TestKey for Vec<u8> {
    fn generate(random: &mut Random, domain: Domain) -> Self {
        bytes(random, domain, [0, 1, b'a', u8::MAX])
    }

    fn simpler(&self) -> Box<dyn Iterator<Item = Self>> {
        self.shrink()
    }
}

/// Two strings of bytes, the first of which is mostly the same.
impl TestKey for (Vec<u8>, Option<String>) {
    fn generate(random: &mut Random, domain: Domain) -> Self {
        let first = Vec::generate(random, Domain::Few);
        (first, random.chance(0.8).then(|| String::generate(random, domain)))
    }

    fn simpler(&self) -> Box<dyn Iterator<Item = Self>> {
        self.shrink()
    }
}

impl TestKey for String {
    fn generate(random: &mut Random, domain: Domain) -> Self {
        // A byte stands for a character; the last becomes one of several bytes, as high as UTF-8 goes.
        let character = |byte| if byte == u8::MAX { char::MAX } else { char::from(byte) };
        bytes(random, domain, [0, b'a', b'b', u8::MAX]).into_iter().map(character).collect()
    }

    fn simpler(&self) -> Box<dyn Iterator<Item = Self>> {
        self.shrink()
    }
}

/// Byte strings that are hard to tell apart by their first eight bytes: empty, padded with NULs, and with
/// shared prefixes that end before, at and after the eighth byte, and long after it.
fn bytes(random: &mut Random, domain: Domain, alphabet: [u8; 4]) -> Vec<u8> {
    let prefix = match domain {
        Domain::Few => one_of(random, &[0, 8]),
        Domain::Extremes => one_of(random, &[0, 6, 7, 8, 9, 15, 16, 17]),
        Domain::Full => one_of(random, &[0, 3, 7, 8, 40, 200]),
    };
    let first = if random.chance(0.2) { 0 } else { alphabet[1] };
    let suffix = match domain {
        Domain::Few => random.below(2),
        Domain::Extremes => random.below(3),
        Domain::Full => random.below(12),
    };
    let mut key = vec![first; prefix];
    key.extend((0..suffix).map(|_| one_of(random, &alphabet)));
    key
}

/// Calls a generic function once for each type of key.
#[macro_export]
macro_rules! for_each_key {
    ($function:ident) => {
        $function::<u64>();
        $function::<i64>();
        $function::<String>();
        $function::<Vec<u8>>();
        $function::<(Vec<u8>, Option<String>)>();
        $function::<(u32, u32)>();
        $function::<f64>();
        $function::<Option<u8>>();
    };
}
