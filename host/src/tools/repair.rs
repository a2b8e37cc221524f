//! `osprey repair`: a damaged directory made usable again, as [`super::plan`] says.
//!
//! The order keeps a kill at any moment from making things worse: new segments are written beside the old ones, synced, and recovered from as a trial; then the old ones get a second name in
//! the quarantine, durably; then what is to be done is noted in `repair.todo`; only then names change. A repair that finds such a note does what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use crc32c::crc32c_append;
use jiff::Timestamp;
use osprey_core::recovery::RecoveryError;
use osprey_core::snapshot::SnapshotError;
use osprey_core::storage::{SegmentNumber, SnapshotName};
use osprey_core::units::Lsn;
use osprey_core::wal::frame::Records;
use osprey_core::wal::salvage::{Piece, Scanner};

use super::answer::{count, text};
use super::check::{based, lost};
use super::directory::{DataDirectory, Files, sync_directory};
use super::failure::{DAMAGED, Failure, SOUND};
use super::plan::{Output, Part, Plan, plan};
use super::salvage::{self, Salvaged};
use super::segment_file::SegmentFile;
use super::survey::{Segment, of_other_version, survey};
use crate::museum::planted;
use crate::storage::unfinished::REPAIR_NAME;

const SUFFIX: &str = ".repair";

/// No more of what is lost is printed; the report in the quarantine has all of it.
const LINES_MAX: usize = 40;

/// What the command line says.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The data directory of a stopped server [default: data_dir of the configuration]
    #[arg(value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,

    /// Don't ask
    #[arg(long)]
    yes: bool,

    /// Keep nothing behind the first damaged place. The data is then as it was at one moment; else everything that can be read is kept, and keys whose last write is lost have an older
    /// value, or are back
    #[arg(long)]
    cut: bool,
}

pub(super) fn run(arguments: &Arguments, path: &Path) -> Result<u8, Failure> {
    let directory = DataDirectory::open_half_repaired(path)?;
    if path.join(REPAIR_NAME).exists() && !planted("repair_not_carried_on") {
        say("going on with a repair that was interrupted")?;
        carry_out(&directory)?;
    }
    let mut files = directory.files()?.with_progress("repair");
    let mut plan = Plan::default();
    let mut segments = Vec::new();
    let mut snapshots = Vec::new();
    let mut salvaged = None;
    let damaged = files.damaged_snapshots();
    match files.load() {
        Ok((_, recovered)) if recovered.report.unusable.is_some() || !damaged.is_empty() => {
            for (name, error) in damaged.iter().copied().chain(recovered.report.unusable) {
                if !snapshots.contains(&name) {
                    say(&format!("damaged: {name}: {error}; the others and the log serve"))?;
                    snapshots.push(name);
                }
            }
        }
        Ok(_) => {
            say("nothing to repair: the data is sound")?;
            return Ok(SOUND);
        }
        Err(error @ (RecoveryError::OutOfMemory | RecoveryError::Storage(..))) => return Err(Failure::recovery(path, &error)),
        Err(error) => {
            say(&format!("damaged: {error}"))?;
            segments = survey(&mut files)?;
            if let Some(newer) = of_other_version(path, &segments, &damaged) {
                return Err(newer);
            }
            // A snapshot is of no use without the log up to its end.
            let cut = || self::plan(&segments, true, true).losses.first().filter(|_| arguments.cut).map(|loss| loss.first);
            salvaged = salvage(&directory, &mut files, &damaged, &segments)?;
            salvaged = salvaged.filter(|salvaged| cut().is_none_or(|cut| salvaged.name.end < cut));
            let based = salvaged.is_some() || based(&files, &error);
            plan = self::plan(&segments, arguments.cut, based);
            name_given_up(&mut files, &segments, &mut plan)?;
            let cut = plan.losses.first().filter(|_| arguments.cut).map(|loss| loss.first);
            let is_damaged = |name: &SnapshotName| damaged.iter().any(|(other, _)| other == name);
            let useless = |name: &SnapshotName| is_damaged(name) || salvaged.is_some() || !based || cut.is_some_and(|cut| name.end >= cut);
            snapshots.extend(files.snapshots.keys().copied().filter(useless));
        }
    }
    files.snapshots.retain(|name, _| !snapshots.contains(name));
    let mut todo = prepare(&directory, &mut files, &segments, &mut plan, salvaged.as_ref())?;
    todo.remove.extend(snapshots.iter().map(ToString::to_string).filter(|name| !todo.replace.contains(name)));
    let report = report(&plan, &todo, salvaged.as_ref());
    for line in report.iter().take(LINES_MAX) {
        say(line)?;
    }
    if report.len() > LINES_MAX {
        say(&format!("… and {} more lines, which the report in the quarantine will have", report.len() - LINES_MAX))?;
    }
    if !(arguments.yes || agreed()?) {
        clean(&directory)?;
        say("nothing was changed")?;
        return Ok(DAMAGED);
    }
    sync_what_stays(&files)?;
    let quarantine = set_aside(&directory, &todo, &report)?;
    note(&directory, &todo)?;
    carry_out(&directory)?;
    say(&format!("repaired; what was replaced, and this report, is in {}", quarantine.display()))?;
    Ok(SOUND)
}

fn say(line: &str) -> Result<(), Failure> {
    Failure::unless_closed(writeln!(io::stdout().lock(), "{line}"))
}

fn agreed() -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::damaged("nothing was changed: say --yes to do it"));
    }
    let _ = write!(io::stderr(), "Do it? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| Failure::cannot(format!("no answer: {error}")))?;
    Ok(matches!(answer.trim(), "y" | "yes"))
}

/// What can be saved of snapshots of which none is whole. Of several as much as the log goes back for: it is tried with all of them first.
fn salvage(
    directory: &DataDirectory,
    files: &mut Files,
    damaged: &[(SnapshotName, SnapshotError)],
    segments: &[Segment],
) -> Result<Option<Salvaged>, Failure> {
    let candidates = salvage::candidates(files, damaged, segments);
    for at in 0..candidates.len() {
        let Some(salvaged) = salvage::read(files, candidates.get(at..).unwrap_or_default(), segments)? else { continue };
        // Whether the log behind it serves, is for recovery to say.
        let mut plan = plan(segments, false, true);
        let trial = prepare(directory, files, segments, &mut plan, Some(&salvaged));
        clean(directory)?;
        match trial {
            Ok(_) => return Ok(Some(salvaged)),
            Err(failure) if failure.status == DAMAGED => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(None)
}

/// What changes names: first the new segments in order, then the removals, the last one first.
#[derive(Debug, Default)]
struct Todo {
    replace: Vec<String>,
    remove: Vec<String>,
}

/// The keys in frames that are whole and given up.
fn name_given_up(files: &mut Files, segments: &[Segment], plan: &mut Plan) -> Result<(), Failure> {
    for &(name, from, to) in &plan.given_up {
        let Some((segment, known)) = segments.iter().find_map(|segment| Some((segment, segment.known?)).filter(|(s, _)| s.name == name))
        else {
            continue;
        };
        let mut scanner = Scanner::new(name, segment.length, known.salt, crc32c_append);
        while let Some(piece) = scanner.next(files)? {
            if let Piece::Frame(frame) = piece
                && (from..to).contains(&frame.offset)
            {
                plan.keys.extend(Records(frame.payload).flatten().map(|record| record.key.to_vec()).filter(|key| !key.is_empty()));
            }
        }
        plan.keys.sort_unstable();
        plan.keys.dedup();
    }
    Ok(())
}

/// Writes the new segments beside the old ones, and recovers from the log as it will be.
fn prepare(
    directory: &DataDirectory,
    files: &mut Files,
    segments: &[Segment],
    plan: &mut Plan,
    salvaged: Option<&Salvaged>,
) -> Result<Todo, Failure> {
    clean(directory)?;
    let mut todo = Todo::default();
    let mut view: BTreeMap<SegmentNumber, PathBuf> = files.paths.clone();
    let gone: BTreeSet<SegmentNumber> = plan.aside.iter().map(|(name, _)| *name).collect();
    view.retain(|name, _| !gone.contains(name));
    let moved: Vec<SegmentNumber> =
        plan.outputs.iter().filter_map(|output| output.source.filter(|&source| source != output.header.number)).collect();
    view.retain(|name, _| !moved.contains(name));

    // How the log before ends: its chain, and the epoch of a segment that is not sealed.
    // What is before a log that begins late is not there to be compared with.
    let begins = plan.outputs.first().map_or(0, |first| if first.header.first_lsn > Lsn(1) { first.header.chain } else { 0 });
    let (mut chain, mut open_epoch) = (begins, None);
    for at in 0..plan.outputs.len() {
        let (before, behind) = plan.outputs.split_at_mut(at + 1);
        let Some(output) = before.last_mut() else { break };
        let epoch = output.header.epoch;
        let follows = output.header.chain == chain || open_epoch == Some(epoch);
        if !output.changed && follows {
            (chain, open_epoch) = (output.end.0, (!output.end.1).then_some(epoch));
            continue;
        }
        output.changed = true;
        output.header.chain = chain;
        let number = output.header.number;
        let seal = behind.first().is_none_or(|next| next.header.epoch != epoch);
        let path = directory.path.join(format!("{number}{SUFFIX}"));
        let length = segments.iter().find(|segment| Some(segment.name) == output.source).map_or(0, |segment| segment.length);
        chain = write(&path, files, output, length, seal)?;
        open_epoch = (!seal).then_some(epoch);
        view.insert(number, path);
        todo.replace.push(number.to_string());
    }
    let staying: BTreeSet<String> = plan.outputs.iter().map(|output| output.header.number.to_string()).collect();
    todo.remove = gone.iter().chain(&moved).map(ToString::to_string).filter(|name| !staying.contains(name)).collect();
    todo.remove.sort_unstable();
    todo.remove.reverse();
    let mut snapshots = files.snapshots.clone();
    if let Some(salvaged) = salvaged {
        let path = directory.path.join(format!("{}{SUFFIX}", salvaged.name));
        salvaged.write(&path)?;
        // In place of all that it was made of.
        snapshots = BTreeMap::from([(salvaged.name, path)]);
        todo.replace.push(salvaged.name.to_string());
    }
    let trial = Files::new(view, snapshots).load();
    if let Err(error) = trial {
        clean(directory)?;
        return Err(Failure::damaged(format!(
            "cannot be repaired by this program: the repaired log would be refused ({error}). Nothing was changed; restore a backup"
        )));
    }
    Ok(todo)
}

fn write(path: &Path, files: &mut Files, output: &Output, length: u64, seal: bool) -> Result<u32, Failure> {
    let failed = Failure::file("write", path);
    let mut file = SegmentFile::create(path, &output.header).map_err(&failed)?;
    for part in &output.parts {
        match *part {
            Part::Marks { count, floor } => {
                file.floor = file.floor.max(floor);
                file.marks(count).map_err(&failed)?;
            }
            Part::Copy { from, to } => {
                let Some(source) = output.source else { continue };
                let mut scanner = Scanner::new(source, length, output.header.salt, crc32c_append);
                while let Some(piece) = scanner.next(files)? {
                    let Piece::Frame(frame) = piece else { continue };
                    // A SEAL is written where the segment now ends.
                    if (from..to).contains(&frame.offset) && frame.header.records > 0 {
                        file.copy(&frame.header, frame.payload).map_err(&failed)?;
                    }
                }
            }
        }
    }
    file.finish(seal).map_err(&failed)
}

fn report(plan: &Plan, todo: &Todo, salvaged: Option<&Salvaged>) -> Vec<String> {
    let mut lines = lost(plan);
    lines.extend(salvaged.iter().flat_map(|salvaged| salvaged.lines.clone()));
    if let Some(behind) = plan.unreadable_end() {
        lines.push(format!("whether records are lost behind LSN {} cannot be told: nothing in {behind} can be read", plan.last_lsn.0));
    } else if plan.losses.is_empty() {
        lines.push(if salvaged.is_some() { "no record of the log is lost" } else { "no record is lost" }.to_owned());
    } else {
        lines.push(
            "keys that were written there have an older value, are missing, or are back; versions that they had may be given again"
                .to_owned(),
        );
    }
    let kept = plan.outputs.iter().filter(|output| !output.changed).count();
    lines.push(if kept == 1 { "1 segment stays as it is".to_owned() } else { format!("{kept} segments stay as they are") });
    lines.extend(todo.replace.iter().map(|name| format!("{name}: written anew")));
    lines.extend(todo.remove.iter().map(|name| format!("{name}: moved to quarantine")));
    lines
}

/// Gives all files that will be replaced or removed a second name, in a new directory, and writes the report there.
fn set_aside(directory: &DataDirectory, todo: &Todo, report: &[String]) -> Result<PathBuf, Failure> {
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut path = directory.path.join(format!("quarantine-{stamp}"));
    for again in 1.. {
        if !path.exists() {
            break;
        }
        path = directory.path.join(format!("quarantine-{stamp}-{again}"));
    }
    let failed = Failure::file("set files aside in", &directory.path);
    DirBuilder::new().mode(0o700).create(&path).map_err(&failed)?;
    for name in todo.replace.iter().chain(&todo.remove) {
        let from = directory.path.join(name);
        // New segments replace files and never change them, so a second name is as good as a copy; a file system that can't do it gets one.
        if from.exists() && !planted("nothing_set_aside") && fs::hard_link(&from, path.join(name)).is_err() {
            fs::copy(&from, path.join(name)).map_err(&failed)?;
        }
        if let (Ok(file), false) = (File::open(path.join(name)), planted("set_aside_unsynced")) {
            file.sync_all().map_err(&failed)?;
        }
    }
    write_durably(&path.join("report.txt"), &(report.join("\n") + "\n"))?;
    sync_directory(&path)?;
    directory.sync()?;
    Ok(path)
}

/// A server that was killed may have left it unsynced, and segments that are written anew say of what is before them that it was durable.
fn sync_what_stays(files: &Files) -> Result<(), Failure> {
    for path in files.paths.values().chain(files.snapshots.values()).filter(|_| !planted("what_stays_unsynced")) {
        File::open(path).and_then(|file| file.sync_all()).map_err(Failure::file("sync", path))?;
    }
    Ok(())
}

fn write_durably(path: &Path, content: &str) -> Result<(), Failure> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()
    };
    write().map_err(Failure::file("write", path))
}

/// From here on the repair will be done, if not by this run then by the next.
fn note(directory: &DataDirectory, todo: &Todo) -> Result<(), Failure> {
    let replace = todo.replace.iter().map(|name| format!("replace {name}\n"));
    let remove = todo.remove.iter().map(|name| format!("remove {name}\n"));
    let draft = directory.path.join(format!("{REPAIR_NAME}{SUFFIX}"));
    write_durably(&draft, &replace.chain(remove).collect::<String>())?;
    let path = directory.path.join(REPAIR_NAME);
    fs::rename(&draft, &path).map_err(Failure::file("write", &path))?;
    if planted("note_unsynced") { Ok(()) } else { directory.sync() }
}

/// Does what is noted; what is done already stays done.
fn carry_out(directory: &DataDirectory) -> Result<(), Failure> {
    let note = directory.path.join(REPAIR_NAME);
    let failed = Failure::file("carry out", &note);
    for line in fs::read_to_string(&note).map_err(&failed)?.lines() {
        let done = match line.split_once(' ') {
            Some(("replace", name)) => fs::rename(directory.path.join(format!("{name}{SUFFIX}")), directory.path.join(name)),
            Some(("remove", name)) => fs::remove_file(directory.path.join(name)),
            _ => return Err(Failure::cannot(format!("{} has a line that means nothing: {}", note.display(), text(line.as_bytes())))),
        };
        match done {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => directory.sync()?,
        }
    }
    fs::remove_file(&note).map_err(&failed)?;
    directory.sync()
}

/// Removes what an earlier attempt has prepared, before anything was noted.
fn clean(directory: &DataDirectory) -> Result<(), Failure> {
    let names = directory.names().map_err(Failure::file("list", &directory.path))?;
    let left: Vec<&String> = names.iter().filter(|name| name.ends_with(SUFFIX)).collect();
    if !left.is_empty() {
        log::debug!("removing {}", count(left.len() as u64, "unfinished file"));
    }
    for name in left {
        let path = directory.path.join(name);
        fs::remove_file(&path).map_err(Failure::file("remove", &path))?;
    }
    Ok(())
}
