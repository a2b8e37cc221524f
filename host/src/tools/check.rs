//! `osprey check`: every file, and what a server would say to them.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use osprey_core::recovery::{RecoveryError, Report};
use osprey_core::storage::SegmentNumber;

use super::answer::{count, lsns, text, time};
use super::directory::{DataDirectory, Files};
use super::failure::{CANNOT, DAMAGED, Failure, SOUND, SPARE_DAMAGED};
use super::generations::{digest, fallbacks};
use super::plan::{Plan, plan};
use super::salvage;
use super::survey::{Run, Segment, of_other_version, survey};
use crate::storage::Unfinished;

/// What the command line says.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The data directory of a stopped server [default: data_dir of the configuration]
    #[arg(value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,
}

pub(super) fn run(_: &Arguments, path: &Path) -> Result<u8, Failure> {
    let directory = DataDirectory::open_half_repaired(path)?;
    let mut files = directory.files()?.with_progress("check");
    let segments = survey(&mut files)?;
    let recovered = files.load();
    let mut damaged = files.damaged_snapshots();
    // Whole, but not of use with this log.
    let unusable = recovered.as_ref().ok().and_then(|(_, recovered)| recovered.report.unusable);
    damaged.extend(unusable.filter(|(name, _)| damaged.iter().all(|(other, _)| other != name)));
    let mut out = io::stdout().lock();
    let mut say = |line: String| Failure::unless_closed(writeln!(out, "{line}"));
    // Those before the snapshot that serves, which a start doesn't read.
    let older = recovered.as_ref().map_or(0, |(_, recovered)| recovered.segments.len() as u64 - recovered.report.segments);
    for (at, segment) in (0..).zip(&segments) {
        let report = recovered.as_ref().ok().map(|(_, recovered)| &recovered.report);
        say(describe(segment, report.filter(|_| at >= older)))?;
    }
    for name in directory.names().map_err(Failure::file("list", path))? {
        if name.ends_with(".oswal.next") || name.ends_with(".repair") {
            say(format!("{name}: left behind by a run that was interrupted; not part of the data"))?;
        }
    }
    if Unfinished::of(path).is_some() {
        say(format!("damaged: a repair was interrupted; `osprey repair {}` goes on with it", path.display()))?;
        return Ok(DAMAGED);
    }
    match recovered {
        Ok((store, recovered)) => {
            if let Some((name, keys)) = recovered.report.snapshot {
                say(format!("{name}: whole, {}", count(keys, "key")))?;
            }
            let mut warned = false;
            for (name, error) in &damaged {
                warned = true;
                say(format!("damaged: {name}: {error}; the others and the log serve, and nothing is lost yet"))?;
            }
            if warned {
                say(format!("`osprey repair {}` sets it aside", path.display()))?;
            }
            // One store at a time.
            let keys = count(store.len() as u64, "key");
            let wanted = digest(&store, recovered.position.time);
            drop(store);
            for (generation, wrong) in fallbacks(&files, &damaged, wanted, &recovered) {
                match wrong {
                    None => say(format!("{generation}: the same data, if ever a server has to fall back on it"))?,
                    Some(wrong) => {
                        warned = true;
                        say(format!(
                            "warning: {generation}: {wrong}; a start does not need it, but could not fall back on it: take snapshots, until others have replaced it"
                        ))?;
                    }
                }
            }
            let records = count(recovered.report.records, "record");
            let segments = count(recovered.report.segments, "segment");
            say(format!(
                "sound: {segments}, {records} up to LSN {}, {keys}, as of {}{}",
                recovered.position.last_lsn.0,
                time(recovered.position.time),
                if recovered.report.torn.is_some() { "; the server will cut what a crash has torn" } else { "" }
            ))?;
            Ok(if warned { SPARE_DAMAGED } else { SOUND })
        }
        Err(error @ (RecoveryError::Storage(..) | RecoveryError::OutOfMemory)) => {
            say(format!("could not be checked: {error}"))?;
            Ok(CANNOT)
        }
        Err(error) => {
            // As a repair would do it; whether the log behind a snapshot serves, shows only then.
            let candidates = salvage::candidates(&files, &damaged, &segments);
            let salvaged = salvage::read(&mut files, &candidates, &segments)?;
            lost(&plan(&segments, false, salvaged.is_some() || based(&files, &error))).into_iter().try_for_each(&mut say)?;
            salvaged.into_iter().flat_map(|salvaged| salvaged.lines).try_for_each(&mut say)?;
            say(format!("damaged: {error}"))?;
            say(match of_other_version(path, &segments, &damaged) {
                Some(newer) => newer.message,
                None => format!("`osprey repair {}` keeps what can be read", path.display()),
            })?;
            Ok(DAMAGED)
        }
    }
}

/// Whether there is a snapshot that the log may be replayed on.
pub(super) fn based(files: &Files, error: &RecoveryError) -> bool {
    !files.snapshots.is_empty() && !matches!(error, RecoveryError::Snapshot(..))
}

/// What a repair by this plan can't save, in lines.
pub(super) fn lost(plan: &Plan) -> Vec<String> {
    let mut lines: Vec<String> = plan.aside.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    for loss in &plan.losses {
        let records = count(loss.last.0 + 1 - loss.first.0, "record");
        lines.push(format!("lost: {}, {records}, at {}", lsns(loss.first, loss.last), loss.segment));
    }
    let mut keys: Vec<&Vec<u8>> = plan.keys.iter().collect();
    keys.sort_unstable();
    keys.dedup();
    lines.extend(keys.iter().map(|key| format!("lost: a write to {}", text(key))));
    lines
}

fn describe(segment: &Segment, report: Option<&Report>) -> String {
    let (frames, records, range) = segment.totals();
    let mut line = format!("{}: {} bytes, {}, {}", segment.name, segment.length, count(frames, "frame"), count(records, "record"));
    if let Some((first, last)) = range {
        line += &format!(" ({})", lsns(first, last));
    }
    line + &state(segment, report)
}

fn state(segment: &Segment, report: Option<&Report>) -> String {
    if let Some(torn) = report.and_then(|report| report.torn).filter(|torn| torn.segment <= segment.name) {
        return match torn.segment == segment.name {
            true => {
                format!("; torn by a crash behind byte {}: the server will cut {} bytes that were never promised", torn.offset, torn.bytes)
            }
            false => "; behind the place that a crash has torn: the server will remove it".to_owned(),
        };
    }
    let damaged: Vec<String> = segment.runs.iter().filter_map(|run| damage(segment.name, run)).collect();
    match (&segment.header, damaged.is_empty() || report.is_some()) {
        (Err(error), _) => format!("; corrupt at byte 0: {error}{}", damaged.iter().map(|place| format!("; {place}")).collect::<String>()),
        (Ok(header), _) if header.number != segment.name => format!("; corrupt: its header says that it is {}", header.number),
        (Ok(_), false) => format!("; corrupt {}", damaged.join("; ")),
        (Ok(_), true) if segment.sealed() => "; sealed".to_owned(),
        (Ok(_), true) => "; open".to_owned(),
    }
}

fn damage(_: SegmentNumber, run: &Run) -> Option<String> {
    match run {
        Run::Frames(_) => None,
        Run::Lost { from, header, malformed, .. } => {
            let why =
                if *malformed { "holds records that this version cannot read" } else { "has a payload that its checksum does not match" };
            let last = osprey_core::units::Lsn(header.next_lsn().0.saturating_sub(1));
            Some(format!("at byte {from}: the frame with {} {why}", lsns(header.first_lsn, last)))
        }
        Run::Unreadable { from, to } => Some(format!("at byte {from}: {} bytes are no frame", to - from)),
    }
}
