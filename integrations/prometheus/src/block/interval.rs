/// A closed range of time, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    /// The first moment.
    pub min_ms: i64,
    /// The last moment.
    pub max_ms: i64,
}

impl Interval {
    /// Creates a range.
    #[must_use]
    pub const fn new(min_ms: i64, max_ms: i64) -> Self {
        Self { min_ms, max_ms }
    }

    /// Whether the moment is in the range.
    #[must_use]
    pub const fn contains(self, time_ms: i64) -> bool {
        self.min_ms <= time_ms && time_ms <= self.max_ms
    }

    /// Whether all of the other range is in this one.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.min_ms <= other.min_ms && other.max_ms <= self.max_ms
    }

    /// Whether the two have a moment in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.min_ms <= other.max_ms && other.min_ms <= self.max_ms
    }
}

/// Sorts ranges, and makes one of those that touch or overlap.
pub(crate) fn normalize(intervals: &mut Vec<Interval>) {
    intervals.retain(|interval| interval.min_ms <= interval.max_ms);
    intervals.sort_unstable();
    intervals.dedup_by(|next, before| {
        let joins = next.min_ms <= before.max_ms.saturating_add(1);
        if joins {
            before.max_ms = before.max_ms.max(next.max_ms);
        }
        joins
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let ranges = |pairs: &[(i64, i64)]| {
            pairs.iter().map(|(min, max)| Interval::new(*min, *max)).collect::<Vec<_>>()
        };
        let mut intervals = ranges(&[
            (5, 9),
            (20, 10),
            (0, 3),
            (4, 4),
            (12, 13),
            (6, 7),
            (i64::MIN, -10),
            (30, i64::MAX),
            (40, 50),
        ]);
        normalize(&mut intervals);
        assert_eq!(intervals, ranges(&[(i64::MIN, -10), (0, 9), (12, 13), (30, i64::MAX)]));
    }
}
