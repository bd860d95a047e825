//! The paired bootstrap (B. Efron and R. Tibshirani, "An introduction to the bootstrap", 1993, section 13.3): how far the
//! mean gain would go if other rows of the same kind had been asked.

use ft_kernels::philox::Stream;
use rayon::prelude::*;

/// Random streams of resamples have this purpose.
const PURPOSE: u32 = 0x600;

/// How rows are drawn again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resampling {
    /// The number of resamples.
    pub resamples: usize,
    /// The share of them that the interval holds, between 0 and 1.
    pub confidence: f64,
    /// The seed of the draws: resample `r` draws its rows from the stream of `r`, so that they repeat to the bit.
    pub seed: u64,
}

impl Resampling {
    /// The percentile interval of the mean of `gains`, each as often as its weight says.
    pub fn interval(&self, gains: &[f64], weights: &[f64]) -> (f64, f64) {
        let rows = gains.len() as u64;
        let mean = |resample: usize| {
            let stream = Stream::new(self.seed, PURPOSE, resample as u64);
            let (mut sum, mut total) = (0.0, 0.0);
            for draw in 0..rows {
                let row = stream.below(draw, rows) as usize;
                sum += gains[row] * weights[row];
                total += weights[row];
            }
            sum / total
        };
        let mut means: Vec<f64> = (0..self.resamples.max(1)).into_par_iter().map(mean).collect();
        means.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - self.confidence) / 2.0;
        (quantile(&means, tail), quantile(&means, 1.0 - tail))
    }
}

/// The quantile of sorted values, between two of them in proportion, as numpy has it.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_values() {
        let values = [0.0, 1.0, 4.0, 5.0, 10.0];
        assert_eq!([0.0, 0.25, 0.375, 0.9, 1.0].map(|q| quantile(&values, q)), [0.0, 1.0, 2.5, 8.0, 10.0]);
        assert_eq!(quantile(&[3.0], 0.975), 3.0);
    }

    #[test]
    fn one_seed_gives_one_interval_and_equal_rows_no_width() {
        let of = |seed: u64, gains: &[f64]| {
            Resampling { resamples: 200, confidence: 0.9, seed }.interval(gains, &vec![1.0; gains.len()])
        };
        let gains: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 11) - 4.0).collect();
        assert_eq!(of(1, &gains), of(1, &gains));
        assert_ne!(of(1, &gains), of(2, &gains));
        assert_eq!(of(1, &[0.5; 7]), (0.5, 0.5));
    }
}
