//! Replays the fuzz targets' corpora: what libFuzzer once found stays found, on stable and without it.

use std::fs;
use std::path::{Path, PathBuf};

use osprey_tests::fuzz::{NotingAllocator, TARGETS};

#[global_allocator]
static ALLOCATOR: NotingAllocator = NotingAllocator;

#[test]
fn every_input_of_the_corpora_passes() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    for (name, check) in TARGETS {
        let inputs = files(&fuzz.join("corpus").join(name));
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for path in &inputs {
            let input = fs::read(path).unwrap();
            if let Err(panic) = std::panic::catch_unwind(|| check(&input)) {
                eprintln!("cargo +nightly fuzz run {name} {}", path.display());
                std::panic::resume_unwind(panic);
            }
        }
        println!("{name}: {} inputs", inputs.len());
    }
}

#[test]
fn every_target_is_known_to_libfuzzer_and_here() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let targets: Vec<PathBuf> = TARGETS.iter().map(|(name, _)| fuzz.join("fuzz_targets").join(name).with_extension("rs")).collect();
    assert_eq!(files(&fuzz.join("fuzz_targets")), targets);
}

/// In the order of their names.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
