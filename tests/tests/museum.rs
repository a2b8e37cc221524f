//! The museum's catalogues and its bugs in the code are the same. (That they are found: `make museum`, `make museum-real`.)
#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use osprey_tests::museum::catalogue::EXHIBITS;
use osprey_tests::museum::real::REAL_EXHIBITS;

/// The names of bugs that a file plants.
fn planted(path: &Path) -> BTreeSet<String> {
    let source = fs::read_to_string(path).unwrap();
    source.split("planted(\"").skip(1).map(|rest| rest.split('"').next().unwrap_or_default().to_owned()).collect()
}

fn sources(directory: &Path, found: &mut Vec<(String, BTreeSet<String>)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.to_string_lossy().contains("museum") {
            found.push((path.to_string_lossy().replace('\\', "/"), planted(&path)));
        }
    }
}

#[test]
fn every_bug_is_in_the_catalogue_and_in_the_file_that_it_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for directory in ["core/src", "host/src", "tests/src"] {
        sources(&root.join(directory), &mut files);
    }
    let planted: BTreeSet<_> = files.iter().flat_map(|(_, names)| names.iter().map(String::as_str)).collect();
    let simulated: BTreeSet<_> = EXHIBITS.iter().map(|exhibit| exhibit.name).collect();
    let real: BTreeSet<_> = REAL_EXHIBITS.iter().map(|exhibit| exhibit.name).collect();
    assert_eq!(planted, simulated.union(&real).copied().collect());
    assert_eq!((simulated.len(), real.len()), (EXHIBITS.len(), REAL_EXHIBITS.len()), "no name twice");
    let simulated = EXHIBITS.iter().map(|exhibit| (exhibit.name, exhibit.place));
    for (name, place) in simulated.chain(REAL_EXHIBITS.iter().map(|exhibit| (exhibit.name, exhibit.place))) {
        let is_there = files.iter().any(|(path, names)| path.ends_with(place) && names.contains(name));
        assert!(is_there, "{name} is not in {place}");
    }
}

#[test]
fn every_bug_of_the_real_programs_names_a_test_that_is_there() {
    for exhibit in REAL_EXHIBITS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(exhibit.file).with_extension("rs");
        let source = fs::read_to_string(&path).unwrap();
        assert!(source.contains(&format!("#[test]\nfn {}()", exhibit.test)), "{} is not in {}", exhibit.test, path.display());
    }
}

#[test]
fn every_broken_check_has_a_witness() {
    for exhibit in EXHIBITS {
        let known = exhibit.witness.is_none_or(|witness| EXHIBITS.iter().any(|other| other.name == witness && other.witness.is_none()));
        assert!(known, "{} names {:?}", exhibit.name, exhibit.witness);
        assert!(exhibit.budget > 0 || exhibit.tape.is_some() || exhibit.enumerated, "{} has no budget", exhibit.name);
    }
}
