/// A small generator of pseudo-random numbers (`SplitMix64`; Steele, Lea and Flood, OOPSLA 2014).
///
/// Equal seeds give equal sequences, on every machine and in every version of this crate's dependencies: a
/// failing schedule is repeated by its seed alone.
///
/// # Examples
///
/// ```
/// use losertree_testkit::Random;
///
/// let mut random = Random::seed(7);
/// assert!(random.below(10) < 10);
/// assert_eq!(Random::seed(7).next_u64(), Random::seed(7).next_u64());
/// ```
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Creates the generator of this seed. Every seed is as good as any other.
    #[must_use]
    pub const fn seed(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Returns the next number, uniform over all of `u64`.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `n`; 0 if `n` is 0.
    ///
    /// By multiplication, not by rejection: for the small `n` of tests the bias is far below what they see.
    pub const fn below(&mut self, n: usize) -> usize {
        // Below n, so it fits.
        #[allow(clippy::cast_possible_truncation)]
        let below = ((self.next_u64() as u128 * n as u128) >> 64) as usize;
        below
    }

    /// Returns `true` with probability `p`: never for 0, always for 1.
    pub fn chance(&mut self, p: f64) -> bool {
        let high = (self.next_u64() >> 32) as u32;
        f64::from(high) < p * (f64::from(u32::MAX) + 1.0)
    }

    /// Returns one of the items; `None` if there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// Puts the items into an order in which every permutation is as likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
