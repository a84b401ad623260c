use std::fmt;
use std::sync::Arc;

/// A resource whose figures can be read.
pub(super) trait Observed {
    /// What only grows, summed over instances.
    type Counts: Default;
    /// What goes up and down, summed over instances.
    type Levels: Default;

    /// Whether nobody else has a handle, and so nothing changes any more.
    fn is_last_handle(&mut self) -> bool;
    fn add_to(&self, counts: &mut Self::Counts, levels: &mut Self::Levels);
    fn publish(name: &Arc<str>, counts: &Self::Counts, levels: &Self::Levels);
}

/// All instances of one name.
pub(super) struct Group<T: Observed> {
    live: Vec<T>,
    /// The counts of those that are gone: a counter does not go back.
    retired: T::Counts,
}

impl<T: Observed<Counts: Clone>> Group<T> {
    pub(super) fn add(&mut self, instance: T) {
        self.live.push(instance);
    }

    /// Publishes the sums, and lets go of the instances that nobody else has.
    pub(super) fn publish(&mut self, name: &Arc<str>) {
        let Self { live, retired } = self;
        live.retain_mut(|instance| {
            let is_gone = instance.is_last_handle();
            if is_gone {
                // After the look at the handles: so these are the last figures.
                instance.add_to(retired, &mut T::Levels::default());
            }
            !is_gone
        });
        let (mut counts, mut levels) = (retired.clone(), T::Levels::default());
        for instance in live {
            instance.add_to(&mut counts, &mut levels);
        }
        T::publish(name, &counts, &levels);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.live.is_empty()
    }
}

impl<T: Observed> Default for Group<T> {
    fn default() -> Self {
        Self { live: Vec::new(), retired: T::Counts::default() }
    }
}

impl<T: Observed> fmt::Debug for Group<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("live", &self.live.len()).finish_non_exhaustive()
    }
}
