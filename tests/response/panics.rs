//! A store that panics has failed, however it is received: the others go on, or the query ends with an error, and never does an
//! answer look complete that is not.

use std::panic::resume_unwind;

use futures::stream::poll_fn;
use futures::{Stream, StreamExt};
use losertree::error::{Cause, CloseError};
use losertree::response::{
    PartialResponseStrategy, ProxyQuery, ResponseSetOptions, RetrievalStrategy, Store,
};
use losertree::{Chunk, Labels, LeakLedger, Phase, Response, Series, SourceError};
use losertree_testkit::{
    Checked, Driver, Log, Random, Script, ScriptedSource, Stage, Tasks, TestError, Wake,
    silence_scripted_panics,
};

type Query = ProxyQuery<Checked<ScriptedSource<Response>>>;

fn series(key: usize) -> Response {
    let labels = Labels::from_pairs([("__name__", format!("s{key:04}"))]).unwrap();
    Series::new(labels, vec![Chunk::new(0, 1, "data")]).into()
}

/// How answers are received: in the background, by the set itself, as a whole.
fn retrievals(tasks: &Tasks) -> [ResponseSetOptions; 3] {
    let background = tasks.clone();
    [
        ResponseSetOptions::new().spawn_with(move |task| background.spawn(task)),
        ResponseSetOptions::new(),
        ResponseSetOptions::new().retrieval(RetrievalStrategy::Eager),
    ]
}

/// What a store does, how many series it gives before, and the phase in which that is told.
fn panicking() -> Vec<(Script<Response>, usize, Phase)> {
    let two = || Script::of([series(0), series(2)]);
    vec![
        (Script::new().panic(), 0, Phase::Filling),
        (Script::new().pending(Wake::Later).panic(), 0, Phase::Filling),
        (two().panic(), 2, Phase::Merging),
        (two().pending(Wake::Later).panic(), 2, Phase::Merging),
        (two().close_panics(), 2, Phase::Closing),
        (two().close_pending(Wake::Later).close_panics(), 2, Phase::Closing),
        (two().drop_panics(), 2, Phase::Closing),
    ]
}

/// The query, and the tasks between its polls.
fn polled<'a>(
    query: &'a mut Query,
    tasks: &'a Tasks,
) -> impl Stream<Item = Result<Response, SourceError<TestError>>> + Unpin + 'a {
    poll_fn(move |cx| tasks.poll(cx, |cx| query.poll_next_unpin(cx)))
}

struct Trial {
    stage: Stage,
    tasks: Tasks,
    ledger: LeakLedger,
    query: Query,
    driver: Driver,
}

impl Trial {
    fn new(script: Script<Response>, way: usize, strategy: PartialResponseStrategy, seed: u64) -> Self {
        let (stage, tasks, ledger) = (Stage::new(), Tasks::new(seed), LeakLedger::sites());
        let fine = Script::of([series(1), series(3)]).pending(Wake::Later).item(series(5));
        let query = ProxyQuery::builder()
            .store(Store::opened("bad", stage.source(script)))
            .store(Store::opened("fine", stage.source(fine.close_pending(Wake::Later))))
            .response_sets(retrievals(&tasks)[way].clone())
            .partial_response(strategy)
            .ledger(&ledger)
            .build();
        let driver = Driver::new(stage.bell().clone(), Log::new(), Random::seed(seed));
        Self { stage, tasks, ledger, query, driver }
    }

    fn run(&mut self) -> Vec<Result<Response, SourceError<TestError>>> {
        self.driver.run(&mut polled(&mut self.query, &self.tasks)).finished()
    }

    fn assert_released(&self) {
        self.stage.log().assert_released();
        self.ledger.assert_balanced();
        assert_eq!((self.ledger.snapshot().open, self.tasks.alive()), (0, 0));
    }
}

#[test]
fn with_warnings_a_store_that_panics_costs_its_own_answer_and_nothing_else() {
    silence_scripted_panics();
    for way in 0..3 {
        for (script, before, _) in panicking() {
            for seed in 0..5 {
                let context = format!("{way} {script:?}");
                let mut trial = Trial::new(script.clone(), way, PartialResponseStrategy::Warn, seed);
                let (mut warnings, mut answer) = (Vec::new(), Vec::new());
                for response in trial.run() {
                    match response.expect(&context) {
                        Response::Warning(warning) => warnings.push(warning),
                        series => answer.push(series),
                    }
                }
                assert!(warnings.len() == 1 && warnings[0].is_failure(), "{context}: {warnings:?}");
                assert_eq!(warnings[0].origin().name().as_deref(), Some("bad"));
                assert!(warnings[0].message().ends_with("the source panicked"), "{warnings:?}");
                let mut expected: Vec<_> = (0..before).map(|nth| 2 * nth).chain([1, 3, 5]).collect();
                expected.sort_unstable();
                assert_eq!(answer, expected.into_iter().map(series).collect::<Vec<_>>(), "{context}");
                assert!(trial.query.stats().is_partial);
                trial.assert_released();
            }
        }
    }
}

#[test]
fn with_abort_a_store_that_panics_ends_the_query_with_an_error() {
    silence_scripted_panics();
    for way in 0..3 {
        for (script, _, phase) in panicking() {
            for seed in 0..5 {
                let mut trial = Trial::new(script.clone(), way, PartialResponseStrategy::Abort, seed);
                let mut answer = trial.run();
                let error = answer.pop().unwrap().unwrap_err();
                assert_eq!(error.cause(), &Cause::Panicked, "{way} {script:?}");
                assert_eq!((error.phase(), error.path().name().as_deref()), (Some(phase), Some("bad")));
                assert!(answer.iter().all(Result::is_ok));
                trial.assert_released();
            }
        }
    }
}

#[test]
fn a_panic_that_was_not_told_is_told_by_close() {
    silence_scripted_panics();
    for way in 0..3 {
        for (script, ..) in panicking() {
            let mut trial = Trial::new(script.clone(), way, PartialResponseStrategy::Warn, 1);
            let taken = trial.driver.run_up_to(&mut polled(&mut trial.query, &trial.tasks), 2).oks();
            let warned = taken.iter().filter(|response| matches!(response, Response::Warning(_))).count();
            let Trial { query, tasks, driver, .. } = &mut trial;
            let closed =
                driver.complete(std::future::poll_fn(|cx| tasks.poll(cx, |cx| query.poll_close_all(cx))));
            let errors = closed.unwrap().err().map_or(vec![], CloseError::into_errors);
            assert!(errors.iter().all(|error| error.cause() == &Cause::Panicked), "{errors:?}");
            let has_panicked = trial.stage.log().sources()[0].ending
                == Some(losertree_testkit::Ending::Panicked)
                || script.drop_panics;
            assert_eq!(warned + errors.len(), usize::from(has_panicked), "{way} {script:?}");
            trial.assert_released();
        }
    }
}

#[test]
fn opening_and_functions_of_the_options_may_panic_too() {
    for way in 0..3 {
        let tasks = Tasks::new(1);
        let options = retrievals(&tasks)[way].clone();
        let stage = Stage::new();

        let source = |key| stage.source(Script::of([series(key)]));
        let unopened = Store::new("opening", async { resume_unwind(Box::new("as asked for")) });
        let counting = options.clone().count_samples(|_| resume_unwind(Box::new("as asked for")));
        let spawning = ResponseSetOptions::new().spawn_with(|_| resume_unwind(Box::new("as asked for")));
        let mut query = ProxyQuery::builder()
            .store(unopened)
            .store(Store::opened("counting", source(1)).with_options(counting))
            .store(Store::opened("spawning", source(2)).with_options(spawning))
            .store(Store::opened("fine", source(3)))
            .response_sets(options)
            .partial_response(PartialResponseStrategy::Warn)
            .build();
        let mut driver = Driver::new(stage.bell().clone(), Log::new(), Random::seed(1));
        let mut answer = driver.run(&mut polled(&mut query, &tasks)).ok();
        assert_eq!(answer.pop(), Some(series(3)));
        let mut names: Vec<_> = answer
            .iter()
            .map(|response| match response {
                Response::Warning(warning) => warning.origin().name().unwrap().into_owned(),
                other => panic!("{other:?}"),
            })
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["counting", "opening", "spawning"]);
        stage.log().assert_released();
    }
}
