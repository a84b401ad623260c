//! P6: the core spawns nothing and needs no executor.

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
            let is_in_background = path.components().any(|part| part.as_os_str() == "close_on_drop");
            let may_spawn = is_of_sets || is_in_background;
            assert!(may_spawn || !line.contains("spawn"), "{}: {line}", path.display());
            let may_know_tokio = path.ends_with("spawner.rs") || path.ends_with("alarm.rs");
            assert!(!is_of_sets || may_know_tokio || !line.contains("tokio::"), "{}: {line}", path.display());
        }
    }
}

/// What the library is built on: nothing that brings a runtime.
#[test]
fn the_dependencies_bring_no_runtime() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("Cargo.toml is there");
    let dependencies = manifest.split("\n[dependencies]\n").nth(1).expect("there are dependencies");
    let dependencies = dependencies.split("\n[").next().expect("up to the next table");
    let required: Vec<_> = dependencies
        .lines()
        .filter(|line| !line.contains("optional = true"))
        .filter_map(|line| line.split(['=', ' ', '.']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .collect();
    assert_eq!(required, ["bytes", "futures", "pin-project-lite", "smallvec", "thiserror", "twox-hash"]);
    let futures = dependencies.lines().find(|line| line.starts_with("futures ")).expect("a line");
    assert!(futures.contains("default-features = false") && !futures.contains("executor"), "{futures}");
}
