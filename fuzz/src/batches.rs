//! The async merge of batches over scripted sources: plans, and how they are played and judged.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arbitrary::Arbitrary;
use futures::stream::FusedStream;
use losertree::error::Cause;
use losertree::key::Order;
use losertree::stream::{BatchWindow, Merged};
use losertree::{BatchMerge, CloseError, LeakLedger, SourceError};
use losertree_testkit::{
    Checked, CloseStep, Closing, Driver, End, Ending, Item, Random, Script, ScriptedSource, Stage, Step,
    TestError, Wake, assert_same, merged,
};

use crate::schedule::{CheckPlan, EndPlan, Noisy, OrderPlan, SourcePlan, Then, WithOrder, in_blocks};
use crate::unless_it_panics;

type Batch = Vec<Item<u64>>;
type Source = Checked<Noisy<ScriptedSource<Batch>>>;
type Error = SourceError<TestError>;

/// How often the merge is asked at most; every source fails or panics once.
const MOST_QUESTIONS: usize = 100_000;

/// What a merge is made of, what is done with it, and in which order its sources become ready.
#[derive(Debug, Arbitrary)]
pub struct Plan {
    sources: Vec<SourcePlan>,
    order: OrderPlan,
    check: CheckPlan,
    is_partial: bool,
    limit: Option<u8>,
    /// How many rows a window has at most.
    window_rows: Option<u8>,
    /// Which batch is not paid for, if batches are charged for.
    refused: Option<u8>,
    /// Whether the merge is also polled when nobody woke it.
    is_restless: bool,
    seed: u64,
    acts: Vec<Act>,
    end: EndPlan,
}

#[derive(Debug, Arbitrary)]
enum Act {
    Next,
    Take(u8),
    /// Takes a window, and keeps it to the end.
    Keep,
    /// Polls the future of the next window so often, then drops it.
    NextInPart(u8),
    Push(SourcePlan),
    /// Wakes one that waits.
    Ring,
}

/// What a source is to give.
#[derive(Debug)]
struct Model {
    /// How many rows are in the first batches.
    ends: Vec<usize>,
    /// All rows ahead of where it fails, panics or is stuck.
    rows: Batch,
    /// How many of them can come out: if the merge fails it, those of the batches before the first that steps backwards.
    valid: usize,
    taken: usize,
    /// How many were taken before the last push.
    taken_before: usize,
    fails: bool,
}

impl Model {
    fn new(script: &Script<Batch>, check: CheckPlan) -> Self {
        let is_last =
            |step: &&Step<_>| !matches!(step, Step::Fail | Step::Panic | Step::Pending(Wake::Never));
        let (mut rows, mut ends, mut valid) = (Batch::new(), Vec::new(), None);
        for step in script.steps.iter().take_while(is_last) {
            let Step::Item(batch) = step else { continue };
            let begin = rows.len();
            rows.extend(batch);
            ends.push(rows.len());
            if check == CheckPlan::Fail && !rows[begin.saturating_sub(1)..].is_sorted_by_key(|row| row.key) {
                valid.get_or_insert(begin);
            }
        }
        let fails = script.steps.contains(&Step::Fail) || script.close.contains(&CloseStep::Fail);
        let (valid, fails) = (valid.unwrap_or(rows.len()), fails || valid.is_some());
        Self { ends, rows, valid, taken: 0, taken_before: 0, fails }
    }

    /// How many rows the first batches have, of which some were given that are behind all that can come out.
    fn given(&self, batches: usize) -> usize {
        batches.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |rows| (*rows).min(self.valid))
    }
}

/// Plays a plan, and asserts all that `README.md` says of the target.
///
/// # Panics
///
/// If the merge breaks a promise.
pub fn play(plan: &Plan) {
    plan.order.play(plan);
}

impl WithOrder for &Plan {
    fn play<O: Order<Item<u64>>>(self, order: O) {
        Play::new(self, order).run();
    }
}

struct Play<'a, O: Order<Item<u64>>> {
    plan: &'a Plan,
    stage: Stage,
    ledger: LeakLedger,
    driver: Driver,
    merge: BatchMerge<Source, O>,
    sources: Vec<Model>,
    /// What was yielded since the last push.
    yielded: Batch,
    rows: usize,
    /// Shared by all that is charged for a batch.
    charge: Arc<()>,
    kept: Vec<BatchWindow<Batch>>,
    told: Vec<Error>,
    errors: usize,
    has_panicked: bool,
    is_asked_to_close: bool,
    /// Whether nothing more may come.
    is_over: bool,
}

/// What came of asking the merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Got {
    Something,
    Panic,
    End,
    /// Nothing, and there never will be: a source does not wake.
    Stuck,
}

impl<'a, O: Order<Item<u64>>> Play<'a, O> {
    fn new(plan: &'a Plan, order: O) -> Self {
        let stage = Stage::new();
        let ledger = LeakLedger::sites();
        let charge = Arc::new(());
        let mut builder = BatchMerge::builder().ledger(&ledger).order(order);
        let mut sources = Vec::new();
        for (index, source) in plan.sources.iter().enumerate() {
            let (model, source) = scripted(&stage, index, source, plan.check);
            sources.push(model);
            builder = builder.source(source);
        }
        if let Some(limit) = plan.limit {
            builder = builder.limit(limit.into());
        }
        if let Some(rows) = plan.window_rows {
            builder = builder.window_rows(rows.into());
        }
        if let Some(check) = plan.check.option() {
            builder = builder.order_check(check, |batch: &Batch, row| vec![batch[row]]);
        }
        if plan.is_partial {
            builder = builder.warn();
        }
        if let Some(refused) = plan.refused {
            let (of_batch, mut batches) = (Arc::clone(&charge), 0);
            builder = builder.charge_with(move |batch: &Batch| {
                assert!(!batch.is_empty(), "a batch without rows costs nothing");
                batches += 1;
                let is_refused = batches == usize::from(refused);
                if is_refused { Err(SourceError::new(Cause::Abandoned)) } else { Ok(Arc::clone(&of_batch)) }
            });
        }
        let driver = stage.driver(plan.seed).restless(if plan.is_restless { 0.3 } else { 0.0 });
        Self {
            plan,
            driver,
            merge: builder.build(),
            stage,
            ledger,
            sources,
            yielded: Batch::new(),
            rows: 0,
            charge,
            kept: Vec::new(),
            told: Vec::new(),
            errors: 0,
            has_panicked: false,
            is_asked_to_close: false,
            is_over: false,
        }
    }

    fn run(mut self) {
        assert_eq!(self.stage.log().polls(), 0, "constructors poll nothing");
        for act in &self.plan.acts {
            self.act(act);
        }
        match self.plan.end {
            EndPlan::RunOut => self.run_out(),
            EndPlan::Close => self.close(),
            EndPlan::Drop | EndPlan::IntoSources => {}
            EndPlan::CloseInPart { polls, then } => {
                self.close_in_part(polls.into());
                match then {
                    Then::Close => self.close(),
                    Then::RunOut => self.run_out(),
                    Then::Drop | Then::IntoSources => {}
                }
            }
        }
        self.judge();
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Next => drop(self.next()),
            Act::Take(windows) => {
                for _ in 0..*windows {
                    if self.next().0 != Got::Something {
                        break;
                    }
                }
            }
            Act::Keep => {
                let (_, window) = self.next();
                self.kept.extend(window);
            }
            Act::NextInPart(polls) => {
                // Without looking whether it was woken, as a task does that waits for other things too.
                let mut next = Box::pin(self.merge.next_window());
                let mut cx = Context::from_waker(Waker::noop());
                let mut polled = Some(Poll::Pending);
                for _ in 0..*polls % 4 {
                    polled = unless_it_panics(|| next.as_mut().poll(&mut cx));
                    if !matches!(polled, Some(Poll::Pending)) {
                        break;
                    }
                }
                drop(next);
                match polled {
                    Some(Poll::Ready(next)) => drop(self.note(next)),
                    Some(Poll::Pending) => {}
                    None => self.has_panicked = true,
                }
                self.stage.log().assert_clean();
            }
            Act::Push(source) => self.push(source),
            Act::Ring => drop(self.stage.bell().ring_one(&mut Random::seed(self.plan.seed))),
        }
    }

    fn push(&mut self, source: &SourcePlan) {
        let index = self.sources.len();
        // A source that is not taken stays in the log, which knows sources by when they came.
        if index < self.stage.log().sources().len() {
            return;
        }
        let (model, source) = scripted(&self.stage, index, source, self.plan.check);
        match self.merge.push(source) {
            Ok(at) => {
                assert!(!self.is_over && !self.is_at_limit() && self.errors == 0, "it takes no sources");
                assert_eq!(at, index);
                self.check_order();
                self.yielded.clear();
                self.sources.push(model);
                for source in &mut self.sources {
                    source.taken_before = source.taken;
                }
            }
            Err(refused) => drop(unless_it_panics(|| drop(refused))),
        }
    }

    fn next(&mut self) -> (Got, Option<BatchWindow<Batch>>) {
        let next = self.driver.complete(self.merge.next_window());
        match next {
            Ok(next) => self.note(next),
            Err(end) => (self.interrupted(&end), None),
        }
    }

    fn note(
        &mut self,
        next: Option<Result<Merged<Batch, TestError>, Error>>,
    ) -> (Got, Option<BatchWindow<Batch>>) {
        let Some(next) = next else {
            self.ended();
            return (Got::End, None);
        };
        assert!(!self.is_over && self.errors == 0, "{next:?} comes late");
        match next {
            Ok(Merged::Window(window)) => {
                self.note_window(&window);
                return (Got::Something, Some(window));
            }
            Ok(Merged::Warning(warning)) => {
                assert!(self.plan.is_partial);
                self.told.push(warning);
            }
            Err(error) => {
                assert!(!self.plan.is_partial || matches!(error.cause(), Cause::Abandoned));
                self.errors += 1;
                self.told.push(error);
            }
        }
        (Got::Something, None)
    }

    fn note_window(&mut self, window: &BatchWindow<Batch>) {
        let rows = window.rows();
        let most = self.plan.window_rows.map_or(usize::MAX, |rows| usize::from(rows.max(1)));
        assert!((1..=most).contains(&rows), "{rows} rows in a window of {most}");
        for run in window.runs() {
            let batch = window.batch(run.source()).expect("a run has a batch");
            let source = &mut self.sources[batch.source().index()];
            for row in &batch[run.rows()] {
                assert!(source.taken < source.valid, "{row:?} must not come out");
                assert_eq!(*row, source.rows[source.taken], "lost, repeated or overtaken in its source");
                source.taken += 1;
                self.yielded.push(*row);
            }
        }
        self.rows += rows;
        assert!(self.plan.limit.is_none_or(|limit| self.rows <= limit.into()), "beyond the limit");
        let given = self.stage.log().sources();
        for (source, figures) in self.sources.iter().zip(&given) {
            let before = source.given(figures.items.saturating_sub(1));
            assert!(source.taken >= before, "one batch of each source at most, and none ahead");
        }
        if self.plan.refused.is_some() {
            let kept: usize = self.kept.iter().map(|kept| kept.batches().iter().flatten().count()).sum();
            let most = 1 + given.len() + kept + window.batches().iter().flatten().count();
            assert!(Arc::strong_count(&self.charge) <= 1 + most, "a batch is held that is used up");
        }
    }

    fn is_at_limit(&self) -> bool {
        self.plan.limit.is_some_and(|limit| self.rows >= limit.into())
    }

    /// Asserts that what was yielded since the last push is a prefix of the oracle's merge.
    fn check_order(&self) {
        let left = |source: &Model| source.rows[source.taken_before..source.valid].to_vec();
        let left: Vec<_> = self.sources.iter().map(left).collect();
        if left.iter().all(|rows| rows.is_sorted_by_key(|row| row.key)) {
            let mut expected = merged(&left);
            expected.truncate(self.yielded.len());
            assert_same(&self.yielded, &expected);
        }
    }

    fn ended(&mut self) {
        self.check_all_closed();
        if !(self.has_panicked || self.is_asked_to_close || self.errors > 0 || self.is_at_limit()) {
            for (index, source) in self.sources.iter().enumerate() {
                assert_eq!(source.taken, source.valid, "source {index} has more");
            }
        }
        self.is_over = true;
    }

    fn check_all_closed(&self) {
        for (index, source) in self.stage.log().sources().iter().enumerate().take(self.sources.len()) {
            assert!(source.dropped, "source {index} is still held: {source:?}");
            assert!(source.close.is_complete() || source.ending == Some(Ending::Panicked));
        }
    }

    fn interrupted(&mut self, end: &End) -> Got {
        match end {
            End::Panicked(message) => {
                assert!(message.contains("panics as scripted"), "{message}");
                self.has_panicked = true;
                Got::Panic
            }
            End::Deadlock { stuck } => {
                let sources = self.stage.log().sources();
                assert!(stuck.iter().any(|source| !sources[*source].dropped), "a wake-up was lost");
                Got::Stuck
            }
            end => panic!("{end:?}"),
        }
    }

    /// Goes on to the end of the stream, and asks once more for what it has kept.
    fn run_out(&mut self) {
        for _ in 0..MOST_QUESTIONS {
            match self.next().0 {
                Got::Something | Got::Panic => {}
                Got::Stuck => return,
                Got::End => {
                    let polls = self.stage.log().polls();
                    self.close();
                    assert_eq!(self.stage.log().polls(), polls, "nothing is polled after the end");
                    return;
                }
            }
        }
        panic!("the merge does not end");
    }

    fn close(&mut self) {
        self.is_asked_to_close = true;
        for _ in 0..MOST_QUESTIONS {
            match self.driver.complete(self.merge.close()) {
                Ok(closed) => {
                    self.closed(closed.err());
                    assert!(self.merge.is_terminated());
                    assert_eq!(self.driver.complete(self.merge.close()), Ok(Ok(())), "once is enough");
                    assert_eq!(self.next().0, Got::End);
                    return;
                }
                Err(end) => {
                    if self.interrupted(&end) == Got::Stuck {
                        return;
                    }
                }
            }
        }
        panic!("the close does not end");
    }

    fn closed(&mut self, error: Option<CloseError<TestError>>) {
        self.check_all_closed();
        self.is_over = true;
        self.told.extend(error.into_iter().flat_map(CloseError::into_errors));
    }

    /// Drops the future of a close after so many polls, each after a wake-up.
    fn close_in_part(&mut self, polls: usize) {
        self.is_asked_to_close |= polls > 0;
        let mut driver = self.stage.driver(!self.plan.seed).max_polls(polls);
        match driver.complete(self.merge.close()) {
            Ok(closed) => self.closed(closed.err()),
            Err(End::OutOfPolls) => self.is_over |= polls > 0,
            Err(end) => self.is_over |= self.interrupted(&end) == Got::Stuck,
        }
    }

    /// Asserts that everything is released and accounted for, when the merge is gone.
    fn judge(self) {
        self.check_order();
        let (log, dropped) = (self.stage.log().clone(), self.stage.log().drop_order().len());
        let polls = log.polls();
        drop(self.merge);
        assert_eq!(log.polls(), polls, "a drop polls nothing");
        assert!(log.drop_order()[dropped..].is_sorted(), "sources are dropped in order");
        let kept: Vec<_> = self.kept.iter().flat_map(BatchWindow::batches).flatten().collect();
        assert!(kept.iter().all(|batch| !batch.is_empty()), "windows outlive the merge");
        drop(self.kept);
        assert_eq!(Arc::strong_count(&self.charge), 1, "what was charged for is given back");
        self.stage.bell().ring_all();
        log.assert_released();
        self.ledger.assert_balanced();
        let figures = log.sources();
        assert_eq!(self.ledger.snapshot().opened, self.sources.len() as u64);
        assert!(self.errors <= 1, "there is one error at most");
        for (at, told) in self.told.iter().enumerate() {
            let index = told.path().index().expect("an error is of one source");
            let (figures, source) = (&figures[index], &self.sources[index]);
            let has_happened = match told.cause() {
                Cause::Source(error) => {
                    assert_eq!(error.source, index);
                    let is_same =
                        |told: &Error| matches!(told.cause(), Cause::Source(other) if other == error);
                    assert!(!self.told[..at].iter().any(is_same), "told twice");
                    figures.ending.is_some() || figures.close == Closing::Failed
                }
                Cause::OutOfOrder { .. } => {
                    self.plan.check == CheckPlan::Fail && source.valid < source.rows.len()
                }
                Cause::Abandoned => self.plan.refused.is_some(),
                _ => false,
            };
            assert!(has_happened && (source.fails || matches!(told.cause(), Cause::Abandoned)), "{told:?}");
        }
    }
}

/// Makes a source, and the model of what it is to give.
fn scripted(stage: &Stage, index: usize, plan: &SourcePlan, check: CheckPlan) -> (Model, Source) {
    let seed = plan.kind.blocks.unwrap_or(0);
    let script = in_blocks(plan.script(index), &mut Random::seed(seed.into()));
    let model = Model::new(&script, check);
    let source = ScriptedSource::new(index, script, stage.bell());
    (model, Checked::new(Noisy::new(source, plan.kind.is_noisy), stage.log()))
}
