//! The documents say what the code does: their transcripts are run, their example is compiled, their lists are complete.
#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use osprey_core::engine::{Engine, Entropy, Next, Options, Session};
use osprey_core::storage::Storage as _;
use osprey_core::units::Millis;
use osprey_core::wal::segment::DatabaseId;

#[test]
fn the_examples_of_embedding_work() {
    let (cargo, manifest) =
        (std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    let directory = tempfile::tempdir().unwrap();
    // One that leaves something is to be run twice.
    for (package, example) in [("osprey-core", "embed"), ("osprey-flash", "flash"), ("osprey", "embedded"), ("osprey", "embedded")] {
        let mut run = std::process::Command::new(&cargo);
        run.args(["run", "--quiet", "--manifest-path", manifest, "-p", package, "--example", example]);
        let run = run.current_dir(directory.path()).output().unwrap();
        assert!(run.status.success(), "{example}: {}", String::from_utf8_lossy(&run.stderr));
    }
}

#[path = "../../core/examples/embed/memory_log.rs"]
mod memory_log;
use memory_log::MemoryLog;

const README: &str = include_str!("../../README.md");
const PROTOCOL: &str = include_str!("../../docs/PROTOCOL.md");
const ARCHITECTURE: &str = include_str!("../../docs/ARCHITECTURE.md");
const EMBED: &str = include_str!("../../core/examples/embed/main.rs");
const EMBEDDING: &str = include_str!("../../docs/EMBEDDING.md");
const EMBEDDED: &str = include_str!("../../host/examples/embedded.rs");

/// The time at which every transcript is run, and stands still.
const NOW: Millis = Millis(1_700_000_000_000);

/// What a new server answers.
fn answers(requests: &str) -> String {
    let entropy = Entropy { hash_key: [0; 16], salt: 1, database: DatabaseId([2; 16]) };
    let mut log = MemoryLog::default();
    let (mut engine, _) = Engine::recover(Options::new(entropy), &mut log, NOW).unwrap();
    let (mut session, mut input, mut out) = (Session::new(), requests.as_bytes(), Vec::new());
    loop {
        while let Some(op) = engine.poll_storage() {
            let done = log.submit(op).expect("a log in memory is done at once");
            engine.storage_done(done).unwrap();
        }
        let served = engine.serve(NOW, &mut session, input, &mut out);
        input = &input[served.consumed..];
        match served.next {
            Next::Storage | Next::Again => {}
            Next::Read { .. } | Next::Flush | Next::Close => return String::from_utf8(out).unwrap(),
        }
    }
}

/// Pairs of requests and replies: blocks of lines that begin with `> ` and `< `.
fn transcripts(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for block in page.split("```").skip(1).step_by(2).filter(|block| block.lines().any(|line| line.starts_with("> "))) {
        let side = |mark: &str| block.lines().filter_map(|line| line.strip_prefix(mark)).map(|line| format!("{line}\r\n")).collect();
        found.push((side("> "), side("< ")));
    }
    found
}

#[test]
fn every_transcript_happens_so() {
    for (page, at_least) in [(README, 1), (PROTOCOL, 4)] {
        let transcripts = transcripts(page);
        assert!(transcripts.len() >= at_least, "only {} transcripts were found", transcripts.len());
        for (requests, replies) in transcripts {
            assert_eq!(answers(&requests), replies, "to:\n{requests}");
        }
    }
}

#[test]
fn the_examples_of_embedding_are_in_the_documents() {
    assert!(README.contains(EMBED), "README.md should have core/examples/embed/main.rs as it is");
    let (_, program) = EMBEDDED.split_once("\n\n").unwrap();
    assert!(EMBEDDING.contains(program), "docs/EMBEDDING.md should have host/examples/embedded.rs as it is");
}

#[test]
fn every_name_of_stats_is_described() {
    let answer = answers("STATS\r\n");
    let told: BTreeSet<&str> = answer.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    let (_, table) = PROTOCOL.split_once("| name | unit |").expect("a table of the names of STATS");
    let described: BTreeSet<&str> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .flat_map(|line| line.split('|').nth(1).unwrap_or_default().split(','))
        .map(|name| name.trim().trim_matches('`'))
        .collect();
    assert_eq!(told, described);
}

#[test]
fn the_originals_names_of_stats_have_stayed() {
    let answer = answers("STATS\r\n");
    for name in [
        "uptime_ms",
        "keys",
        "expired_total",
        "evicted_total",
        "cmd_get",
        "cmd_set",
        "cmd_del",
        "cmd_incr",
        "clients",
        "wal_current",
        "wal_bytes",
        "mem_rss_bytes",
        "snapshots_total",
        "last_snapshot_ms",
    ] {
        assert!(answer.lines().any(|line| line.split('=').next() == Some(name)), "{name}");
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let reasons: BTreeSet<&str> = ARCHITECTURE
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| line.split('|').nth(1).unwrap_or_default().split(','))
        .map(|name| name.trim().trim_matches('`'))
        .collect();
    for manifest in [include_str!("../../core/Cargo.toml"), include_str!("../../host/Cargo.toml")] {
        let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
        let lines = dependencies.lines().take_while(|line| !line.starts_with('['));
        for name in lines.filter(|line| !line.starts_with('#')).filter_map(|line| Some(line.split_once(" = ")?.0)) {
            assert!(name == "osprey-core" || reasons.contains(name), "docs/ARCHITECTURE.md should say what {name} is for");
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// All files below a directory, from the project's root, but what was built or is git's.
fn files_below(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "target" && name != ".git" {
            files_below(&path, found);
        } else if path.is_file() {
            found.push(path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/"));
        }
    }
}

/// What a page has between backticks.
fn in_backticks(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter(|line| !line.starts_with("```")).flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn every_source_file_that_a_document_names_is_there() {
    let mut files = Vec::new();
    files_below(root(), &mut files);
    let documents = files.iter().filter(|file| file.ends_with(".md")).map(|file| root().join(file)).collect::<Vec<PathBuf>>();
    let mut named = 0;
    for document in documents {
        for name in in_backticks(&fs::read_to_string(&document).unwrap()).filter(|name| name.ends_with(".rs")) {
            named += 1;
            let there = files.iter().any(|file| file.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('/')));
            assert!(there, "{} names {name}, which is not there", document.display());
        }
    }
    assert!(named > 100, "only {named} names were found");
}

/// Each name stands in the map with its directory, or behind one that has the same.
#[test]
fn the_architecture_names_every_module() {
    let (_, map) = ARCHITECTURE.split_once("| module | what it is for |").expect("a map of the modules");
    let (map, _) = map.split_once("\n\n").expect("its end");
    let cells = map.lines().filter_map(|line| line.split('|').nth(1));
    let mut named = BTreeSet::new();
    for cell in cells {
        let mut directory = "";
        for name in in_backticks(cell) {
            let name = if let Some((before, last)) = name.rsplit_once('/') {
                directory = before;
                last
            } else {
                name
            };
            named.insert(format!("{directory}/{name}"));
        }
    }
    for source in ["core/src", "host/src"] {
        for entry in fs::read_dir(root().join(source)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = format!("{source}/{name}");
            // A directory may go with the file of its name.
            let is_there = name == "lib.rs" || named.contains(&path) || named.contains(&format!("{path}.rs"));
            assert!(is_there, "docs/ARCHITECTURE.md should say what {path} is for");
        }
    }
    for path in named {
        assert!(root().join(&path).exists(), "docs/ARCHITECTURE.md names {path}, which is not there");
    }
}
