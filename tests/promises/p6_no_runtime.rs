//! P6: the core spawns nothing and needs no executor.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, Waker};
use std::thread;

use futures::StreamExt;
use losertree::ProxyResponseLoserTree;
use losertree_testkit::{Random, Runs, Script, Stage, assert_merged};

/// A merge is polled by hand, on a thread that has no executor.
#[test]
fn a_waker_that_does_nothing_is_enough() {
    let stage = Stage::new();
    let runs = Runs::<u64>::random(&mut Random::seed(1), 60);
    let sources = stage.sources_of(runs.clone().into_vec(), &mut Random::seed(2), 0.3);
    let mut merge = ProxyResponseLoserTree::new(sources);
    let mut cx = Context::from_waker(Waker::noop());
    let mut merged = Vec::new();
    loop {
        match merge.poll_next_unpin(&mut cx) {
            Poll::Ready(Some(item)) => merged.push(item.expect("nothing fails")),
            Poll::Ready(None) => break,
            Poll::Pending => {
                stage.bell().ring_all();
            }
        }
    }
    assert_merged(&merged, runs.as_slice());
    stage.log().assert_closed();
}

/// The merge moves between threads, and is polled from wherever it is.
#[test]
fn a_merge_moves_between_threads() {
    let stage = Stage::new();
    let mut merge = ProxyResponseLoserTree::new(stage.sources((0..4).map(|i| Script::of([i, i + 4]))));
    for expected in 0..8 {
        merge = thread::spawn(move || {
            let item = futures::executor::block_on(merge.next());
            assert_eq!(item, Some(Ok(expected)));
            merge
        })
        .join()
        .expect("the thread does not panic");
    }
    futures::executor::block_on(merge.close()).expect("nothing fails");
    stage.log().assert_closed();
}

/// The code starts no thread and no task. Response sets do, in one place, where there is a runtime of tokio or a function
/// of the user's; and so does what closes in the background, which is told where.
#[test]
fn the_code_spawns_nothing() {
    fn files_below(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("the folder is there");
        let paths = entries.map(|entry| entry.expect("the entry can be read").path());
        paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = files_below(&source);
    assert!(files.len() > 30);
    for file in files {
        let text = fs::read_to_string(&file).expect("the file can be read");
        // Wherever the clone is.
        let path = file.strip_prefix(&source).expect("it is below");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let is_of_sets = path.components().any(|part| part.as_os_str() == "response");
        for line in code {
            let is_in_background = path.ends_with("closer.rs") || path.ends_with("close_on_drop.rs");
            let may_spawn = is_of_sets || is_in_background;
            assert!(may_spawn || !line.contains("spawn"), "{}: {line}", path.display());
            let may_know_tokio = path.ends_with("lazy_response_set.rs") || path.ends_with("timers.rs");
            assert!(!is_of_sets || may_know_tokio || !line.contains("tokio::"), "{}: {line}", path.display());
        }
    }
}

/// What the library is built on by default: nothing that brings a runtime.
#[test]
fn the_dependencies_bring_no_runtime() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("Cargo.toml is there");
    let table = |name: &str| {
        let table = manifest.split(&format!("\n[{name}]\n")).nth(1).expect("the table is there");
        let table = table.split("\n[").next().expect("up to the next table");
        let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| line.split_once(" = ").expect("a name and a value")).collect::<BTreeMap<_, _>>()
    };
    let (dependencies, features) = (table("dependencies"), table("features"));
    let mut enabled: Vec<_> = dependencies.keys().copied().collect();
    enabled.retain(|name| !dependencies[name].contains("optional = true"));
    assert_eq!(enabled, ["smallvec", "thiserror"]);
    let mut wanted = vec!["default"];
    while let Some(feature) = wanted.pop() {
        for name in features[feature].trim_matches(['[', ']']).split(", ") {
            match name.trim_matches('"').split_once(':') {
                Some((_, dependency)) => enabled.push(dependency),
                None => wanted.push(name.trim_matches('"')),
            }
        }
    }
    enabled.sort_unstable();
    enabled.dedup();
    assert_eq!(enabled, ["bytes", "futures", "pin-project-lite", "smallvec", "thiserror", "twox-hash"]);
    let futures = dependencies["futures"];
    assert!(futures.contains("default-features = false") && !futures.contains("executor"), "{futures}");
}
