//! Ranks drawn from a bounded Zipf distribution: rank k with probability proportional to k^−s, k = 1 … n.
//!
//! The method is rejection-inversion: W. Hörmann and G. Derflinger, "Rejection-inversion to generate variates from monotone
//! discrete distributions", ACM Transactions on Modeling and Computer Simulation 6.3 (1996), 169–184. It needs no table and
//! no sum over the n ranks, a constant number of steps on average, and is exact, where the usual approximation (Gray et al.,
//! SIGMOD 1994) is not and excludes s ≥ 1.

use fastrand::Rng;

/// The constants of one distribution; drawing changes nothing but the generator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zipf {
    ranks: f64,
    exponent: f64,
    /// Integral of the hat from its beginning to 3/2, less the first rank's weight.
    integral_first: f64,
    /// Integral of the hat to n + 1/2.
    integral_last: f64,
    /// Candidates no further than this below their rank are accepted without evaluating the hat.
    sure: f64,
}

impl Zipf {
    /// `ranks` ≥ 1; `exponent` finite and ≥ 0, where 0 is the uniform distribution.
    pub(crate) fn new(ranks: u64, exponent: f64) -> Self {
        assert!(ranks >= 1 && exponent >= 0.0 && exponent.is_finite(), "checked with the command line");
        #[expect(clippy::cast_precision_loss, reason = "keyspaces are below 2^53")]
        let ranks = ranks as f64;
        let mut zipf = Self { ranks, exponent, integral_first: 0.0, integral_last: 0.0, sure: 0.0 };
        zipf.integral_first = zipf.integral(1.5) - 1.0;
        zipf.integral_last = zipf.integral(ranks + 0.5);
        zipf.sure = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    /// A rank from 1 to n.
    pub(crate) fn draw(&self, rng: &mut Rng) -> u64 {
        loop {
            // In (integral_first, integral_last]: every rank's share of it is at least its weight.
            let area = self.integral_last + rng.f64() * (self.integral_first - self.integral_last);
            let position = self.inverse(area);
            let rank = position.round().clamp(1.0, self.ranks);
            if rank - position <= self.sure || area >= self.integral(rank + 0.5) - self.weight(rank) {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1 … n just above")]
                return rank as u64;
            }
        }
    }

    /// x^−s, of which the rank's probability is a multiple.
    fn weight(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// ∫ t^−s dt from 1 to x: (x^(1−s) − 1) / (1−s), whose limit at s = 1 is ln x.
    fn integral(&self, x: f64) -> f64 {
        let power = 1.0 - self.exponent;
        if power == 0.0 { x.ln() } else { (power * x.ln()).exp_m1() / power }
    }

    /// The x of an integral.
    fn inverse(&self, area: f64) -> f64 {
        let power = 1.0 - self.exponent;
        // Rounding may push the argument below −1, where there is no logarithm.
        if power == 0.0 { area.exp() } else { ((power * area).max(-1.0).ln_1p() / power).exp() }
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "small counts")]
mod tests {
    use super::*;

    /// How often each rank came, against its exact probability: within five standard deviations for every rank.
    fn check(ranks: u64, exponent: f64) {
        const DRAWS: u32 = 400_000;
        let zipf = Zipf::new(ranks, exponent);
        let mut rng = Rng::with_seed(7);
        let mut counts = vec![0_u32; usize::try_from(ranks).unwrap()];
        for _ in 0..DRAWS {
            counts[usize::try_from(zipf.draw(&mut rng)).unwrap() - 1] += 1;
        }
        let norm: f64 = (1..=ranks).map(|k| (k as f64).powf(-exponent)).sum();
        for (rank, &count) in (1..=ranks).zip(&counts) {
            let probability = (rank as f64).powf(-exponent) / norm;
            let expected = f64::from(DRAWS) * probability;
            let deviation = (expected * (1.0 - probability)).sqrt();
            let distance = (f64::from(count) - expected).abs();
            assert!(
                distance <= 5.0 * deviation + 1e-9,
                "n={ranks} s={exponent} rank {rank}: {count} draws, expected {expected:.1} ± {deviation:.1}"
            );
        }
    }

    #[test]
    fn every_rank_comes_as_often_as_its_probability() {
        for exponent in [0.0, 0.5, 0.99, 1.0, 1.2, 3.0] {
            check(1, exponent);
            check(2, exponent);
            check(50, exponent);
        }
    }

    #[test]
    fn large_keyspaces_stay_in_range_and_skewed() {
        let zipf = Zipf::new(1_000_000_000, 0.99);
        let mut rng = Rng::with_seed(1);
        let draws: Vec<u64> = (0..100_000).map(|_| zipf.draw(&mut rng)).collect();
        assert!(draws.iter().all(|&rank| (1..=1_000_000_000).contains(&rank)));
        // Σ k^−0.99 is about 22.6 to 10^9 and about 5.3 to 100.
        let hot = draws.iter().filter(|&&rank| rank <= 100).count();
        assert!((22_000..25_000).contains(&hot), "{hot} of 100 000 in the first hundred ranks");
    }
}
