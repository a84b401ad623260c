//! The example programs, built as the tests are.

use std::path::PathBuf;
use std::process::Command;

/// The repository, which is where its readers run the programs.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The features that this test is built with. With the same ones, for the same packages, there is nothing left to build.
const FEATURES: &[&str] = if cfg!(all(feature = "metrics", feature = "tokio")) {
    &["--all-features"]
} else if cfg!(feature = "metrics") {
    &["--features", "metrics"]
} else if cfg!(feature = "tokio") {
    &["--features", "tokio"]
} else {
    &[]
};

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
    let built = Command::new(cargo)
        .current_dir(ROOT)
        .args(["build", "--quiet", "--workspace", "--example", name, "--profile", profile])
        .args(FEATURES)
        .arg("--target-dir")
        .arg(profile_dir.parent().unwrap())
        .status()
        .unwrap();
    assert!(built.success());
    profile_dir.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}
