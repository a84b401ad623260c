use super::wait_queue::Charge;
use super::{BytePoolBuilder, PoolConfigError};

/// The capacities that buffers of a pool have: each a factor larger than the one before.
#[derive(Debug)]
pub(super) struct SizeClasses {
    sizes: Vec<usize>,
    /// By the number of bits of a length: the smallest of the buffers that hold the shortest of such lengths. With
    /// each size at least double the one before, the right class is that or the next one.
    first: [Charge; usize::BITS as usize + 1],
}

impl SizeClasses {
    /// Lists the sizes from `smallest` up; the last one is `largest`, be it a full step or not.
    pub(super) fn new(smallest: usize, largest: usize, factor: usize) -> Result<Self, PoolConfigError> {
        if smallest == 0 || largest < smallest || largest > BytePoolBuilder::LARGEST_BYTES {
            return Err(PoolConfigError::Sizes { smallest, largest });
        }
        if factor < 2 {
            return Err(PoolConfigError::GrowthFactor { factor });
        }
        let steps = std::iter::successors(Some(smallest), |size| size.checked_mul(factor));
        let mut sizes: Vec<_> = steps.take_while(|size| *size < largest).collect();
        sizes.push(largest);
        let mut class = 0;
        let first = std::array::from_fn(|bits| {
            let shortest = if bits == 0 { 0 } else { 1 << (bits - 1) };
            while sizes.get(class).is_some_and(|size| *size < shortest) {
                class += 1;
            }
            // Where there is none, one that holds nothing, and has no next.
            Charge { class, bytes: sizes.get(class).copied().unwrap_or(0) }
        });
        Ok(Self { sizes, first })
    }

    /// Returns what a lease of `len` bytes is charged: the smallest buffers that hold so much.
    #[inline]
    pub(super) fn charge_for(&self, len: usize) -> Option<Charge> {
        let bits = usize::BITS - len.leading_zeros();
        let first = self.first[bits as usize];
        if len <= first.bytes {
            return Some(first);
        }
        let class = first.class + 1;
        let bytes = self.sizes.get(class).copied().filter(|size| *size >= len)?;
        Some(Charge { class, bytes })
    }

    pub(super) fn sizes(&self) -> impl Iterator<Item = usize> {
        self.sizes.iter().copied()
    }

    /// Returns the capacity of the largest buffers.
    pub(super) fn largest(&self) -> usize {
        self.sizes.last().copied().unwrap_or(0)
    }
}
