//! Keys made from other keys: references, `Reverse`, `Option` and tuples.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::rc::Rc;
use std::sync::Arc;

use super::SortKey;
use super::code::Code;

macro_rules! forwarding {
    ($($type:ty),*) => {$(
        impl<K: SortKey + ?Sized> SortKey for $type {
            const CODE_BITS: u32 = K::CODE_BITS;
            const EXACT: bool = K::EXACT;

            #[inline]
            fn code(&self) -> u64 {
                (**self).code()
            }

            #[inline]
            fn compare(&self, other: &Self) -> Ordering {
                (**self).compare(other)
            }
        }
    )*};
}

forwarding!(&K, &mut K, Box<K>, Rc<K>, Arc<K>);

impl<K: SortKey + ToOwned + ?Sized> SortKey for Cow<'_, K> {
    const CODE_BITS: u32 = K::CODE_BITS;
    const EXACT: bool = K::EXACT;

    #[inline]
    fn code(&self) -> u64 {
        (**self).code()
    }

    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        (**self).compare(other)
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
}

macro_rules! tuple {
    ($($name:ident $index:tt),*) => {
        /// Ordered field by field; the code packs as many fields as fit into 64 bits.
        impl<$($name: SortKey),*> SortKey for ($($name,)*) {
            const CODE_BITS: u32 = Code::EMPTY$(.then(Code::shape::<$name>()))*.bits;
            const EXACT: bool = Code::EMPTY$(.then(Code::shape::<$name>()))*.exact;

            #[inline]
            fn code(&self) -> u64 {
                Code::EMPTY$(.then(Code::of(&self.$index)))*.value
            }

            #[inline]
            fn compare(&self, _other: &Self) -> Ordering {
                Ordering::Equal$(.then_with(|| self.$index.compare(&_other.$index)))*
            }
        }
    };
}

tuple!();
tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
