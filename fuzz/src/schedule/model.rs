use losertree_testkit::{CloseStep, Item, Script, Step, Wake, assert_same, merged};

use super::plan::CheckPlan;

/// What the merge is to yield, by the oracle.
///
/// At any time that is a prefix of the merge of what the sources can still give. A source that was pushed
/// joins in with what the others have left, so each push begins a new merge.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) sources: Vec<SourceModel>,
    /// What was yielded since the last push.
    yielded: Vec<Item<u64>>,
    /// Whether a source is out of order and the merge does not fail it.
    is_unsorted: bool,
}

/// What one source is to give.
#[derive(Debug)]
pub(super) struct SourceModel {
    /// All items ahead of where it fails, panics or is stuck.
    pub(super) items: Vec<Item<u64>>,
    /// How many of them can come out: if the merge fails it, those before the first that steps backwards.
    pub(super) valid: usize,
    /// How many were yielded.
    pub(super) taken: usize,
    /// How many were yielded before the last push.
    taken_before: usize,
    /// The step at which it fails, if it gets there.
    pub(super) fails_at: Option<usize>,
    /// The step of closing at which it fails, if it gets there.
    pub(super) close_fails_at: Option<usize>,
    pub(super) drop_panics: bool,
    pub(super) name: Option<String>,
}

impl SourceModel {
    fn new(script: &Script<Item<u64>>, check: CheckPlan) -> Self {
        let is_last = |step: &Step<_>| matches!(step, Step::Fail | Step::Panic | Step::Pending(Wake::Never));
        let steps = script.steps.iter().take_while(|step| !is_last(step));
        let items: Vec<_> =
            steps.filter_map(|step| if let Step::Item(item) = step { Some(*item) } else { None }).collect();
        let backwards = items.windows(2).position(|pair| pair[1].key < pair[0].key);
        let valid = match backwards {
            Some(at) if check == CheckPlan::Fail => at + 1,
            _ => items.len(),
        };
        Self {
            valid,
            taken: 0,
            taken_before: 0,
            fails_at: script.steps.iter().position(|step| *step == Step::Fail),
            close_fails_at: script.close.iter().position(|step| *step == CloseStep::Fail),
            drop_panics: script.drop_panics,
            name: script.name.clone(),
            items,
        }
    }

    /// How many of the first `given` items step backwards.
    pub(super) fn descents(&self, given: usize) -> u64 {
        self.items[..given].windows(2).map(|pair| u64::from(pair[1].key < pair[0].key)).sum()
    }
}

impl Model {
    /// Adds a source, from which on the order begins anew.
    pub(super) fn add(&mut self, script: &Script<Item<u64>>, check: CheckPlan) {
        self.check_order();
        for item in self.yielded.drain(..) {
            self.sources[item.source].taken_before += 1;
        }
        let source = SourceModel::new(script, check);
        self.is_unsorted |= !source.items[..source.valid].is_sorted_by_key(|item| item.key);
        self.sources.push(source);
    }

    /// Notes an item, and asserts that it is the next one of its source.
    pub(super) fn note(&mut self, item: Item<u64>) {
        let source = &mut self.sources[item.source];
        assert!(source.taken < source.valid, "{item:?} must not come out");
        assert_eq!(item, source.items[source.taken], "lost, repeated or overtaken in its source");
        source.taken += 1;
        self.yielded.push(item);
    }

    /// Asserts that what was yielded since the last push is a prefix of the oracle's merge.
    pub(super) fn check_order(&self) {
        if self.is_unsorted || self.yielded.is_empty() {
            return;
        }
        let left = |source: &SourceModel| source.items[source.taken_before..source.valid].to_vec();
        let mut expected = merged(&self.sources.iter().map(left).collect::<Vec<_>>());
        expected.truncate(self.yielded.len());
        assert_same(&self.yielded, &expected);
    }

    /// Asserts that all was yielded.
    pub(super) fn check_complete(&self) {
        for (index, source) in self.sources.iter().enumerate() {
            assert_eq!(source.taken, source.valid, "source {index} has more");
        }
    }
}
