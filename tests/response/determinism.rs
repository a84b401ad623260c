//! Queries over replicas: whatever the schedule, the series that come out are those that the oracle says.

use futures::{StreamExt, stream};
use losertree::resource::BytePool;
use losertree::response::{
    PartialResponseStrategy, ProxyQuery, ResponseStats, RetrievalStrategy, SeriesOrder, Store, StoreWarnings,
    empty_sources,
};
use losertree::stream::SourceEnd;
use losertree::{Chunk, Labels, LeakLedger, Response, Series, Warning};
use losertree_testkit::{
    Checked, Driver, Log, QueryAnswer, Random, Script, ScriptedSource, SetRules, Stage, Tasks, Wake,
    random_store,
};
use quickcheck::QuickCheck;

type Scripted = Checked<ScriptedSource<Response>>;
type Frame = Result<Response, losertree::SourceError<losertree_testkit::TestError>>;

/// What is asked of some stores.
struct Plan {
    scripts: Vec<Script<Response>>,
    rules: SetRules,
    strategy: PartialResponseStrategy,
    limit: u64,
    batches: Option<(usize, usize)>,
    is_spawned: bool,
    budget_bytes: Option<usize>,
}

/// What came out, and of what the query is made.
struct Outcome {
    frames: Vec<Frame>,
    query: ProxyQuery<Scripted>,
    tasks: Tasks,
    stage: Stage,
    ledger: LeakLedger,
    pool: BytePool,
}

impl Plan {
    fn new(scripts: Vec<Script<Response>>) -> Self {
        Self {
            scripts,
            rules: SetRules::default(),
            strategy: PartialResponseStrategy::Abort,
            limit: u64::MAX,
            batches: None,
            is_spawned: true,
            budget_bytes: None,
        }
    }

    fn run(&self, seed: u64) -> Outcome {
        let stage = Stage::new();
        let tasks = Tasks::new(!seed);
        let ledger = LeakLedger::sites();
        let mut sets = self.rules.options();
        if self.is_spawned {
            let tasks = tasks.clone();
            sets = sets.spawn_with(move |task| tasks.spawn(task));
        }
        let budget = self.budget_bytes.unwrap_or(1 << 20);
        let pool =
            BytePool::builder().smallest_bytes(16).largest_bytes(64).budget_bytes(budget).build().unwrap();
        if self.budget_bytes.is_some() {
            sets = sets.pool(&pool);
        }
        let store = |script: &Script<Response>| {
            Store::opened(script.name.clone().unwrap(), stage.source(script.clone()))
        };
        let mut builder = ProxyQuery::builder()
            .stores(self.scripts.iter().map(store))
            .response_sets(sets)
            .partial_response(self.strategy)
            .limit(self.limit)
            .ledger(&ledger);
        if let Some((series, bytes)) = self.batches {
            builder = builder.batches(series, bytes);
        }
        let mut query = builder.build();
        // A set that fills its buffer itself does not follow its store while its head waits, so the log is not asked
        // whether something was missed when the query is idle.
        let mut driver = Driver::new(stage.bell().clone(), Log::new(), Random::seed(seed));
        let mut stream = stream::poll_fn(|cx| tasks.poll(cx, |cx| query.poll_next_unpin(cx)));
        let frames = driver.run(&mut stream).finished();
        drop(stream);
        Outcome { frames, query, tasks, stage, ledger, pool }
    }

    fn expected(&self) -> QueryAnswer {
        QueryAnswer::new(&self.rules, &self.scripts, self.strategy)
    }
}

impl Outcome {
    /// Asserts that nothing is left of anything, and returns what came out.
    fn released(self) -> Vec<Frame> {
        self.stage.log().assert_closed();
        drop(self.query);
        self.tasks.run_until_idle();
        assert_eq!(self.tasks.alive(), 0, "no task is left");
        self.ledger.assert_balanced();
        let figures = self.pool.snapshot();
        assert_eq!((figures.used_bytes, figures.reserved_bytes, figures.waiting), (0, 0, 0));
        self.frames
    }
}

/// The series, out of their batches; the others, sorted; the errors.
fn sorted_out(frames: Vec<Frame>) -> (Vec<Series>, Vec<String>, usize) {
    let (mut series, mut others, mut errors) = (Vec::new(), Vec::new(), 0);
    for frame in frames {
        match frame {
            Ok(Response::Series(one)) => series.push(one),
            Ok(Response::Batch(batch)) => series.extend(batch),
            Ok(other) => others.push(format!("{other:?}")),
            Err(_) => errors += 1,
        }
    }
    others.sort_unstable();
    (series, others, errors)
}

fn random_scripts(random: &mut Random, failing: f64) -> Vec<Script<Response>> {
    let stores = 1 + random.below(5);
    (0..stores)
        .map(|store| {
            let most = [3, 10, 20][random.below(3)];
            let mut script = random_store(random, &format!("store-{store}"), most);
            if random.chance(failing) {
                script.steps.truncate(random.below(script.steps.len() + 1));
                script = script.fail();
            }
            if random.chance(failing / 2.0) {
                script = script.close_fails();
            }
            script.with_pauses(random, 0.3)
        })
        .collect()
}

// F12, F13, F20
#[test]
fn a_query_gives_what_the_oracle_says() {
    fn property(seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let mut plan = Plan::new(random_scripts(&mut random, 0.2));
        plan.rules = SetRules::random(&mut random);
        if plan.rules.order == SeriesOrder::Trusted {
            plan.rules.order = SeriesOrder::Sorted;
        }
        plan.strategy = [PartialResponseStrategy::Abort, PartialResponseStrategy::Warn][random.below(2)];
        plan.rules.warnings = [StoreWarnings::Partial, StoreWarnings::Pass][random.below(2)];
        plan.limit = [0, 1, 3, u64::MAX, u64::MAX][random.below(5)];
        plan.batches = random.chance(0.5).then(|| (random.below(5), [0, 500, usize::MAX][random.below(3)]));
        plan.is_spawned = random.chance(0.7);
        let holds =
            plan.rules.retrieval == RetrievalStrategy::Eager || plan.rules.order != SeriesOrder::Checked;
        plan.budget_bytes = (!holds && random.chance(0.5)).then(|| [64, 300, 1_000][random.below(3)]);
        let expected = plan.expected();
        let outcome = plan.run(seed);
        let stats = outcome.query.stats();
        let is_whole = outcome.frames.iter().all(Result::is_ok) && plan.limit == u64::MAX;
        for (store, answer) in stats.sources.iter().zip(&expected.answers) {
            if is_whole {
                assert_eq!(store.received(), Some(answer.received));
                assert_eq!(store.items, answer.responses.len() as u64);
            }
        }
        assert!(stats.sources.iter().all(|source| source.end.is_some()));
        let (series, others, errors) = sorted_out(outcome.released());
        expected.assert_gives(&series, &others, errors, plan.strategy, plan.limit);
        true
    }
    QuickCheck::new().tests(5_000).quickcheck(property as fn(u64) -> bool);
}

fn replica(name: &str, pods: &[usize]) -> Vec<Series> {
    let series = |pod: &usize| {
        let pod = format!("pod-{pod:02}");
        let labels = Labels::from_pairs([("__name__", "up"), ("pod", &pod), ("replica", name)]).unwrap();
        // Chunks in no order, one that all replicas have and one that others do not.
        let chunks = vec![
            Chunk::new(5, 9, format!("{pod} of {name}").into_bytes()),
            Chunk::new(0, 4, pod.into_bytes()),
        ];
        Series::new(labels, chunks)
    };
    pods.iter().map(series).collect()
}

// F20
/// Everything that is not fixed is at random: when each store wakes, in which order tasks and the query get their turn,
/// and how frames are cut.
#[test]
fn replicas_give_the_same_under_a_thousand_schedules() {
    let pods = [(0..40).collect::<Vec<_>>(), (0..40).step_by(2).collect(), (10..50).collect()];
    for retrieval in [RetrievalStrategy::Lazy, RetrievalStrategy::Eager] {
        let mut first: Option<Vec<Series>> = None;
        for seed in 0..1_000 {
            let mut random = Random::seed(seed);
            let mut scripts = Vec::new();
            for (at, pods) in pods.iter().enumerate() {
                let name = ["a", "b", "c"][at];
                let mut script = Script::new().named(name);
                let mut rest = replica(name, pods).into_iter().peekable();
                while rest.peek().is_some() {
                    let length = random.below(6);
                    script = script.item(Response::Batch(rest.by_ref().take(length).collect()));
                }
                script = script.item(Warning::new(format!("{name} is slow")).into());
                scripts.push(script.with_pauses(&mut random, 0.3));
            }
            // So the order of the stores is at random too.
            random.shuffle(&mut scripts);
            let mut plan = Plan::new(scripts);
            plan.rules.retrieval = retrieval;
            plan.rules.order = SeriesOrder::Restored;
            plan.rules.removed_labels = vec!["replica".to_owned()];
            plan.rules.buffer_frames = 1 + random.below(8);
            plan.rules.warnings = StoreWarnings::Pass;
            let (series, others, errors) = sorted_out(plan.run(seed).released());
            assert_eq!((series.len(), others.len(), errors), (50, 3, 0));
            let got = series;
            assert!(got.iter().all(|series| series.chunks.is_sorted()));
            assert_eq!(&got, first.get_or_insert_with(|| got.clone()), "seed {seed}");
        }
    }
}

fn batch_of(name: &str, pods: &[usize]) -> Response {
    Response::Batch(replica(name, pods))
}

// F12, F13
#[test]
fn a_limit_counts_deduplicated_series_and_nothing_else() {
    for retrieval in [RetrievalStrategy::Lazy, RetrievalStrategy::Eager] {
        for limit in 0..8 {
            let script = |name: &str| {
                let frames = [
                    Warning::new("one").into(),
                    batch_of(name, &[0, 1, 2, 3]),
                    Response::Hints("two".into()),
                    Response::Batch(vec![]),
                    batch_of(name, &[4, 5]),
                ];
                Script::of(frames).named(name).pending(Wake::Later)
            };
            let mut plan = Plan::new(vec![script("a"), script("b"), script("c")]);
            plan.rules.retrieval = retrieval;
            plan.rules.removed_labels = vec!["replica".to_owned()];
            plan.rules.warnings = StoreWarnings::Pass;
            plan.limit = limit;
            let outcome = plan.run(limit);
            let polled = outcome.stage.log().sources().iter().map(|source| source.next_polls).sum::<usize>();
            assert_eq!(polled == 0, limit == 0, "with limit 0 no store is polled but to be closed");
            let (series, _, errors) = sorted_out(outcome.released());
            let pods: Vec<_> = series.iter().map(|one| one.labels.get("pod").unwrap().into_owned()).collect();
            let expected: Vec<_> = (0..limit.min(6)).map(|pod| format!("pod-{pod:02}")).collect();
            assert_eq!((pods, errors), (expected, 0));
            assert!(series.iter().all(|one| one.chunks.len() == 4), "with the chunks of all stores");
        }
    }
}

// F12
#[test]
fn the_last_batch_is_flushed_however_the_query_ends() {
    let sizes = |frames: &[Frame]| -> Vec<usize> {
        frames.iter().flatten().map(Response::series_count).filter(|count| *count > 0).collect()
    };
    let mut plan = Plan::new(vec![Script::of([batch_of("a", &[0, 1, 2, 3, 4, 5, 6])]).named("a")]);
    plan.batches = Some((3, usize::MAX));
    assert_eq!(sizes(&plan.run(1).released()), [3, 3, 1]);
    plan.limit = 5;
    assert_eq!(sizes(&plan.run(1).released()), [3, 2], "by the limit");
    plan.limit = u64::MAX;
    plan.batches = Some((usize::MAX, 2 * replica("a", &[0])[0].size_bytes()));
    assert_eq!(sizes(&plan.run(1).released()), [2, 2, 2, 1], "by bytes");
    plan.scripts.push(Script::new().fail().named("b"));
    plan.strategy = PartialResponseStrategy::Warn;
    assert_eq!(sizes(&plan.run(1).released()).iter().sum::<usize>(), 7, "though a store has failed");
}

#[test]
fn an_error_ends_the_query_or_becomes_a_warning() {
    let scripts = || {
        vec![
            Script::of([batch_of("a", &[0, 1])]).pending(Wake::Later).fail().named("a"),
            Script::of([batch_of("b", &[0, 1, 2])]).close_fails().named("b"),
            Script::of([batch_of("c", &[2]), batch_of("c", &[1])]).named("c"),
            Script::new().named("d"),
        ]
    };
    let mut plan = Plan::new(scripts());
    for seed in 0..100 {
        plan.strategy = PartialResponseStrategy::Abort;
        let outcome = plan.run(seed);
        let at = outcome.frames.iter().position(Result::is_err).unwrap();
        assert_eq!(at + 1, outcome.frames.len(), "after the error comes nothing");
        drop(outcome.released());

        plan.strategy = PartialResponseStrategy::Warn;
        let outcome = plan.run(seed);
        let stats = outcome.query.stats();
        assert!(stats.is_partial);
        assert_eq!(empty_sources(&stats), 1);
        let ends: Vec<_> = stats.sources.iter().map(|source| source.end.unwrap()).collect();
        let failed = SourceEnd::Failed;
        assert_eq!(ends, [failed, failed, failed, SourceEnd::Exhausted]);
        let names: Vec<_> = outcome
            .frames
            .iter()
            .filter_map(|frame| match frame {
                Ok(Response::Warning(warning)) => Some(warning.origin().name()?.into_owned()),
                _ => None,
            })
            .collect();
        let (series, others, errors) = sorted_out(outcome.released());
        assert_eq!((series.len(), others.len(), errors), (6, 3, 0));
        let mut names = names;
        names.sort_unstable();
        assert_eq!(names, ["a", "b", "c"], "a warning names its store");
    }
}
