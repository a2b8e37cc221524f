//! The fuzz targets on stable, without libFuzzer: their corpora, where what was once found stays found, and inputs by chance,
//! always the same ones.

use std::fs;
use std::path::{Path, PathBuf};

use osprey_tests::fuzz::{NotingAllocator, TARGETS, Target};

#[global_allocator]
static ALLOCATOR: NotingAllocator = NotingAllocator;

#[test]
fn every_input_of_the_corpora_passes() {
    for (name, check) in TARGETS {
        let inputs = files(&fuzz().join("corpus").join(name));
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for path in &inputs {
            check_or_tell(*check, &fs::read(path).unwrap(), || format!("{name} {}", path.display()));
        }
    }
}

#[test]
fn inputs_by_chance_pass() {
    for (name, check) in TARGETS {
        for seed in 0..1000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut input = vec![0; random.usize(..1000)];
            random.fill(&mut input);
            check_or_tell(*check, &input, || format!("{name}, seed {seed}"));
        }
    }
}

fn check_or_tell(check: Target, input: &[u8], what: impl FnOnce() -> String) {
    if let Err(panic) = std::panic::catch_unwind(|| check(input)) {
        eprintln!("failed: {}", what());
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn every_target_is_known_to_libfuzzer_and_here() {
    let directory = fuzz().join("fuzz_targets");
    let targets: Vec<PathBuf> = TARGETS.iter().map(|(name, _)| directory.join(name).with_extension("rs")).collect();
    assert_eq!(files(&directory), targets);
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// In the order of their names.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a directory that can be read").path()).collect();
    files.sort();
    files
}
