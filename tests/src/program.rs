//! The project's programs, built when a test first asks for them, so that they are the present ones.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The path of `osprey`, `osprey-cli` or another program of the host, built with the same profile as the tests.
///
/// # Panics
/// It does not compile.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    built(["--package", "osprey", "--bin", name], "")
}

/// The path of an example of the core, as [`program`].
///
/// # Panics
/// It does not compile.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    built(["--package", "osprey-core", "--example", name], "examples")
}

fn built(which: [&str; 4], below: &str) -> PathBuf {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let [.., name] = which;
    let directory = profile_directory();
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !built.contains(name) {
        let profile = match directory.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            profile => profile,
        };
        let mut build = cargo();
        build.args(["build", "--quiet"]).args(which).args(["--profile", profile, "--target-dir"]);
        build.arg(directory.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(build.status().unwrap().success(), "{name} does not compile");
        built.insert(name.to_owned());
    }
    directory.join(below).join(name)
}

/// Where the profile of the tests puts programs.
pub(crate) fn profile_directory() -> PathBuf {
    // target/<profile>/deps/<test>
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().to_owned()
}

/// The cargo that built the test.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
