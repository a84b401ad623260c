use super::PoolConfigError;

/// The capacities that buffers of a pool have: each a factor larger than the one before.
#[derive(Debug)]
pub(super) struct SizeClasses {
    sizes: Vec<usize>,
    /// By the number of bits of a length: the class to look for it from. With each size at least double the one
    /// before, the right class is there or next to it.
    first: [u8; usize::BITS as usize + 1],
}

impl SizeClasses {
    /// Lists the sizes from `smallest` up; the last one is `largest`, be it a full step or not.
    pub(super) fn new(smallest: usize, largest: usize, factor: usize) -> Result<Self, PoolConfigError> {
        // An allocation is at most `isize::MAX` bytes.
        if smallest == 0 || largest < smallest || isize::try_from(largest).is_err() {
            return Err(PoolConfigError::Sizes { smallest, largest });
        }
        if factor < 2 {
            return Err(PoolConfigError::GrowthFactor { factor });
        }
        let steps = std::iter::successors(Some(smallest), |size| size.checked_mul(factor));
        let mut sizes: Vec<_> = steps.take_while(|size| *size < largest).collect();
        sizes.push(largest);
        let mut first = [0; usize::BITS as usize + 1];
        let mut class = 0_u8;
        for (bits, first) in first.iter_mut().enumerate() {
            let shortest = if bits == 0 { 0 } else { 1 << (bits - 1) };
            while sizes.get(usize::from(class)).is_some_and(|size| *size < shortest) {
                class += 1;
            }
            *first = class;
        }
        Ok(Self { sizes, first })
    }

    /// Returns the class of the smallest buffers that hold `len` bytes, and their capacity.
    #[inline]
    pub(super) fn class_of(&self, len: usize) -> Option<(usize, usize)> {
        let bits = usize::BITS - len.leading_zeros();
        let first = usize::from(self.first[bits as usize]);
        let sizes = self.sizes.get(first..)?;
        let further = sizes.iter().position(|size| *size >= len)?;
        Some((first + further, sizes[further]))
    }

    pub(super) fn sizes(&self) -> impl Iterator<Item = usize> {
        self.sizes.iter().copied()
    }

    /// Returns the capacity of the largest buffers.
    pub(super) fn largest(&self) -> usize {
        self.sizes.last().copied().unwrap_or(0)
    }
}
