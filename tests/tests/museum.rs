//! The museum's catalogue and its bugs in the code are the same. (That they are found: `make museum`.)
#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use osprey_tests::museum::catalogue::EXHIBITS;

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
    for directory in ["core/src", "tests/src"] {
        sources(&root.join(directory), &mut files);
    }
    let planted: BTreeSet<_> = files.iter().flat_map(|(_, names)| names.iter().map(String::as_str)).collect();
    let listed: BTreeSet<_> = EXHIBITS.iter().map(|exhibit| exhibit.name).collect();
    assert_eq!(planted, listed);
    assert_eq!(listed.len(), EXHIBITS.len(), "no name twice");
    for exhibit in EXHIBITS {
        let is_there = files.iter().any(|(path, names)| path.ends_with(exhibit.place) && names.contains(exhibit.name));
        assert!(is_there, "{} is not in {}", exhibit.name, exhibit.place);
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
