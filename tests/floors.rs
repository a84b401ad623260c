//! Each floor imports only from floors below it, and the library forbids unsafe code.

// A test fails by panicking.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// The floor of each module of `src/`. Modules on one floor do not know each other.
const FLOORS: [(&str, u32); 13] = [
    ("clock", 0),
    ("contain_panic", 0),
    ("sync", 0),
    ("key", 0),
    ("tree", 0),
    ("resource", 0),
    ("source_id", 0),
    ("error", 0),
    ("merge", 1),
    ("observe", 1),
    ("series", 1),
    ("stream", 2),
    ("response", 3),
];

/// What floor 0 may share: the tournament plays by an order, errors name a source or a pool, resources have locks and
/// wake others.
const WITHIN_FLOOR: [(&str, &str); 6] = [
    ("tree", "key"),
    ("error", "source_id"),
    ("error", "resource"),
    ("resource", "clock"),
    ("resource", "sync"),
    ("resource", "contain_panic"),
];

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            files_below(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn sources() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    files_below(&root, &mut files);
    files
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(&root).expect("below the root");
            let module = inside.components().next().expect("not empty").as_os_str();
            let module = Path::new(module).file_stem().expect("a name").to_string_lossy().into_owned();
            (module, path)
        })
        .collect()
}

fn floor(module: &str) -> u32 {
    let known = FLOORS.iter().find(|(name, _)| *name == module);
    known.unwrap_or_else(|| panic!("module {module} stands on no floor: add it to FLOORS")).1
}

/// The modules that the code of a file names after `crate::`, items of the crate's root resolved.
fn imports(text: &str) -> Vec<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut modules = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let names = rest.strip_prefix('{').map_or_else(
            || vec![rest],
            |list| list.split('}').next().expect("a closed list").split(',').collect(),
        );
        for name in names {
            let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                modules.push(name);
            }
        }
    }
    modules
}

/// Which module an item re-exported at the root comes from: the `pub use` lines of `lib.rs`.
fn module_of(item: &str, root: &str) -> String {
    if FLOORS.iter().any(|(name, _)| *name == item) {
        return item.to_owned();
    }
    for statement in root.split("pub use ").skip(1) {
        let statement = statement.split(';').next().expect("a statement");
        let names = statement.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        if names.clone().any(|name| name == item) {
            return names.into_iter().next().expect("a path").to_owned();
        }
    }
    panic!("`crate::{item}` is neither a module nor re-exported in lib.rs");
}

#[test]
fn imports_go_downwards() {
    let root = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"))
        .expect("lib.rs is there");
    let mut checked = 0;
    for (module, path) in sources() {
        if module == "lib" {
            continue;
        }
        let text = fs::read_to_string(&path).expect("the file can be read");
        for item in imports(&text) {
            let imported = module_of(&item, &root);
            let is_allowed = imported == module
                || floor(&imported) < floor(&module)
                || WITHIN_FLOOR.contains(&(&*module, &*imported));
            assert!(
                is_allowed,
                "{}: floor {} imports {imported} of floor {}",
                path.display(),
                floor(&module),
                floor(&imported)
            );
            checked += 1;
        }
    }
    assert!(checked > 20, "only {checked} imports were found: the reading of them is broken");
}

#[test]
fn the_reading_of_imports_finds_them() {
    let text = "use crate::key::Order;\n// use crate::stream::Source;\nuse crate::{SourceError, tree};";
    assert_eq!(imports(text), ["key", "SourceError", "tree"]);
    assert_eq!(module_of("SourceError", "pub use key::X;\npub use error::{Phase, SourceError};"), "error");
}

/// F72: what reads the clock elsewhere panics where there is none.
#[test]
fn the_clock_is_read_in_one_place_and_that_of_a_runtime_in_another() {
    let reads = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("the file can be read");
        ["Instant::now", "SystemTime"].iter().any(|read| text.contains(read))
    };
    let mut readers: Vec<_> = sources().into_iter().map(|(_, path)| path).filter(reads).collect();
    readers.sort();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(readers, ["clock.rs", "response/alarm.rs"].map(|file| root.join(file)));
}

#[test]
fn unsafe_code_is_forbidden() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .expect("Cargo.toml is there");
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    let root = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"))
        .expect("lib.rs is there");
    assert!(root.contains("#![forbid(unsafe_code)]"));
}
