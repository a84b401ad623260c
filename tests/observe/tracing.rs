//! A merge has one span, and each source the events of what becomes of it, on every path.

use std::fmt::{self, Debug, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use losertree::ProxyResponseLoserTree;
use losertree_testkit::{Checked, Script, ScriptedSource, Stage, silence_scripted_panics};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// What was told, a line each: `new merge …`, `record …`, `WARN source failed … in merge`, `close merge`.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn add(&self, line: String) {
        self.0.lock().expect("not poisoned").push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("not poisoned").clone()
    }

    /// How many lines contain each of the texts.
    fn count(&self, texts: &[&str]) -> usize {
        self.lines().iter().filter(|line| texts.iter().all(|text| line.contains(text))).count()
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            write!(self.others, " {}={value:?}", field.name()).expect("a string");
        }
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.message, self.others)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Told {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        self.add(format!("new {}{fields}", attributes.metadata().name()));
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        self.add(format!("record{fields}"));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        assert_eq!(event.metadata().target(), "losertree");
        let span = context.event_span(event).expect("in a span").name();
        self.add(format!("{} {fields} in {span}", event.metadata().level()));
    }

    fn on_enter(&self, _: &Id, _: Context<'_, S>) {
        panic!("the span is entered");
    }

    fn on_close(&self, _: Id, _: Context<'_, S>) {
        self.add("close".to_owned());
    }
}

type Store = Checked<ScriptedSource<u64>>;

/// Tells what happens to a merge of these sources in `run`.
fn told(
    scripts: impl IntoIterator<Item = Script<u64>>,
    run: impl FnOnce(ProxyResponseLoserTree<Store>, &Stage),
) -> Told {
    silence_scripted_panics();
    let told = Told::default();
    let stage = Stage::new();
    let sources: Vec<_> = stage.sources(scripts).into_iter().collect();
    let count = sources.len();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(told.clone()), || {
        run(ProxyResponseLoserTree::builder().name("select").sources(sources).build(), &stage);
    });
    assert_eq!(told.count(&["new merge"]), 1);
    assert_eq!(told.count(&["record end="]), 1, "{:#?}", told.lines());
    assert_eq!(told.lines().last().map(String::as_str), Some("close"));
    assert_eq!(told.lines().iter().filter(|line| *line == "close").count(), 1);
    for source in 0..count {
        let releases = ["source closed", "source handed back", "source dropped unclosed"];
        let count = releases.map(|release| told.count(&[release, &format!("source={source} ")])).iter().sum();
        assert_eq!((source, 1_usize), (source, count), "{:#?}", told.lines());
    }
    told
}

fn of(items: impl IntoIterator<Item = u64>) -> Script<u64> {
    Script::of(items)
}

#[test]
fn a_merge_that_runs_to_its_end() {
    let told = told([of([1, 3]).named("a"), of([2])], |mut merge, stage| {
        let _ = stage.driver(0).run(&mut merge);
    });
    assert_eq!(
        told.lines(),
        [
            r#"new merge name="select" sources=2"#,
            r"DEBUG source ended source=1 in merge",
            r#"DEBUG source closed source=1 end="exhausted" in merge"#,
            r#"DEBUG source ended source=0 name="a" in merge"#,
            r#"DEBUG source closed source=0 name="a" end="exhausted" in merge"#,
            r#"record end="closed""#,
            r"record items=3",
            r"record is_partial=false",
            "close",
        ]
    );
}

#[test]
fn a_source_that_fails() {
    let told = told([of([1]).fail(), of([2, 3]), of([4])], |mut merge, stage| {
        let _ = stage.driver(0).run(&mut merge);
    });
    assert_eq!(
        told.count(&["WARN source failed", "source=0 ", "phase=\"merging\""]),
        1,
        "{:#?}",
        told.lines()
    );
    assert_eq!(told.count(&["source failed"]), 1);
    assert_eq!(told.count(&["DEBUG source closed", "source=0 ", "end=\"failed\""]), 1);
    assert_eq!(told.count(&["DEBUG source closed", "end=\"closed_early\""]), 2);
}

#[test]
fn a_source_that_fails_to_close() {
    let told = told([of([1]).close_fails(), of([2])], |mut merge, stage| {
        let _ = stage.driver(0).run(&mut merge);
    });
    assert_eq!(
        told.count(&["WARN source failed", "source=0 ", "phase=\"closing\""]),
        1,
        "{:#?}",
        told.lines()
    );
    assert_eq!(told.count(&["source closed", "source=0 ", "end=\"failed\""]), 1);
}

#[test]
fn a_merge_that_is_dropped() {
    for taken in 0..3 {
        let told = told([of([1, 4]), of([2, 5]), of([3, 6])], |mut merge, stage| {
            let _ = stage.driver(0).run_up_to(&mut merge, taken);
        });
        assert_eq!(told.count(&["WARN source dropped unclosed"]), 3);
        assert_eq!(told.count(&[r#"record end="dropped_unclosed""#]), 1);
    }
}

#[test]
fn a_merge_that_is_closed_or_taken_apart() {
    let closed = told([of([1]), of([2])], |mut merge, stage| {
        let _ = stage.driver(0).complete(merge.close());
    });
    assert_eq!(closed.count(&["DEBUG source closed", "end=\"closed_early\""]), 2);
    let handed_back = told([of([1]), of([2])], |merge, _| drop(merge.into_sources()));
    assert_eq!(handed_back.count(&["DEBUG source handed back"]), 2);
    assert_eq!(handed_back.count(&[r#"record end="handed_back""#]), 1);
}

#[test]
fn panics() {
    let drop_panics = told([of([1, 4]).drop_panics(), of([2])], |mut merge, stage| {
        let _ = stage.driver(0).run_up_to(&mut merge, 1);
    });
    assert_eq!(drop_panics.count(&["WARN source dropped unclosed"]), 2);

    let unpolled = told([of([1]).panic(), of([2, 3])], |mut merge, stage| {
        let _ = catch_unwind(AssertUnwindSafe(|| stage.driver(0).run(&mut merge)));
    });
    assert_eq!(unpolled.count(&["source dropped unclosed"]), 2, "{:#?}", unpolled.lines());

    let closed = told([of([1]).panic(), of([2, 3])], |mut merge, stage| {
        let _ = catch_unwind(AssertUnwindSafe(|| stage.driver(0).run(&mut merge)));
        let _ = catch_unwind(AssertUnwindSafe(|| stage.driver(0).complete(merge.close())));
    });
    assert_eq!(closed.count(&["WARN source panicked", "source=0 "]), 1, "{:#?}", closed.lines());
    assert_eq!(closed.count(&["source dropped unclosed", "source=0 ", "end=\"panicked\""]), 1);
    assert_eq!(closed.count(&["source closed", "source=1 "]), 1);
}

#[test]
fn a_source_that_is_pushed() {
    let told = told([of([1])], |mut merge, stage| {
        assert_eq!(merge.push(stage.source(of([2]).named("late"))).expect("still merging"), 1);
        let _ = stage.driver(0).run(&mut merge);
    });
    assert_eq!(told.count(&["source closed", r#"source=1 name="late""#]), 1);
}
