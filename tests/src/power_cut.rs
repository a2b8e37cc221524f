//! Power cuts for the real server and the tools. A library that is put into the process (`tests/power_cut/`) keeps a journal of what it does to its
//! files; the process is killed, or has ended; and its directory is made what a disk might hold after a power cut at that moment.
//!
//! What a sync covered is there. Of what came since, every sector (512 bytes) is the old or the new one, every change of a length and every
//! change of a name has happened or not, each for itself, as a seed says. A name is covered by a sync of the directory that it is in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use crate::program::{cargo, profile_directory};

#[path = "../power_cut/src/event.rs"]
pub mod event;

use event::Event;

/// What a disk writes as a whole.
const SECTOR_BYTES: u64 = 512;

/// A directory's files, by name; of those in directories below, by the path from here.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The library for `LD_PRELOAD`.
///
/// # Panics
/// It does not compile.
#[must_use]
pub fn library() -> PathBuf {
    static BUILT: Once = Once::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("power_cut");
    let target = profile_directory().join("power_cut");
    BUILT.call_once(|| {
        let mut build = cargo();
        build.args(["build", "--quiet", "--locked", "--target-dir"]).arg(&target).current_dir(source);
        assert!(build.status().unwrap().success(), "the library does not compile");
    });
    target.join("debug/libosprey_power_cut.so")
}

/// One file of the disk.
#[derive(Debug, Default)]
struct File {
    /// What is on the medium for certain.
    durable: Vec<u8>,
    /// What may be, in order, each with its number in the journal.
    pending: Vec<(u64, Change)>,
}

#[derive(Debug)]
enum Change {
    Write { offset: u64, data: Vec<u8> },
    Resize { length: u64 },
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(usize),
    Directory,
}

impl Node {
    fn file(self) -> Option<usize> {
        if let Self::File(file) = self { Some(file) } else { None }
    }
}

#[derive(Debug)]
enum NameChange {
    Make { name: String, node: Node },
    Rename { from: String, to: String, node: Node },
    Remove { name: String },
}

/// The directory that a name is in; empty for the one that this is about.
fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A directory on a disk that can lose its power. Outlives the processes that use it.
#[derive(Debug)]
pub struct Disk {
    files: Vec<File>,
    /// The names on the medium.
    names: BTreeMap<String, Node>,
    pending_names: Vec<(u64, NameChange)>,
    /// The names that a process sees.
    seen: BTreeMap<String, Node>,
    /// How many events there were so far; each process counts its own.
    events: u64,
    random: fastrand::Rng,
    /// What the power cuts have taken, in bytes of writes.
    pub dropped_bytes: u64,
}

impl Disk {
    /// An empty one.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let (names, seen) = (BTreeMap::new(), BTreeMap::new());
        let random = fastrand::Rng::with_seed(seed);
        Self { files: Vec::new(), names, pending_names: Vec::new(), seen, events: 0, random, dropped_bytes: 0 }
    }

    /// One that has these files, all of them on the medium.
    #[must_use]
    pub fn with(files: &Files, seed: u64) -> Self {
        let mut disk = Self::new(seed);
        for (name, bytes) in files {
            disk.names.extend(name.match_indices('/').map(|(end, _)| (name[..end].to_owned(), Node::Directory)));
            disk.names.insert(name.clone(), Node::File(disk.files.len()));
            disk.files.push(File { durable: bytes.clone(), pending: Vec::new() });
        }
        disk.seen.clone_from(&disk.names);
        disk
    }

    /// Takes it that nobody has synced the files that are there, only their names.
    pub fn forget_syncs(&mut self) {
        for file in &mut self.files {
            let data = std::mem::take(&mut file.durable);
            file.pending.insert(0, (0, Change::Write { offset: 0, data }));
        }
    }

    /// Goes through what a process did, from the journal of its library.
    ///
    /// # Panics
    /// The journal speaks of a file that it has not introduced.
    pub fn follow(&mut self, journal: &[u8]) {
        let (mut inodes, before) = (BTreeMap::new(), self.events);
        let mut rest = journal;
        while let Some((event, behind)) = Event::decode(rest) {
            self.take(event, before, &mut inodes);
            self.events += 1;
            rest = behind;
        }
    }

    /// `before`: how many events there were when the process was started.
    fn take(&mut self, event: Event<'_>, before: u64, inodes: &mut BTreeMap<u64, usize>) {
        let number = self.events;
        let text = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
        match event {
            Event::Opened { inode, name, made, emptied } => {
                let name = text(name);
                let file = if made { self.files.len() } else { self.seen[&name].file().unwrap() };
                inodes.insert(inode, file);
                if made {
                    self.files.push(File::default());
                    self.make(name, Node::File(file));
                } else if emptied {
                    self.files[file].pending.push((number, Change::Resize { length: 0 }));
                }
            }
            Event::Written { inode, offset, data } => {
                self.files[inodes[&inode]].pending.push((number, Change::Write { offset, data: data.to_vec() }));
            }
            Event::Resized { inode, length } => self.files[inodes[&inode]].pending.push((number, Change::Resize { length })),
            Event::Synced { inode, length, covers } => self.files[inodes[&inode]].sync(length, before + covers),
            Event::Renamed { from, to } => {
                let (from, to) = (text(from), text(to));
                assert_eq!(parent(&from), parent(&to), "one sync covers both names");
                let node = self.seen.remove(&from).unwrap();
                self.seen.insert(to.clone(), node);
                self.pending_names.push((number, NameChange::Rename { from, to, node }));
            }
            Event::Linked { from, to } => self.make(text(to), self.seen[&text(from)]),
            Event::DirectoryMade { name } => self.make(text(name), Node::Directory),
            Event::Removed { name } | Event::DirectoryRemoved { name } => {
                self.seen.remove(&text(name)).unwrap();
                self.pending_names.push((number, NameChange::Remove { name: text(name) }));
            }
            Event::DirectorySynced { name, covers } => {
                let directory = text(name);
                let covered = |(number, change): &mut (u64, NameChange)| *number < before + covers && parent(change.name()) == directory;
                let covered: Vec<_> = self.pending_names.extract_if(.., covered).collect();
                covered.into_iter().for_each(|(_, change)| change.apply(&mut self.names));
            }
        }
    }

    fn make(&mut self, name: String, node: Node) {
        self.seen.insert(name.clone(), node);
        self.pending_names.push((self.events, NameChange::Make { name, node }));
    }

    /// What a process finds in the directory.
    #[must_use]
    pub fn files(&self) -> Files {
        let contents = |file: &File| {
            let mut bytes = file.durable.clone();
            file.pending.iter().for_each(|(_, change)| change.apply(&mut bytes));
            bytes
        };
        self.seen.iter().filter_map(|(name, node)| Some((name.clone(), contents(&self.files[node.file()?])))).collect()
    }

    /// The directories that it finds below.
    #[must_use]
    pub fn directories(&self) -> Vec<String> {
        self.seen.iter().filter(|(_, node)| **node == Node::Directory).map(|(name, _)| name.clone()).collect()
    }

    /// The power fails: decides what becomes of everything that is not synced.
    pub fn cut_power(&mut self) {
        // How much the system had written back of its own accord.
        let kept = self.random.choice([0.0, 0.5, 0.9]).unwrap();
        self.cut_power_after(kept, kept);
    }

    /// The power fails when the system had written back about so much of what was not synced: of changes of names, and of bytes and lengths.
    pub fn cut_power_after(&mut self, names_kept: f64, bytes_kept: f64) {
        for (_, change) in self.pending_names.drain(..) {
            if self.random.f64() < names_kept {
                change.apply(&mut self.names);
            }
        }
        for file in &mut self.files {
            for (_, change) in file.pending.drain(..) {
                self.dropped_bytes += change.survive(&mut file.durable, || self.random.f64() < bytes_kept);
            }
        }
        // What is in a directory without a name is gone with it; in order, so that those above are looked at first.
        let mut names: BTreeMap<String, Node> = BTreeMap::new();
        for (name, node) in std::mem::take(&mut self.names) {
            if parent(&name).is_empty() || names.get(parent(&name)) == Some(&Node::Directory) {
                names.insert(name, node);
            }
        }
        // And files without a name; some have two.
        let mut places = BTreeMap::new();
        let mut files = Vec::new();
        for node in names.values_mut() {
            if let Node::File(file) = node {
                *file = *places.entry(*file).or_insert_with_key(|file| {
                    files.push(std::mem::take(&mut self.files[*file]));
                    files.len() - 1
                });
            }
        }
        (self.files, self.names) = (files, names);
        self.seen.clone_from(&self.names);
    }

    /// Makes `directory` what is on the disk.
    ///
    /// # Panics
    /// It can't be written.
    pub fn write_to(&self, directory: &Path) {
        let before = read(directory);
        let after = self.files();
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            fs::remove_file(directory.join(name)).unwrap();
        }
        let wanted = self.directories();
        for name in directories(directory).iter().rev().filter(|name| !wanted.contains(name)) {
            fs::remove_dir(directory.join(name)).unwrap();
        }
        wanted.iter().for_each(|name| fs::create_dir_all(directory.join(name)).unwrap());
        for (name, bytes) in after.iter().filter(|(name, bytes)| before.get(*name) != Some(*bytes)) {
            // Not through a second name that another file still has.
            let _ = fs::remove_file(directory.join(name));
            fs::write(directory.join(name), bytes).unwrap();
        }
    }
}

impl File {
    /// Everything before event number `covers` is on the medium, and so is a length that the file had then.
    fn sync(&mut self, length: u64, covers: u64) {
        let later = self.pending.iter().position(|(number, _)| *number >= covers).unwrap_or(self.pending.len());
        self.pending.drain(..later).for_each(|(_, change)| change.apply(&mut self.durable));
        extend(&mut self.durable, length);
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => write(bytes, *offset, data),
            Self::Resize { length } => bytes.resize(index(*length), 0),
        }
    }

    /// Applies what `survives`, asked for each sector; how many bytes of writes do not.
    fn survive(&self, bytes: &mut Vec<u8>, mut survives: impl FnMut() -> bool) -> u64 {
        let Self::Write { offset, data } = self else {
            if survives() {
                self.apply(bytes);
            }
            return 0;
        };
        let (mut offset, mut rest, mut dropped) = (*offset, data.as_slice(), 0);
        while !rest.is_empty() {
            let in_sector = index(SECTOR_BYTES - offset % SECTOR_BYTES).min(rest.len());
            let (piece, behind) = rest.split_at(in_sector);
            if survives() {
                write(bytes, offset, piece);
            } else {
                dropped += piece.len() as u64;
            }
            (offset, rest) = (offset + piece.len() as u64, behind);
        }
        dropped
    }
}

impl NameChange {
    fn name(&self) -> &str {
        match self {
            Self::Make { name, .. } | Self::Rename { to: name, .. } | Self::Remove { name } => name,
        }
    }

    fn apply(self, names: &mut BTreeMap<String, Node>) {
        match self {
            Self::Make { name, node } => drop(names.insert(name, node)),
            Self::Rename { from, to, node } => {
                // Another file may have come by the name, when an earlier change did not survive.
                if names.get(&from) == Some(&node) {
                    names.remove(&from);
                }
                names.insert(to, node);
            }
            Self::Remove { name } => drop(names.remove(&name)),
        }
    }
}

/// The files of a directory and of those below it.
///
/// # Panics
/// They can't be read.
#[must_use]
pub fn read(directory: &Path) -> Files {
    let mut files = Files::new();
    for below in [String::new()].into_iter().chain(directories(directory)) {
        for entry in fs::read_dir(directory.join(&below)).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                files.insert(join(&below, &entry), fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

/// The directories below one, each before those in it.
fn directories(directory: &Path) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut at = 0;
    while let Some(below) = found.get(at).cloned() {
        let entries = fs::read_dir(directory.join(&below)).unwrap().map(Result::unwrap);
        found.extend(entries.filter(|entry| entry.file_type().unwrap().is_dir()).map(|entry| join(&below, &entry)));
        at += 1;
    }
    found.split_off(1)
}

fn join(below: &str, entry: &fs::DirEntry) -> String {
    let name = entry.file_name().into_string().unwrap();
    if below.is_empty() { name } else { format!("{below}/{name}") }
}

fn write(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    extend(bytes, offset + data.len() as u64);
    bytes[index(offset)..][..data.len()].copy_from_slice(data);
}

fn extend(bytes: &mut Vec<u8>, length: u64) {
    bytes.resize(bytes.len().max(index(length)), 0);
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn journal(events: &[Event<'_>]) -> Vec<u8> {
        let mut journal = Vec::new();
        events.iter().for_each(|event| event.encode(&mut journal));
        journal
    }

    const MADE: Event<'_> = Event::Opened { inode: 7, name: b"a", made: true, emptied: false };

    fn written(offset: u64, data: &[u8]) -> Event<'_> {
        Event::Written { inode: 7, offset, data }
    }

    /// What can be in the directory after a power cut, over many seeds.
    fn outcomes(events: &[Event<'_>]) -> BTreeSet<Vec<(String, Vec<u8>)>> {
        let outcome = |seed| {
            let mut disk = Disk::new(seed);
            disk.follow(&journal(events));
            disk.cut_power();
            disk.files().into_iter().collect()
        };
        (0..300).map(outcome).collect()
    }

    fn file(name: &str, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        vec![(name.to_owned(), bytes.to_vec())]
    }

    #[test]
    fn what_is_synced_survives_and_the_rest_may_or_may_not() {
        let synced =
            [MADE, written(0, b"old"), Event::Synced { inode: 7, length: 3, covers: 2 }, Event::DirectorySynced { name: b"", covers: 1 }];
        assert_eq!(outcomes(&synced), BTreeSet::from([file("a", b"old")]));
        let not_wholly = [&synced[..], &[written(0, b"new")]].concat();
        assert_eq!(outcomes(&not_wholly), BTreeSet::from([file("a", b"old"), file("a", b"new")]));
    }

    #[test]
    fn a_sync_covers_what_came_before_it_began() {
        let events =
            [MADE, Event::DirectorySynced { name: b"", covers: 1 }, written(0, b"x"), Event::Synced { inode: 7, length: 0, covers: 2 }];
        assert_eq!(outcomes(&events), BTreeSet::from([file("a", b""), file("a", b"x")]));
    }

    #[test]
    fn names_need_a_sync_of_the_directory() {
        let events = [MADE, written(0, b"x"), Event::Synced { inode: 7, length: 1, covers: 2 }];
        assert_eq!(outcomes(&events), BTreeSet::from([vec![], file("a", b"x")]));
        let renamed = [&events[..], &[Event::DirectorySynced { name: b"", covers: 1 }, Event::Renamed { from: b"a", to: b"b" }]].concat();
        assert_eq!(outcomes(&renamed), BTreeSet::from([file("a", b"x"), file("b", b"x")]));
        let removed = [&renamed[..], &[Event::DirectorySynced { name: b"", covers: 5 }, Event::Removed { name: b"b" }]].concat();
        assert_eq!(outcomes(&removed), BTreeSet::from([vec![], file("b", b"x")]));
    }

    #[test]
    fn a_name_is_kept_by_a_sync_of_its_own_directory() {
        let made = [MADE, Event::DirectorySynced { name: b"", covers: 1 }, Event::DirectoryMade { name: b"d" }];
        let linked = [&made[..], &[Event::Linked { from: b"a", to: b"d/b" }]].concat();
        let inner = [&linked[..], &[Event::DirectorySynced { name: b"d", covers: 4 }]].concat();
        let (one, both) = (file("a", b""), [file("a", b""), file("d/b", b"")].concat());
        assert_eq!(outcomes(&inner), BTreeSet::from([one.clone(), both.clone()]), "with the directory its files are gone");
        let outer = [&inner[..], &[Event::DirectorySynced { name: b"", covers: 5 }]].concat();
        assert_eq!(outcomes(&outer), BTreeSet::from([both.clone()]));
        let outer_only = [&linked[..], &[Event::DirectorySynced { name: b"", covers: 4 }]].concat();
        assert_eq!(outcomes(&outer_only), BTreeSet::from([one, both]));
        // Either name is as good.
        let removed = [&outer[..], &[Event::Removed { name: b"a" }, Event::DirectorySynced { name: b"", covers: 7 }]].concat();
        assert_eq!(outcomes(&removed), BTreeSet::from([file("d/b", b"")]));
    }

    #[test]
    fn a_disk_is_written_to_a_directory_and_read_from_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::create_dir_all(path.join("gone/below")).unwrap();
        fs::write(path.join("gone/x"), b"x").unwrap();
        let files = Files::from([("a".to_owned(), b"1".to_vec()), ("d/e/b".to_owned(), b"2".to_vec())]);
        Disk::with(&files, 0).write_to(path);
        assert_eq!(read(path), files);
        assert_eq!(directories(path), ["d", "d/e"]);
    }

    #[test]
    fn sectors_survive_one_by_one_and_reserved_space_is_zero() {
        let synced = [MADE, Event::DirectorySynced { name: b"", covers: 1 }, Event::Synced { inode: 7, length: 1024, covers: 1 }];
        let data = [1; 200];
        let found = outcomes(&[&synced[..], &[written(412, &data)]].concat());
        let contents = |first: bool, second: bool| {
            let mut bytes = vec![0; 1024];
            bytes[412..512].fill(first.into());
            bytes[512..612].fill(second.into());
            file("a", &bytes)
        };
        let both = [false, true];
        assert_eq!(found, both.into_iter().flat_map(|first| both.map(|second| contents(first, second))).collect());
    }

    #[test]
    fn a_process_sees_everything() {
        let mut disk = Disk::new(0);
        let resized = Event::Resized { inode: 7, length: 2 };
        // The end of the journal is torn.
        let journal = [journal(&[MADE, written(1, b"xy"), resized, Event::Renamed { from: b"a", to: b"b" }]), vec![2, 7]].concat();
        disk.follow(&journal);
        assert_eq!(disk.files().into_iter().collect::<Vec<_>>(), file("b", b"\0x"));
    }
}
