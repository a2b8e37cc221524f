//! What becomes of a damaged log: which segments stay, which are written anew from what, which are set aside, and which records are lost. Pure: reads nothing,
//! writes nothing.
//!
//! Records that can be read stay at their LSNs; marks, which say nothing, take the places of those that can't. Where nothing behind a bad place says that it had been durable it is no
//! damage but a torn tail, which is left to recovery (see the core's `recovery`, whose rule this is).

use std::collections::BTreeMap;

use osprey_core::storage::SegmentNumber;
use osprey_core::units::{Lsn, Version};
use osprey_core::wal::segment::SegmentHeader;

use super::survey::{Run, Segment};

/// A segment of the log as it will be.
#[derive(Debug)]
pub(super) struct Output {
    /// Its chain is only known when the one before has been written.
    pub(super) header: SegmentHeader,
    /// The file that it is copied from.
    pub(super) source: Option<SegmentNumber>,
    pub(super) parts: Vec<Part>,
    /// It has to be written; others stay as they are.
    pub(super) changed: bool,
    /// Of one that stays: its chain at the end, and whether it is sealed.
    pub(super) end: (u32, bool),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// The frames that stand here in the source.
    Copy { from: u64, to: u64 },
    /// So many marks; the floor rises to this, so that no version is given again to a key that was lost.
    Marks { count: u64, floor: Version },
}

/// Records that can't be read.
#[derive(Debug)]
pub(super) struct Loss {
    pub(super) segment: SegmentNumber,
    pub(super) first: Lsn,
    pub(super) last: Lsn,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) outputs: Vec<Output>,
    /// Files that are no part of the log any more, and why.
    pub(super) aside: Vec<(SegmentNumber, String)>,
    pub(super) losses: Vec<Loss>,
    /// Keys that frames name which are damaged or given up.
    pub(super) keys: Vec<Vec<u8>>,
    /// Frames that are whole and given up, by file and offset: from a cut on.
    pub(super) given_up: Vec<(SegmentNumber, u64, u64)>,
    /// The last one of the log as it will be.
    pub(super) last_lsn: Lsn,
}

impl Plan {
    /// A segment behind all others in which nothing can be read: it may have held records of which nothing else tells.
    pub(super) fn unreadable_end(&self) -> Option<SegmentNumber> {
        let end = self.outputs.last().map(|output| output.header.number);
        self.aside.iter().find(|(name, why)| why == UNREADABLE && Some(*name) > end).map(|(name, _)| *name)
    }
}

const UNREADABLE: &str = "nothing in it can be read";

/// Makes a plan. `cut`: keep nothing behind the first bad place, so that the state is one that there was.
/// `based`: a snapshot stands for what was before the first segment.
pub(super) fn plan(survey: &[Segment], cut: bool, based: bool) -> Plan {
    let mut plan = Plan::default();
    let log = sort(survey, &mut plan.aside);
    let (Some((&first, _)), Some((&last, _))) = (log.first_key_value(), log.last_key_value()) else { return plan };
    let first_lsn = log.values().next().map_or(Lsn(1), |(_, header)| header.first_lsn);
    let begins = first_lsn == Lsn(1) || based;
    let start = if begins || first.0 <= 1 { first.0 } else { first.0 - 1 };
    let mut walk = Walk { log: &log, plan: &mut plan, next: if based { first_lsn } else { Lsn(1) }, cut, stopped: Stopped::No };
    for number in start..=last.0 {
        walk.segment(SegmentNumber(number));
    }
    let next = walk.next;
    plan.last_lsn = Lsn(next.0 - 1);
    plan
}

type Log<'a> = BTreeMap<SegmentNumber, (&'a Segment, SegmentHeader)>;

/// Which files are which segments of the log.
fn sort<'a>(survey: &'a [Segment], aside: &mut Vec<(SegmentNumber, String)>) -> Log<'a> {
    let known = || survey.iter().filter_map(|segment| Some((segment, segment.known?)));
    let belonging = |id| known().filter(|(_, header)| header.database == id).count();
    let database = known().map(|(_, header)| header.database).rev().max_by_key(|&id| belonging(id));
    let mut log = Log::new();
    for segment in survey {
        let Some(header) = segment.known else {
            aside.push((segment.name, UNREADABLE.to_owned()));
            continue;
        };
        if Some(header.database) != database {
            aside.push((segment.name, format!("it belongs to another database, {}", header.database)));
            continue;
        }
        let double = log.get(&header.number).map(|&(other, _): &(&Segment, _)| other.name);
        match double {
            Some(other) if segment.name != header.number => {
                aside.push((segment.name, format!("it is another {}, as {other} is", header.number)));
            }
            Some(other) => {
                aside.push((other, format!("it is another {}", header.number)));
                log.insert(header.number, (segment, header));
            }
            None => drop(log.insert(header.number, (segment, header))),
        }
    }
    log
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    No,
    /// Everything from here on was never promised: recovery cuts it.
    Torn,
    /// Everything from here on is given up.
    Cut,
}

struct Walk<'a> {
    log: &'a Log<'a>,
    plan: &'a mut Plan,
    /// The LSN that comes next.
    next: Lsn,
    cut: bool,
    stopped: Stopped,
}

impl Walk<'_> {
    fn segment(&mut self, number: SegmentNumber) {
        let here = self.log.get(&number);
        match (self.stopped, here) {
            (Stopped::Torn, _) | (Stopped::Cut, None) => return,
            (Stopped::Cut, Some((segment, _))) => {
                self.plan.aside.push((segment.name, "it is behind the cut".to_owned()));
                self.give_up(segment, 0);
                return;
            }
            (Stopped::No, _) => {}
        }
        let Some(&(segment, header)) = here else {
            // A segment of its own for the marks: of the epoch behind it, so that this one need not be changed.
            let Some((_, (_, behind))) = self.log.range(number..).next() else { return };
            let header = SegmentHeader { number, first_lsn: self.next, durable: Lsn(self.next.0 - 1), ..*behind };
            self.plan.outputs.push(Output { header, source: None, parts: Vec::new(), changed: true, end: (0, false) });
            return;
        };
        let mut output = Output {
            header,
            source: Some(segment.name),
            parts: Vec::new(),
            changed: segment.header != Ok(header) || segment.name != number,
            end: (header.chain, false),
        };
        if header.first_lsn > self.next {
            let gap = (number, header.first_lsn, header.floor);
            let before = self.plan.outputs.pop();
            match before {
                Some(mut before) => {
                    let went_on = self.gap(&mut before, gap, (number, None));
                    self.plan.outputs.push(before);
                    if !went_on {
                        // Decided for this segment as for those behind it.
                        return self.segment(number);
                    }
                }
                None => {
                    output.header.first_lsn = self.next;
                    output.changed = true;
                    if !self.gap(&mut output, gap, (number, None)) {
                        self.give_up(segment, 0);
                        self.plan.outputs.push(output);
                        return;
                    }
                }
            }
        }
        self.runs(segment, &mut output);
        self.plan.outputs.push(output);
    }

    fn runs(&mut self, segment: &Segment, output: &mut Output) {
        let number = output.header.number;
        let mut broken = None;
        for (at, run) in segment.runs.iter().enumerate() {
            let Run::Frames(frames) = run else {
                broken = broken.or(Some(at));
                if let Run::Lost { keys, header, .. } = run
                    && header.next_lsn() > self.next
                {
                    self.plan.keys.extend(keys.iter().cloned());
                }
                continue;
            };
            // Not the log's: it has these records already.
            if frames.first_lsn < self.next || (frames.records() == 0 && broken.is_some() && frames.first_lsn > self.next) {
                continue;
            }
            if frames.first_lsn > self.next && !self.gap(output, (number, frames.first_lsn, frames.floor), (number, Some(at))) {
                if self.stopped == Stopped::Cut {
                    self.give_up(segment, frames.from);
                }
                return;
            }
            output.changed |= broken.is_some() || at > 0;
            output.parts.push(Part::Copy { from: frames.from, to: frames.to });
            output.end = (frames.chain, frames.sealed);
            self.next = frames.next_lsn;
        }
        // What is damaged at the log's end, and named as durable by what is left of it.
        let Some(broken) = broken else { return };
        let is_last = self.log.range(number.next()..).next().is_none();
        let rest = segment.runs.get(broken..).unwrap_or_default();
        let claimed = rest.iter().map(Run::claim).max().unwrap_or_default();
        if is_last && claimed >= self.next {
            let read =
                rest.iter().filter_map(|run| if let Run::Lost { header, .. } = run { Some(Lsn(header.next_lsn().0 - 1)) } else { None });
            let last = read.max().unwrap_or_default().max(claimed);
            let floor = rest.iter().filter_map(|run| if let Run::Lost { header, .. } = run { Some(header.floor) } else { None }).max();
            let highest = floor.unwrap_or_default().max(output.header.floor);
            self.lose(output, number, last, highest);
            if self.cut {
                self.stopped = Stopped::Cut;
            }
        }
    }

    /// The log goes on at another LSN than it should. Returns whether to go on there.
    fn gap(
        &mut self,
        output: &mut Output,
        (segment, to, floor): (SegmentNumber, Lsn, Version),
        behind: (SegmentNumber, Option<usize>),
    ) -> bool {
        if !self.promised(output, behind) {
            self.stopped = Stopped::Torn;
            return false;
        }
        if self.cut {
            let last = self.last_lsn();
            self.plan.losses.push(Loss { segment, first: self.next, last });
            // One mark, that carries the floor on.
            let floor = self.floor().max(floor);
            output.parts.push(Part::Marks { count: 1, floor: Version(floor.0.saturating_add(last.0 - self.next.0 + 1)) });
            output.changed = true;
            self.next = Lsn(self.next.0 + 1);
            self.stopped = Stopped::Cut;
            return false;
        }
        self.lose(output, segment, Lsn(to.0 - 1), floor);
        true
    }

    /// Puts marks in the places of the records up to `last`.
    fn lose(&mut self, output: &mut Output, segment: SegmentNumber, last: Lsn, floor: Version) {
        let count = last.0 + 1 - self.next.0;
        self.plan.losses.push(Loss { segment, first: self.next, last });
        output.parts.push(Part::Marks { count, floor: Version(floor.0.saturating_add(count)) });
        output.changed = true;
        self.next = Lsn(last.0 + 1);
    }

    /// Whether anything from a place on says that the next record had been durable.
    fn promised(&self, output: &Output, (number, run): (SegmentNumber, Option<usize>)) -> bool {
        let sealed = output.header.number < number && output.end.1;
        sealed
            || self.log.range(number..).any(|(&at, (segment, header))| {
                let other = header.epoch != output.header.epoch;
                // In the segment itself also what stands before: a damaged frame may claim more than those behind it.
                let runs = segment.runs.get(if at == number { run.unwrap_or(0).saturating_sub(1) } else { 0 }..).unwrap_or_default();
                other || (at > output.header.number && header.durable >= self.next) || runs.iter().any(|run| run.claim() >= self.next)
            })
    }

    fn frames(&self) -> impl Iterator<Item = &super::survey::Frames> {
        let runs = self.log.values().flat_map(|(segment, _)| &segment.runs);
        runs.filter_map(|run| if let Run::Frames(frames) = run { Some(frames) } else { None })
    }

    fn last_lsn(&self) -> Lsn {
        self.frames().map(|frames| Lsn(frames.next_lsn.0 - 1)).max().unwrap_or_default().max(self.next)
    }

    fn floor(&self) -> Version {
        self.frames().map(|frames| frames.floor).max().unwrap_or_default()
    }

    fn give_up(&mut self, segment: &Segment, from: u64) {
        for run in &segment.runs {
            match run {
                Run::Frames(frames) if frames.from >= from => self.plan.given_up.push((segment.name, frames.from, frames.to)),
                Run::Lost { keys, from: at, .. } if *at >= from => self.plan.keys.extend(keys.iter().cloned()),
                _ => {}
            }
        }
    }
}
