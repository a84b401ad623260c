//! The example programs, built as the tests are.

use std::path::PathBuf;
use std::process::Command;

/// The features that this test is built with. With the same ones, there is little left to build.
const FEATURES: [(&str, bool); 3] = [
    ("metrics", cfg!(feature = "metrics")),
    ("tokio", cfg!(feature = "tokio")),
    ("tracing", cfg!(feature = "tracing")),
];

/// Builds an example and returns its path. Cargo has no variable for examples, and does not build them where a
/// single test is run.
pub(crate) fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile_dir = test.parent().unwrap().parent().unwrap();
    let profile = match profile_dir.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let features: Vec<_> = FEATURES.iter().filter(|(_, is_on)| *is_on).map(|(name, _)| *name).collect();
    let built = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--example", name, "--profile", profile])
        .args(["--features", &features.join(","), "--target-dir"])
        .arg(profile_dir.parent().unwrap())
        .status()
        .unwrap();
    assert!(built.success());
    profile_dir.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}
