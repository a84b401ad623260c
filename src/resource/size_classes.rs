use super::PoolConfigError;

/// The capacities that buffers of a pool have: each a factor larger than the one before.
#[derive(Debug)]
pub(super) struct SizeClasses {
    sizes: Vec<usize>,
}

impl SizeClasses {
    /// Lists the sizes from `smallest` up; the last one is `largest`, be it a full step or not.
    pub(super) fn new(smallest: usize, largest: usize, factor: usize) -> Result<Self, PoolConfigError> {
        if smallest == 0 || largest < smallest {
            return Err(PoolConfigError::Sizes { smallest, largest });
        }
        if factor < 2 {
            return Err(PoolConfigError::GrowthFactor { factor });
        }
        let steps = std::iter::successors(Some(smallest), |size| size.checked_mul(factor));
        let mut sizes: Vec<_> = steps.take_while(|size| *size < largest).collect();
        sizes.push(largest);
        Ok(Self { sizes })
    }

    /// Returns the class of the smallest buffers that hold `len` bytes, and their capacity.
    pub(super) fn class_of(&self, len: usize) -> Option<(usize, usize)> {
        let class = self.sizes.partition_point(|size| *size < len);
        Some((class, *self.sizes.get(class)?))
    }

    pub(super) const fn count(&self) -> usize {
        self.sizes.len()
    }

    /// Returns the capacity of the largest buffers.
    pub(super) fn largest(&self) -> usize {
        self.sizes.last().copied().unwrap_or(0)
    }
}
