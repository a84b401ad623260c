use losertree::error::Cause;
use losertree::merge::Undrained;
use losertree::stream::{MergeStats, SourceEnd};
use losertree::{CloseError, LeakLedger, Phase};
use losertree_testkit::{At, Closing, Ending, Figures, Item, Log, Stage, TestError};

use super::model::Model;
use super::plan::{CheckPlan, Plan};
use super::{Error, Source};

/// What was seen of a merge, and whether it may be so.
pub(super) struct Verdict<'a> {
    plan: &'a Plan,
    pub(super) log: Log,
    ledger: LeakLedger,
    pub(super) model: Model,
    /// All errors that the merge has told of: yielded, as warnings, or returned by a close.
    told: Vec<Error>,
    /// How many of them were yielded as errors.
    errors: usize,
    warnings: usize,
    items: u64,
    /// How many items the limit counts.
    counted: u64,
    pub(super) has_panicked: bool,
    /// Whether a close was polled, even if all that it did was to panic.
    pub(super) is_asked_to_close: bool,
    /// Whether a poll of a close has returned, so that nothing more may be yielded.
    pub(super) has_begun_to_close: bool,
    has_ended: bool,
    /// Whether it has ended as a stream, before any close.
    has_run_out: bool,
    has_closed: bool,
    /// Whether a source was not taken. It is the last in the log, and not in the model.
    pub(super) is_refused: bool,
}

impl<'a> Verdict<'a> {
    pub(super) fn new(plan: &'a Plan, stage: &Stage, ledger: &LeakLedger) -> Self {
        Self {
            plan,
            log: stage.log().clone(),
            ledger: ledger.clone(),
            model: Model::default(),
            told: Vec::new(),
            errors: 0,
            warnings: 0,
            items: 0,
            counted: 0,
            has_panicked: false,
            is_asked_to_close: false,
            has_begun_to_close: false,
            has_ended: false,
            has_run_out: false,
            has_closed: false,
            is_refused: false,
        }
    }

    fn is_at_limit(&self) -> bool {
        self.plan.limit.is_some_and(|limit| self.counted >= u64::from(limit))
    }

    /// The sources that the merge has, as the log has them.
    fn sources(&self) -> Vec<Figures> {
        let mut sources = self.log.sources();
        sources.truncate(self.model.sources.len());
        sources
    }

    /// Whether the merge has certainly begun to close, as far as was seen.
    pub(super) fn must_refuse(&self) -> bool {
        self.has_ended || self.has_closed || self.errors > 0 || self.is_at_limit() || self.has_begun_to_close
    }

    /// Whether the merge may have begun to close.
    pub(super) fn may_refuse(&self) -> bool {
        let sources = self.sources();
        let failed =
            |source: &Figures| source.ending == Some(Ending::Failed) || source.close == Closing::Failed;
        self.must_refuse()
            || self.has_panicked
            || !self.plan.is_partial && (self.plan.check == CheckPlan::Fail || sources.iter().any(failed))
            || sources.iter().all(|source| source.ending.is_some() || source.close != Closing::NotBegun)
    }

    pub(super) fn yielded(&mut self, source: usize, item: Item<u64>) {
        assert_eq!(source, item.source);
        self.yielded_in_block(item, 0);
    }

    /// Notes an item of a block that has so many more after it.
    pub(super) fn yielded_in_block(&mut self, item: Item<u64>, more: usize) {
        let source = item.source;
        assert!(!self.has_ended && !self.has_begun_to_close && self.errors == 0, "{item:?} comes late");
        assert!(!self.is_at_limit(), "{item:?} is beyond the limit");
        self.model.note(item);
        self.items += 1;
        self.counted += 1;
        let ahead = self.log.items() as u64 - self.items;
        let most = self.model.sources.len() + more;
        assert!(ahead <= most as u64, "one item of each source ahead at most");
        if self.is_at_limit() {
            let given = self.log.sources()[source].items;
            assert_eq!(given, self.model.sources[source].taken, "nothing is pulled after the last item");
        }
    }

    pub(super) fn warned(&mut self, source: usize, error: &Error) {
        assert!(self.plan.is_partial && !self.has_ended && !self.has_begun_to_close);
        assert_eq!(error.path().index(), Some(source));
        self.warnings += 1;
        self.told.push(error.clone());
    }

    pub(super) fn failed(&mut self, error: Error) {
        assert!(!self.plan.is_partial && !self.has_ended && !self.has_begun_to_close);
        self.errors += 1;
        assert_eq!(self.errors, 1, "there is one error at most");
        self.told.push(error);
    }

    pub(super) fn ended(&mut self) {
        self.check_all_closed();
        self.has_ended = true;
        self.has_run_out |= !self.is_asked_to_close;
        if !(self.has_panicked || self.is_asked_to_close || self.errors > 0 || self.is_at_limit()) {
            self.model.check_complete();
        }
    }

    pub(super) fn closed(&mut self, error: Option<CloseError<TestError>>) {
        self.check_all_closed();
        self.has_closed = true;
        self.has_begun_to_close = true;
        self.told.extend(error.into_iter().flat_map(CloseError::into_errors));
    }

    fn check_all_closed(&self) {
        for (index, source) in self.sources().iter().enumerate() {
            assert!(source.dropped, "source {index} is still held: {source:?}");
            assert!(source.close.is_complete() || source.ending == Some(Ending::Panicked));
        }
    }

    /// Asserts that the statistics are what happened.
    pub(super) fn check_stats(&self, stats: &MergeStats) {
        assert_eq!(stats.items, self.items);
        assert!(self.plan.is_partial || !stats.is_partial);
        assert!(stats.is_partial || self.warnings == 0);
        let sources = self.sources();
        assert_eq!(stats.sources.len(), sources.len());
        for (index, (stats, figures)) in stats.sources.iter().zip(&sources).enumerate() {
            let source = &self.model.sources[index];
            assert_eq!((stats.origin.index(), stats.origin.name()), (index, source.name.as_deref()));
            assert_eq!(stats.items, figures.items as u64);
            assert_eq!(stats.polls, (figures.next_polls + figures.close_polls) as u64);
            assert_eq!(stats.time_to_first_item.is_some(), figures.items > 0);
            let most = if self.plan.check == CheckPlan::Off { 0 } else { source.descents(figures.items) };
            // The last item is not compared until something is asked of the merge.
            let least = most.min(source.descents(figures.items.saturating_sub(1)));
            assert!((least..=most).contains(&stats.out_of_order), "{stats:?}");
            let is_failed = figures.ending == Some(Ending::Failed)
                || figures.close == Closing::Failed
                || self.plan.check == CheckPlan::Fail && stats.out_of_order > 0;
            let end = match figures.ending {
                _ if !figures.dropped => None,
                Some(Ending::Panicked) => Some(SourceEnd::Panicked),
                _ if is_failed => Some(SourceEnd::Failed),
                Some(_) => Some(SourceEnd::Exhausted),
                None => Some(SourceEnd::ClosedEarly),
            };
            assert_eq!(stats.end, end, "source {index}: {figures:?}");
        }
        if self.plan.limit == Some(0) {
            assert!(sources.iter().all(|source| source.next_polls == 0), "a limit of 0 asks for nothing");
        }
    }

    /// Asserts that the merge gives back all that it still holds, and returns which sources these are.
    pub(super) fn check_undrained(&self, undrained: &[Undrained<Source, Item<u64>>]) -> Vec<usize> {
        let sources = self.sources();
        for undrained in undrained {
            let (figures, source) = (&sources[undrained.index], &self.model.sources[undrained.index]);
            if undrained.has_ended {
                assert!(undrained.head.is_none());
                assert!(
                    figures.ending.is_some() || figures.close != Closing::NotBegun || self.may_refuse(),
                    "nothing has ended it"
                );
            } else {
                assert_eq!((figures.ending, figures.close), (None, Closing::NotBegun));
                assert_eq!(undrained.head, source.items[..figures.items].get(source.taken).copied());
            }
        }
        let held = |index: &usize| {
            let figures = &sources[*index];
            !figures.dropped && figures.ending != Some(Ending::Panicked)
        };
        let handed_back: Vec<_> = undrained.iter().map(|undrained| undrained.index).collect();
        assert!((0..sources.len()).filter(held).eq(handed_back.iter().copied()), "{handed_back:?} came back");
        let released = self
            .log
            .sources()
            .iter()
            .enumerate()
            .all(|(index, figures)| figures.dropped != handed_back.contains(&index));
        assert!(released, "what does not come back is released");
        handed_back
    }

    /// Asserts that everything is released and accounted for, when the merge is gone.
    pub(super) fn judge(&self, stats: &MergeStats, handed_back: &[usize]) {
        self.model.check_order();
        self.log.assert_released();
        self.ledger.assert_balanced();
        self.check_ledger(stats, handed_back);
        self.check_errors(stats);
    }

    fn check_ledger(&self, stats: &MergeStats, handed_back: &[usize]) {
        let sources = self.sources();
        let mut expected = [0; 4];
        for (index, figures) in sources.iter().enumerate() {
            let has_failed = stats.sources[index].end == Some(SourceEnd::Failed);
            let is_closed = figures.close.is_complete() && !self.model.sources[index].drop_panics;
            let ending = match () {
                () if handed_back.contains(&index) => 2,
                () if !is_closed || figures.ending == Some(Ending::Panicked) => 3,
                () => usize::from(has_failed),
            };
            expected[ending] += 1;
        }
        let record = self.ledger.snapshot();
        assert_eq!([record.closed, record.failed, record.handed_back, record.dropped_unclosed], expected);
        assert_eq!(record.opened, sources.len() as u64);
    }

    /// Asserts that each error that was told of has happened, once; and the other way round if the merge was
    /// asked until it had no more to tell.
    fn check_errors(&self, stats: &MergeStats) {
        let mut expected = Vec::new();
        for (index, figures) in self.sources().iter().enumerate() {
            let source = &self.model.sources[index];
            let step = At::Step(source.fails_at.unwrap_or(usize::MAX));
            let close = At::CloseStep(source.close_fails_at.unwrap_or(usize::MAX));
            let has_failed = figures.ending == Some(Ending::Failed);
            // The log keeps the last ending only: whether it has failed before its close panicked is open.
            let may_have_failed = source.fails_at.is_some()
                && figures.ending == Some(Ending::Panicked)
                && figures.close != Closing::NotBegun;
            if has_failed || may_have_failed {
                let phase = if figures.items == 0 { Phase::Filling } else { Phase::Merging };
                expected.push((index, Some((phase, TestError { source: index, at: step })), 0, has_failed));
            }
            if figures.close == Closing::Failed {
                let error = TestError { source: index, at: close };
                // A drop that panics as the close returns takes the error along.
                expected.push((index, Some((Phase::Closing, error)), 0, !source.drop_panics));
            }
            if self.plan.check == CheckPlan::Fail && stats.sources[index].out_of_order > 0 {
                expected.push((index, None, source.valid as u64, true));
            }
        }
        if self.has_run_out && !self.plan.is_partial && expected.iter().any(|error| error.3) {
            assert_eq!(self.errors, 1, "an error was not yielded");
        }
        for told in &self.told {
            let (cause, position) = match told.cause() {
                Cause::Source(error) => (Some((told.phase().unwrap(), *error)), 0),
                Cause::OutOfOrder { position } => (None, *position),
                _ => panic!("{told:?}"),
            };
            let [source] = told.path().places() else { panic!("{told:?} is not of one source") };
            let index = source.index();
            assert_eq!(source.name(), self.model.sources[index].name.as_deref());
            let found =
                expected.iter().position(|error| (error.0, error.1, error.2) == (index, cause, position));
            let found = found.unwrap_or_else(|| panic!("{told:?} has not happened, or was told before"));
            expected.swap_remove(found);
        }
        if self.has_closed {
            expected.retain(|error| error.3);
            assert!(expected.is_empty(), "errors were lost: {expected:?}");
        }
    }
}
