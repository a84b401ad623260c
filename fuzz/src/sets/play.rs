use losertree::SourceError;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::{StreamExt, stream};
use losertree::resource::BytePool;
use losertree::response::{ProxyQuery, ResponseStats, Store};
use losertree::{LeakLedger, Response, Series};
use losertree_testkit::{
    Checked, Driver, End, Log, QueryAnswer, Random, Script, ScriptedSource, Stage, Tasks, TestError,
};

use super::plan::{Act, EndPlan, Plan};

type Query = ProxyQuery<Checked<ScriptedSource<Response>>>;

/// Plays a plan, and asserts all that `README.md` says of the target.
///
/// # Panics
///
/// If the query breaks a promise.
pub fn play(plan: &Plan) {
    let mut play = Play::new(plan);
    for act in &plan.acts {
        play.act(*act);
    }
    match plan.end {
        EndPlan::RunOut => play.run_out(),
        EndPlan::Close => play.close(usize::MAX),
        EndPlan::CloseInPart { polls, is_resumed } => {
            play.close(polls.into());
            if is_resumed {
                play.close(usize::MAX);
            }
        }
        EndPlan::Drop => {}
    }
    play.judge();
}

struct Play<'a> {
    plan: &'a Plan,
    expected: QueryAnswer,
    query: Query,
    stage: Stage,
    tasks: Tasks,
    driver: Driver,
    ledger: LeakLedger,
    pool: BytePool,
    series: Vec<Series>,
    others: Vec<String>,
    errors: usize,
    has_ended: bool,
    is_closed: bool,
    /// Tasks were dropped, so sets may fail which the oracle knows nothing of.
    is_shut_down: bool,
}

impl<'a> Play<'a> {
    fn new(plan: &'a Plan) -> Self {
        let (stage, tasks, ledger) = (Stage::new(), Tasks::new(!plan.seed), LeakLedger::sites());
        let rules = plan.rules();
        let named = |(index, script): (usize, Script<Response>)| script.named(format!("store-{index}"));
        let scripts: Vec<_> = plan.scripts().into_iter().enumerate().map(named).collect();
        let budget = plan.budget_bytes();
        let builder = BytePool::builder().smallest_bytes(16).largest_bytes(16);
        let pool = builder.budget_bytes(budget.unwrap_or(16)).build().expect("the sizes fit");
        let mut sets = rules.options();
        if plan.is_spawned {
            let tasks = tasks.clone();
            sets = sets.spawn_with(move |task| tasks.spawn(task));
        }
        if budget.is_some() {
            sets = sets.pool(&pool);
        }
        let stores = scripts
            .iter()
            .enumerate()
            .map(|(index, script)| Store::opened(format!("store-{index}"), stage.source(script.clone())));
        let mut builder = ProxyQuery::builder()
            .stores(stores)
            .response_sets(sets)
            .partial_response(plan.strategy())
            .ledger(&ledger);
        if let Some(limit) = plan.limit {
            builder = builder.limit(limit.into());
        }
        if let Some((series, bytes)) = plan.batches {
            builder = builder.batches(series.into(), bytes.into());
        }
        // Sets without a task do not follow their stores while their heads wait: the log is asked at the end.
        let driver = Driver::new(stage.bell().clone(), Log::new(), Random::seed(plan.seed));
        Self {
            plan,
            expected: QueryAnswer::new(&rules, &scripts, plan.strategy()),
            query: builder.build(),
            stage,
            tasks,
            driver,
            ledger,
            pool,
            series: Vec::new(),
            others: Vec::new(),
            errors: 0,
            has_ended: false,
            is_closed: false,
            is_shut_down: false,
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Take(frames) => self.take(frames.into()),
            Act::NextInPart(polls) => {
                for _ in 0..polls % 4 {
                    let mut cx = Context::from_waker(Waker::noop());
                    let (tasks, query) = (&self.tasks, &mut self.query);
                    if let Poll::Ready(next) = tasks.poll(&mut cx, |cx| query.poll_next_unpin(cx)) {
                        return self.note(next);
                    }
                }
            }
            Act::Ring => drop(self.stage.bell().ring_one(&mut Random::seed(self.plan.seed))),
            Act::Tasks => self.tasks.run_until_idle(),
            Act::Stats => self.check_stats(),
            Act::ShutDown => {
                self.is_shut_down |= self.tasks.alive() > 0;
                self.tasks.shut_down();
            }
        }
        self.stage.log().assert_clean();
        let figures = self.pool.snapshot();
        assert!(figures.used_bytes <= figures.budget_bytes);
    }

    fn take(&mut self, frames: usize) {
        let (tasks, query) = (&self.tasks, &mut self.query);
        let mut stream = stream::poll_fn(|cx| tasks.poll(cx, |cx| query.poll_next_unpin(cx)));
        let run = self.driver.run_up_to(&mut stream, frames);
        for next in run.items {
            self.note(Some(next));
        }
        match run.end {
            End::Finished => self.note(None),
            End::Enough => {}
            end => panic!("{end:?}"),
        }
    }

    fn note(&mut self, next: Option<Result<Response, SourceError<TestError>>>) {
        assert!(next.is_none() || !self.has_ended, "after the end comes nothing");
        match next {
            None => self.has_ended = true,
            Some(Ok(Response::Series(series))) => {
                assert!(self.plan.batches.is_none());
                self.series.push(series);
            }
            Some(Ok(Response::Batch(batch))) => {
                let (series, bytes) = self.plan.batches.expect("batches were asked for");
                let size: usize = batch.iter().map(Series::size_bytes).sum();
                assert!((1..=usize::from(series.max(1))).contains(&batch.len()));
                assert!(batch.len() == 1 || size <= bytes.into());
                self.series.extend(batch);
            }
            Some(Ok(other)) => self.others.push(format!("{other:?}")),
            Some(Err(_)) => self.errors += 1,
        }
    }

    fn run_out(&mut self) {
        self.take(usize::MAX);
        self.stage.log().assert_closed();
        let polls = self.stage.log().polls();
        self.take(1);
        self.close(usize::MAX);
        assert_eq!(self.stage.log().polls(), polls, "nothing is polled after the end");
    }

    /// Closes; gives up after so many polls.
    fn close(&mut self, polls: usize) {
        let (tasks, query) = (&self.tasks, &mut self.query);
        let mut driver = Driver::new(self.stage.bell().clone(), Log::new(), Random::seed(!self.plan.seed))
            .max_polls(polls);
        let close = std::future::poll_fn(|cx| tasks.poll(cx, |cx| Pin::new(&mut *query).poll_close_all(cx)));
        match driver.complete(close) {
            Ok(_) => {
                self.is_closed = true;
                self.stage.log().assert_closed();
            }
            Err(End::OutOfPolls) => assert!(polls < usize::MAX),
            Err(end) => panic!("{end:?}"),
        }
    }

    fn check_stats(&self) {
        let stats = self.query.stats();
        for (source, answer) in stats.sources.iter().zip(&self.expected.answers) {
            let received = source.received().expect("sets count");
            assert!(received.frames <= answer.received.frames && received.series <= answer.received.series);
            assert!(source.items <= answer.responses.len() as u64);
        }
    }

    /// What came out is right, as far as it came; and nothing is left of anything.
    fn judge(mut self) {
        self.check_stats();
        self.others.sort_unstable();
        let limit = self.plan.limit.map_or(u64::MAX, u64::from);
        if self.is_shut_down {
            // Each series that came may lack chunks of a set that failed; but none is another.
            assert!(self.series.is_sorted_by(|a, b| a.labels < b.labels));
        } else if self.has_ended && !self.is_closed_early() {
            self.expected.assert_gives(&self.series, &self.others, self.errors, self.plan.strategy(), limit);
        } else {
            assert!(self.expected.series.starts_with(&self.series));
            assert!(self.series.len() as u64 <= limit);
        }
        drop(self.query);
        self.tasks.run_until_idle();
        assert_eq!(self.tasks.alive(), 0, "no task is left");
        self.stage.bell().ring_all();
        self.stage.log().assert_released();
        assert_eq!(self.ledger.snapshot().open, 0);
        if self.has_ended || self.is_closed {
            self.ledger.assert_balanced();
        }
        let figures = self.pool.snapshot();
        assert_eq!((figures.used_bytes, figures.reserved_bytes, figures.waiting), (0, 0, 0));
    }

    const fn is_closed_early(&self) -> bool {
        !matches!(self.plan.end, EndPlan::RunOut)
    }
}
