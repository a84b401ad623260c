//! Keys made from other keys: references, `Reverse`, `Option` and tuples.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::rc::Rc;
use std::sync::Arc;

use super::code::Code;
use super::{MOST_PARTS, SortKey};

macro_rules! forwarding {
    ($($type:ty),*) => {$(
        impl<K: SortKey + ?Sized> SortKey for $type {
            const CODE_BITS: u32 = K::CODE_BITS;
            const EXACT: bool = K::EXACT;
            const PARTS: usize = K::PARTS;

            #[inline]
            fn code(&self) -> u64 {
                (**self).code()
            }

            #[inline]
            fn compare(&self, other: &Self) -> Ordering {
                (**self).compare(other)
            }

            #[inline]
            fn part(&self, index: usize) -> &[u8] {
                (**self).part(index)
            }
        }
    )*};
}

forwarding!(&K, &mut K, Box<K>, Rc<K>, Arc<K>);

impl<K: SortKey + ToOwned + ?Sized> SortKey for Cow<'_, K> {
    const CODE_BITS: u32 = K::CODE_BITS;
    const EXACT: bool = K::EXACT;
    const PARTS: usize = K::PARTS;

    #[inline]
    fn code(&self) -> u64 {
        (**self).code()
    }

    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        (**self).compare(other)
    }

    #[inline]
    fn part(&self, index: usize) -> &[u8] {
        (**self).part(index)
    }
}

/// The order of `K`, turned round.
impl<K: SortKey> SortKey for Reverse<K> {
    const CODE_BITS: u32 = K::CODE_BITS;
    const EXACT: bool = K::EXACT;

    #[inline]
    fn code(&self) -> u64 {
        // Subtracting from the largest code keeps unused high bits clear. It wraps only where an
        // implementation breaks its word about `CODE_BITS`.
        let largest = u64::MAX.checked_shr(64_u32.saturating_sub(K::CODE_BITS)).unwrap_or(0);
        largest.wrapping_sub(self.0.code())
    }

    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        other.0.compare(&self.0)
    }
}

/// `None` before every `Some`.
impl<K: SortKey> SortKey for Option<K> {
    const CODE_BITS: u32 = Code::shape::<bool>().then(Code::shape::<K>()).bits;
    const EXACT: bool = Code::shape::<bool>().then(Code::shape::<K>()).exact;
    const PARTS: usize = most(if K::PARTS == 0 { 0 } else { K::PARTS + 1 });

    #[inline]
    fn code(&self) -> u64 {
        let value = match self {
            Some(key) => Code::of(key),
            None => Code::shape::<K>(),
        };
        Code::of(&self.is_some()).then(value).value
    }

    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Some(a), Some(b)) => a.compare(b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        }
    }

    /// Whether there is a key, as a byte or none, and then the key.
    #[inline]
    fn part(&self, index: usize) -> &[u8] {
        match (self, index.checked_sub(1)) {
            (None, _) => &[],
            (Some(_), None) => &[1],
            (Some(key), Some(index)) => key.part(index),
        }
    }
}

/// A number of parts, or none where that is more than codes are made for.
const fn most(parts: usize) -> usize {
    if parts > MOST_PARTS { 0 } else { parts }
}

/// The parts of a tuple: those of its fields, if each has some.
const fn parts(fields: &[usize]) -> usize {
    let (mut sum, mut index) = (0, 0);
    while index < fields.len() {
        if fields[index] == 0 {
            return 0;
        }
        sum += fields[index];
        index += 1;
    }
    most(sum)
}

macro_rules! tuple {
    ($($name:ident $index:tt),*) => {
        /// Ordered field by field; the code packs as many fields as fit into 64 bits.
        impl<$($name: SortKey),*> SortKey for ($($name,)*) {
            const CODE_BITS: u32 = Code::EMPTY$(.then(Code::shape::<$name>()))*.bits;
            const EXACT: bool = Code::EMPTY$(.then(Code::shape::<$name>()))*.exact;
            const PARTS: usize = parts(&[$($name::PARTS),*]);

            #[inline]
            fn code(&self) -> u64 {
                Code::EMPTY$(.then(Code::of(&self.$index)))*.value
            }

            #[inline]
            fn compare(&self, _other: &Self) -> Ordering {
                Ordering::Equal$(.then_with(|| self.$index.compare(&_other.$index)))*
            }

            #[inline]
            fn part(&self, _index: usize) -> &[u8] {
                $(
                    if _index < $name::PARTS {
                        return self.$index.part(_index);
                    }
                    let _index = _index - $name::PARTS;
                )*
                &[]
            }
        }
    };
}

tuple!();
tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
