//! Medians of runs, and ratios of neighbouring ones: the machine's moods meet both sides of a ratio, so it moves less than either.

use crate::cases::Case;
use crate::load::Run;

/// The runs of a case.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) case: &'static Case,
    /// Of each entry, in order; none where its server is missing.
    pub(crate) runs: Vec<Vec<Run>>,
}

/// A figure over several runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Outcome {
    pub(crate) fn new(case: &'static Case) -> Self {
        Self { case, runs: vec![Vec::new(); case.entries.len()] }
    }

    /// `None`: the entry has not been run.
    pub(crate) fn spread(&self, entry: usize, figure: fn(&Run) -> f64) -> Option<Spread> {
        Spread::of(self.runs[entry].iter().map(figure).collect())
    }

    /// Of the entry that `entry` is compared with to `entry`, run by run.
    pub(crate) fn ratio(&self, entry: usize, figure: fn(&Run) -> f64) -> Option<Spread> {
        let (first, _) = *self.case.compared.iter().find(|(_, second)| *second == entry)?;
        let neighbours = self.runs[first].iter().zip(&self.runs[entry]);
        Spread::of(neighbours.map(|(first, second)| figure(first) / figure(second)).collect())
    }
}

impl Spread {
    fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let median = f64::midpoint(figures[(figures.len() - 1) / 2], figures[figures.len() / 2]);
        Some(Self { min, median, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::CASES;

    fn run(cpu_us: f64) -> Run {
        Run { cpu_us, requests_per_second: 1.0, p99_us: 1.0, server_cores: 1.0, generator_cores: 1.0 }
    }

    #[test]
    fn the_median_is_the_middle_one_or_between_two() {
        assert_eq!(Spread::of(vec![]), None);
        assert_eq!(Spread::of(vec![3.0, 1.0, 9.0]), Some(Spread { min: 1.0, median: 3.0, max: 9.0 }));
        assert_eq!(Spread::of(vec![4.0, 1.0, 9.0, 2.0]), Some(Spread { min: 1.0, median: 3.0, max: 9.0 }));
    }

    #[test]
    fn ratios_are_of_runs_in_the_same_round() {
        let mut outcome = Outcome::new(&CASES[0]);
        outcome.runs[0] = vec![run(1.0), run(6.0), run(2.0)];
        outcome.runs[1] = vec![run(2.0), run(6.0), run(8.0)];
        let cpu = |run: &Run| run.cpu_us;
        assert_eq!(outcome.ratio(1, cpu), Some(Spread { min: 0.25, median: 0.5, max: 1.0 }));
        assert_eq!(outcome.ratio(0, cpu), None, "not to itself");
        assert_eq!(outcome.ratio(2, cpu), None, "it was not run");
    }
}
