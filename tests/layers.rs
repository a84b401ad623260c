//! Each layer imports only from layers below it, files import each other in no cycles but those that are named here, and the
//! library forbids unsafe code.

// A test fails by panicking.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The layer of each module of `src/`. Modules of one layer do not know each other.
const LAYERS: [(&str, u32); 13] = [
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

/// What layer 0 may share: the tournament plays by an order, errors name a source or a pool, resources have locks and
/// wake others.
const WITHIN_LAYER: [(&str, &str); 6] = [
    ("tree", "key"),
    ("error", "source_id"),
    ("error", "resource"),
    ("resource", "clock"),
    ("resource", "sync"),
    ("resource", "contain_panic"),
];

/// The imports that close a cycle of files, and why they stay. Without them there is none.
const CYCLES: &[(&str, &str, &str)] = &[
    (
        "merge/runs/entry",
        "merge/runs/cascade",
        "an entry is a place in a run of the cascade, which moves entries",
    ),
    ("resource/byte_lease", "resource/byte_pool", "a pool makes leases, and a lease goes back to its pool"),
    (
        "resource/reservation",
        "resource/byte_pool",
        "a pool makes reservations, which charge and give back to it",
    ),
    ("response/client", "response/response_set", "a set is made of a client, which goes by its options"),
    (
        "response/sorted_client",
        "response/response_set",
        "a set is made of a client, which sorts by its options",
    ),
    (
        "response/store",
        "response/response_set",
        "a set is made of a store, which may have options of its own",
    ),
    ("stream/adaptors", "stream/source", "a source makes its adaptors, which are sources"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All files of `src/`, by their modules: `stream/mod.rs` is `["stream"]`, and `lib.rs` is `[]`.
fn files() -> BTreeMap<Vec<String>, PathBuf> {
    let mut folders = vec![root()];
    let mut files = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("the entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(root()).expect("below the root").with_extension("");
                let names = inside.iter().map(|name| name.to_string_lossy().into_owned());
                files.insert(names.filter(|name| name != "mod" && name != "lib").collect(), path);
            }
        }
    }
    files
}

/// What the code of a file names.
#[derive(Debug, Default)]
struct Names {
    /// The paths in its code, as they are written: `["super", "source", "Source"]`.
    imported: Vec<Vec<String>>,
    /// The paths that it re-exports, by name.
    exported: BTreeMap<String, Vec<String>>,
}

impl Names {
    fn read(text: &str) -> Self {
        let without_tests = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let mut lines = without_tests.lines().map(|line| line.split("//").next().unwrap_or_default());
        let mut names = Self::default();
        // The indentations of the modules within the file that a line is in. rustfmt has seen to them.
        let mut within: Vec<usize> = Vec::new();
        while let Some(line) = lines.next() {
            let code = line.trim_start();
            let indentation = line.len() - code.len();
            if code.trim_end() == "}" && within.last() == Some(&indentation) {
                within.pop();
            }
            let (visibility, item) = split_visibility(code);
            if item.starts_with("mod ") && item.trim_end().ends_with('{') {
                within.push(indentation);
            }
            let Some(tree) = item.strip_prefix("use ") else {
                names.imported.extend(paths_in(item).into_iter().map(|path| outside(path, within.len())));
                continue;
            };
            let mut tree = tree.to_owned();
            while !tree.contains(';') {
                tree.push_str(lines.next().expect("the end of the statement"));
            }
            for (path, name) in paths_of(tree.split(';').next().unwrap_or_default()) {
                let path = outside(path, within.len());
                if visibility.is_empty() {
                    names.imported.push(path);
                } else {
                    names.exported.insert(name, path);
                }
            }
        }
        names
    }
}

/// Splits off `pub` or `pub(in super)`.
fn split_visibility(code: &str) -> (&str, &str) {
    let Some(rest) = code.strip_prefix("pub") else { return ("", code) };
    let end = if rest.starts_with('(') { rest.find(')').map_or(0, |end| end + 1) } else { 0 };
    let (visibility, item) = code.split_at("pub".len() + end);
    (visibility, item.trim_start())
}

/// What a path is outside of so many modules within the file.
fn outside(path: Vec<String>, depth: usize) -> Vec<String> {
    let supers = path.iter().take(depth).take_while(|name| *name == "super").count();
    if supers == 0 { path } else { [&["self".to_owned()], &path[supers..]].concat() }
}

const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The paths in a line of code that begin in this crate.
fn paths_in(line: &str) -> Vec<Vec<String>> {
    let is_of_path = |byte: &u8| is_of_name(*byte) || *byte == b':';
    let mut paths = Vec::new();
    for word in line.as_bytes().split(|byte| !is_of_path(byte)) {
        let names = word.split(|byte| *byte == b':').filter(|name| !name.is_empty());
        let path: Vec<_> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        if path.len() > 1 && ["crate", "super", "self"].contains(&&*path[0]) {
            paths.push(path);
        }
    }
    paths
}

/// The paths of a tree of imports such as `super::{Held, node::{self, Node as Place}}`, and the names they get.
fn paths_of(tree: &str) -> Vec<(Vec<String>, String)> {
    let tree = tree.trim();
    let Some((before, list)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
        let path: Vec<_> = path.split("::").map(|name| name.trim().to_owned()).collect();
        let path =
            path.strip_suffix(&["self".to_owned()]).filter(|path| !path.is_empty()).unwrap_or(&path).to_vec();
        let name =
            if alias.is_empty() { path.last().cloned().unwrap_or_default() } else { alias.trim().to_owned() };
        return vec![(path, name)];
    };
    let list = list.strip_suffix('}').expect("a closed list");
    let mut depth = 0;
    let items = list.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let items = items.filter(|item| !item.trim().is_empty());
    items.flat_map(|item| paths_of(&format!("{before}{}", item.trim()))).collect()
}

/// The modules of the crate and what they name.
struct Crate(BTreeMap<Vec<String>, Names>);

impl Crate {
    fn read() -> Self {
        let read = |path: PathBuf| Names::read(&fs::read_to_string(path).expect("the file can be read"));
        Self(files().into_iter().map(|(module, path)| (module, read(path))).collect())
    }

    /// Which module defines what a path names that stands in a module; `None` if it is of another crate.
    fn definer(&self, from: &[String], path: &[String]) -> Option<Vec<String>> {
        let mut module = from.to_vec();
        for (index, name) in path.iter().enumerate() {
            match &**name {
                "crate" => module.clear(),
                "self" | "*" => {}
                "super" => drop(module.pop()),
                _ => {
                    let child = [&*module, std::slice::from_ref(name)].concat();
                    if self.0.contains_key(&child) {
                        module = child;
                    } else if let Some(exported) = self.0[&module].exported.get(name) {
                        // A macro is exported by its own name from where it is.
                        if exported == std::slice::from_ref(name) {
                            return Some(module);
                        }
                        // What is of another crate, or of a module within the file, is of whoever exports it.
                        return self.definer(&module, exported).or(Some(module));
                    } else {
                        // An item, or the first name of a path of another crate.
                        return (index > 0).then_some(module);
                    }
                }
            }
        }
        Some(module)
    }

    /// From which modules each imports.
    fn imports(&self) -> BTreeMap<String, BTreeSet<String>> {
        let imports = self.0.iter().map(|(module, names)| {
            let definers = names.imported.iter().filter_map(|path| self.definer(module, path));
            (
                module.join("/"),
                definers.filter(|definer| definer != module).map(|definer| definer.join("/")).collect(),
            )
        });
        imports.collect()
    }
}

fn layer_of(module: &str) -> u32 {
    let known = LAYERS.iter().find(|(name, _)| *name == module);
    known.unwrap_or_else(|| panic!("module {module} is in no layer: add it to LAYERS")).1
}

#[test]
fn imports_go_downwards() {
    let top = |module: &str| module.split('/').next().unwrap_or_default().to_owned();
    let mut checked = 0;
    for (module, imports) in Crate::read().imports() {
        for imported in imports.iter().filter(|_| !module.is_empty()) {
            let (from, to) = (top(&module), top(imported));
            let is_allowed =
                from == to || layer_of(&to) < layer_of(&from) || WITHIN_LAYER.contains(&(&*from, &*to));
            assert!(
                is_allowed,
                "{module} of layer {} imports {imported} of layer {}",
                layer_of(&from),
                layer_of(&to)
            );
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} imports were found: the reading of them is broken");
}

/// A cycle of imports, if there is one.
fn cycle(imports: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    // What imports nothing, or only what is in no cycle, is in none.
    let mut left = imports.clone();
    while let Some(module) =
        left.iter().find(|(_, imports)| imports.is_empty()).map(|(module, _)| module.clone())
    {
        left.remove(&module);
        for imports in left.values_mut() {
            imports.remove(&module);
        }
    }
    let mut path = vec![left.first_key_value()?.0.clone()];
    loop {
        let next = left[path.last()?].first()?.clone();
        if let Some(start) = path.iter().position(|module| *module == next) {
            return Some(path.split_off(start));
        }
        path.push(next);
    }
}

#[test]
fn files_import_each_other_in_no_cycle_but_those_that_are_named() {
    let mut imports = Crate::read().imports();
    for (from, to, reason) in CYCLES {
        let is_there = imports.get_mut(*from).is_some_and(|imports| imports.remove(*to));
        assert!(is_there, "{from} does not import {to} any more: {reason}");
    }
    if let Some(cycle) = cycle(&imports) {
        panic!("a cycle of imports: {}", cycle.join(" -> "));
    }
    for (from, to, reason) in CYCLES {
        let restored = |set: &mut BTreeSet<String>| set.insert((*to).to_owned());
        assert!(imports.get_mut(*from).is_some_and(restored));
        assert!(cycle(&imports).is_some(), "{from} may import {to} without being named: {reason}");
        imports.get_mut(*from).map(|set| set.remove(*to));
    }
}

#[test]
fn imports_name_the_module_that_defines() {
    let sources = Crate::read();
    for (module, names) in &sources.0 {
        let of_root = |path: &&Vec<String>| {
            path[0] == "crate"
                && path.get(1).is_some_and(|name| sources.0[&vec![]].exported.contains_key(name))
        };
        // A module and a function may share a name.
        let found = names.imported.iter().filter(of_root).find(|path| !sources.0.contains_key(&path[1..2]));
        assert_eq!(found, None, "{} imports from the root of the crate", module.join("/"));
    }
}

#[test]
fn the_reading_of_imports_finds_them() {
    let names = Names::read(
        "use std::fmt;\n\
         // use crate::stream::Source;\n\
         use super::node::{self, Node as Place};\n\
         pub(crate) use slot::{\n    Slot,\n    state::State,\n};\n\
         fn walk(source: &crate::key::Order) -> super::Held { held::new() }\n\
         pub(super) mod names {\n    use super::Slot;\n    pub(in super::super) fn name() -> super::super::Name {}\n}\n\
         #[cfg(test)]\nmod tests {\n    use super::*;\n}\n",
    );
    let imported: Vec<_> = names.imported.iter().map(|path| path.join("::")).collect();
    assert_eq!(
        imported,
        [
            "std::fmt",
            "super::node",
            "super::node::Node",
            "crate::key::Order",
            "super::Held",
            "self::Slot",
            "self::super::Name"
        ]
    );
    let exported: Vec<_> = names.exported.iter().map(|(name, path)| (&**name, path.join("::"))).collect();
    assert_eq!(exported, [("Slot", "slot::Slot".to_owned()), ("State", "slot::state::State".to_owned())]);

    let module =
        |path: &str| path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let read = [
        ("", "pub use stream::Slot;"),
        ("stream", "pub use slot::Slot;"),
        ("stream/slot", "use crate::key::Order;\npub(super) use fill;"),
        (
            "stream/drive",
            "use super::Slot;\nuse super::slot::{fill, gone};\nuse crate::Slot;\nuse smallvec::SmallVec;",
        ),
        ("key", ""),
    ];
    let read = Crate(read.iter().map(|(path, text)| (module(path), Names::read(text))).collect());
    let mut imports = read.imports();
    assert_eq!(imports["stream/slot"], BTreeSet::from(["key".to_owned()]));
    assert_eq!(imports["stream/drive"], BTreeSet::from(["stream/slot".to_owned()]));
    assert_eq!(cycle(&imports), None);
    imports.get_mut("key").unwrap().insert("stream/drive".to_owned());
    assert_eq!(cycle(&imports).unwrap().len(), 3);
}

/// F72: what reads the clock elsewhere panics where there is none.
#[test]
fn the_clock_is_read_in_one_place_and_that_of_a_runtime_in_another() {
    let reads = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("the file can be read");
        ["Instant::now", "SystemTime"].iter().any(|read| text.contains(read))
    };
    let mut readers: Vec<_> = files().into_values().filter(reads).collect();
    readers.sort();
    assert_eq!(readers, ["clock.rs", "response/timers.rs"].map(|file| root().join(file)));
}

/// The table of promises in DESIGN.md names files that are there, and each file that keeps a promise says its number.
#[test]
fn the_design_says_where_each_promise_is_kept_and_tested() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let design = fs::read_to_string(repository.join("DESIGN.md")).expect("DESIGN.md is there");
    let rows = design.lines().filter(|line| line.starts_with("| P"));
    let mut promises = 0;
    for row in rows {
        let [_, name, _, kept, tested, _] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!("not a row of the table: {row}");
        };
        promises += 1;
        let number = name.split_whitespace().next().expect("a row begins with its number");
        assert_eq!(number, format!("P{promises}"));
        let quoted = |cell: &str| {
            let words = cell.split('`').skip(1).step_by(2).map(str::to_owned);
            words.filter(|word| word.contains('/') || word.contains('.')).collect::<Vec<_>>()
        };
        let (keepers, tests) = (quoted(kept), quoted(tested));
        assert!(!keepers.is_empty() && !tests.is_empty(), "{number}");
        for keeper in keepers {
            let text = fs::read_to_string(root().join(&keeper));
            let text = text.unwrap_or_else(|_| panic!("{number}: no file src/{keeper}"));
            let mut words = text.split(|c: char| !c.is_alphanumeric());
            assert!(words.any(|word| word == number), "src/{keeper} does not say {number}");
        }
        for test in tests {
            let file = repository.join("tests").join(format!("{test}.rs"));
            assert!(file.is_file(), "{number}: no file tests/{test}.rs");
        }
    }
    assert!(promises >= 16);
}

#[test]
fn unsafe_code_is_forbidden() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .expect("Cargo.toml is there");
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    let root = fs::read_to_string(root().join("lib.rs")).expect("lib.rs is there");
    assert!(root.contains("#![forbid(unsafe_code)]"));
}
