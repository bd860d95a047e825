//! How the next token is chosen: the likeliest one, or one drawn from what temperature, top-k and top-p leave.
//!
//! The three act in the order of transformers' `TemperatureLogitsWarper`, `TopKLogitsWarper` and `TopPLogitsWarper`,
//! each on the probabilities that the one before it left, which sum to one again.
//!
//! Draws are counter-based (Philox): a token depends on the seed, the row and the token's number in its answer alone,
//! whatever else is drawn and whichever release of a library draws.

use candle_core::Tensor;
use candle_transformers::generation::Sampling;
use ft_kernels::philox::Stream;

/// Random streams of sampled tokens have this purpose.
const PURPOSE: u32 = 0x500;

/// One stream of draws a row, so that no row's answer depends on another's.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    rows: Vec<Row>,
}

/// The draws of one row: its stream, and how many were taken.
#[derive(Debug, Clone)]
struct Row {
    stream: Stream,
    drawn: u64,
}

impl Sampler {
    /// For rows 0 to `rows - 1`, each with the stream of its number under `seed`.
    pub fn new(sampling: Sampling, seed: u64, rows: usize) -> Self {
        let row = |row: u64| Row { stream: Stream::new(seed, PURPOSE, row), drawn: 0 };
        Self { sampling, rows: (0..rows as u64).map(row).collect() }
    }

    /// The next token of row `row`, from logits `[vocabulary]`.
    ///
    /// # Errors
    /// [`ft_model::Error::NotFinite`] if a logit is not a number, or the greatest one is infinite.
    pub fn choose(&mut self, row: usize, logits: &Tensor) -> ft_model::Result<u32> {
        let logits = logits.to_dtype(candle_core::DType::F32)?.to_vec1::<f32>()?;
        let likeliest = likeliest(&logits)?;
        if self.sampling == Sampling::ArgMax {
            return Ok(likeliest as u32);
        }
        let candidates = candidates(&logits, logits[likeliest], &self.sampling);
        let row = &mut self.rows[row];
        // 53 bits: all that a double in [0, 1) has.
        let uniform = (row.stream.u64(row.drawn) >> 11) as f64 / (1u64 << 53) as f64;
        row.drawn += 1;
        Ok(draw(&candidates, uniform))
    }
}

/// The first of the greatest logits.
fn likeliest(logits: &[f32]) -> ft_model::Result<usize> {
    let mut best = 0;
    for (i, &logit) in logits.iter().enumerate() {
        if logit.is_nan() {
            return Err(not_finite(logit));
        }
        if logit > logits[best] {
            best = i;
        }
    }
    match logits.get(best) {
        Some(logit) if logit.is_finite() => Ok(best),
        Some(&logit) => Err(not_finite(logit)),
        None => Err(not_finite(f32::NAN)),
    }
}

fn not_finite(logit: f32) -> ft_model::Error {
    ft_model::Error::NotFinite { what: "a logit of the next token", value: f64::from(logit), sequence: None }
}

/// A token that may be drawn, and its weight: its probability, times the same number for all.
type Candidate = (u32, f64);

/// The tokens that `sampling` leaves, in the order of their ids; `greatest` is the greatest logit.
fn candidates(logits: &[f32], greatest: f32, sampling: &Sampling) -> Vec<Candidate> {
    let (temperature, top_k, top_p) = match *sampling {
        Sampling::ArgMax => (1.0, Some(1), None),
        // Gumbel's way draws from the same distribution.
        Sampling::All { temperature } | Sampling::GumbelSoftmax { temperature } => (temperature, None, None),
        Sampling::TopK { k, temperature } => (temperature, Some(k), None),
        Sampling::TopP { p, temperature } => (temperature, None, Some(p)),
        Sampling::TopKThenTopP { k, p, temperature } => (temperature, Some(k), Some(p)),
    };
    // The temperature does not change which tokens are the likeliest, so the rest needs no exponential.
    let least = top_k.map_or(f32::NEG_INFINITY, |k| kth_greatest(logits, k));
    let weight = |logit: f32| ft_kernels::math::exp((f64::from(logit) - f64::from(greatest)) / temperature);
    let likely = (0..).zip(logits).filter(|(_, logit)| **logit >= least);
    let kept = likely.map(|(id, &logit)| (id, weight(logit))).collect();
    match top_p.filter(|&p| p < 1.0) {
        Some(p) => keep_top_p(kept, p),
        None => kept,
    }
}

/// The `k`-th greatest logit, or the least one if there are fewer; all that are as great stay, as in transformers.
fn kth_greatest(logits: &[f32], k: usize) -> f32 {
    let mut order = logits.to_vec();
    let at = k.clamp(1, order.len()) - 1;
    *order.select_nth_unstable_by(at, |a, b| b.total_cmp(a)).1
}

/// Takes the least likely away as long as their probabilities together are at most `1 - p`; the likeliest stays.
fn keep_top_p(kept: Vec<Candidate>, p: f64) -> Vec<Candidate> {
    let total: f64 = kept.iter().map(|candidate| candidate.1).sum();
    // What is lighter than the mean of what may go goes in any case, so the most of a vocabulary is never sorted.
    let light = (1.0 - p) * total / kept.len() as f64;
    let (light, mut kept): (Vec<Candidate>, Vec<Candidate>) = kept.into_iter().partition(|c| c.1 < light);
    // Of equal ones the first token counts as the likelier.
    kept.sort_unstable_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
    let mut below: f64 = light.iter().map(|candidate| candidate.1).sum();
    let left_out = kept.iter().take_while(|candidate| {
        below += candidate.1;
        below / total <= 1.0 - p
    });
    let count = left_out.count().min(kept.len() - 1);
    kept.drain(..count);
    kept.sort_unstable_by_key(|candidate| candidate.0);
    kept
}

/// The candidate at `uniform`, of [0, 1), of the line on which each is as long as its weight.
fn draw(candidates: &[Candidate], uniform: f64) -> u32 {
    let total: f64 = candidates.iter().map(|candidate| candidate.1).sum();
    let mut passed = 0.0;
    let found = candidates.iter().find(|candidate| {
        passed += candidate.1;
        uniform * total < passed
    });
    // Rounding alone leads past the end of the line.
    let last = || candidates.iter().rfind(|candidate| candidate.1 > 0.0);
    found.or_else(last).map_or(0, |candidate| candidate.0)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Logits of these probabilities.
    fn logits(probabilities: &[f32]) -> Tensor {
        let logits: Vec<f32> = probabilities.iter().map(|p| p.ln()).collect();
        Tensor::new(logits, &Device::Cpu).unwrap()
    }

    /// How often each token is drawn, of 20,000 times.
    fn shares(sampling: Sampling, probabilities: &[f32]) -> Vec<f64> {
        const DRAWS: usize = 20_000;
        let logits = logits(probabilities);
        let mut sampler = Sampler::new(sampling, 1, 2);
        let mut counts = vec![0.0; probabilities.len()];
        for i in 0..DRAWS {
            counts[sampler.choose(i % 2, &logits).unwrap() as usize] += 1.0 / DRAWS as f64;
        }
        counts
    }

    #[track_caller]
    fn assert_near(found: &[f64], expected: &[f64]) {
        let near = |(f, e): (&f64, &f64)| if *e == 0.0 { *f == 0.0 } else { (f - e).abs() < 0.015 };
        assert!(found.iter().zip(expected).all(near), "{found:?}, expected {expected:?}");
    }

    const FIVE_OF_TEN: [f32; 10] = [0.04, 0.16, 0.04, 0.15, 0.14, 0.13, 0.12, 0.04, 0.09, 0.09];

    #[test]
    fn top_p_sees_what_top_k_left_as_a_whole() {
        // The five likeliest have 0.7 together, so their shares are 0.229, 0.214, 0.2, 0.186 and 0.171: from below,
        // three of them are 0.557, and with the fourth 0.771, which is more than 0.7. Two are left.
        let sampling = Sampling::TopKThenTopP { k: 5, p: 0.3, temperature: 1.0 };
        let mut expected = [0.0; 10];
        (expected[1], expected[3]) = (16.0 / 31.0, 15.0 / 31.0);
        assert_near(&shares(sampling, &FIVE_OF_TEN), &expected);
    }

    #[test]
    fn each_of_the_three_alone() {
        let four = [0.1, 0.4, 0.2, 0.3];
        assert_near(&shares(Sampling::All { temperature: 1.0 }, &four), &[0.1, 0.4, 0.2, 0.3]);
        // A temperature of a half squares the probabilities: 1, 16, 4 and 9 of 30.
        let cold = shares(Sampling::All { temperature: 0.5 }, &four);
        assert_near(&cold, &[1.0 / 30.0, 16.0 / 30.0, 4.0 / 30.0, 9.0 / 30.0]);
        let two = shares(Sampling::TopK { k: 2, temperature: 1.0 }, &four);
        assert_near(&two, &[0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
        // 0.1 alone may go, 0.1 and 0.2 are more than 1 - 0.75.
        let most = shares(Sampling::TopP { p: 0.75, temperature: 1.0 }, &four);
        assert_near(&most, &[0.0, 4.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0]);
        // What top-p leaves is found after the temperature: 1 and 4 of 30 go.
        let cold = shares(Sampling::TopP { p: 0.75, temperature: 0.5 }, &four);
        assert_near(&cold, &[0.0, 16.0 / 25.0, 0.0, 9.0 / 25.0]);
    }

    #[test]
    fn the_likeliest_is_always_left_and_equals_stay_together() {
        let four = [0.1, 0.4, 0.2, 0.3];
        assert_near(&shares(Sampling::TopP { p: 1e-9, temperature: 1.0 }, &four), &[0.0, 1.0, 0.0, 0.0]);
        assert_near(&shares(Sampling::TopP { p: 1.0, temperature: 1.0 }, &four), &[0.1, 0.4, 0.2, 0.3]);
        assert_near(&shares(Sampling::TopK { k: 99, temperature: 1.0 }, &four), &[0.1, 0.4, 0.2, 0.3]);
        // transformers keeps every token that is as likely as the k-th.
        let tied = shares(Sampling::TopK { k: 2, temperature: 1.0 }, &[0.25, 0.5, 0.25]);
        assert_near(&tied, &[0.25, 0.5, 0.25]);
    }

    #[test]
    fn temperatures_of_all_sizes_give_a_token() {
        let wide = Tensor::new(&[-1e30f32, 5.0, 4.0, 1e3], &Device::Cpu).unwrap();
        for temperature in [1e-320, 1e-30, 1.0, 1e300] {
            let mut sampler = Sampler::new(Sampling::All { temperature }, 3, 1);
            assert!(sampler.choose(0, &wide).unwrap() < 4);
        }
        let mut cold = Sampler::new(Sampling::All { temperature: 1e-320 }, 3, 1);
        assert_eq!(cold.choose(0, &wide).unwrap(), 3);
    }

    #[test]
    fn a_draw_is_a_function_of_seed_row_and_number() {
        let flat = Tensor::zeros(1000, candle_core::DType::F32, &Device::Cpu).unwrap();
        let drawn = |seed: u64, rows: &[usize]| -> Vec<u32> {
            let mut sampler = Sampler::new(Sampling::All { temperature: 1.0 }, seed, 3);
            rows.iter().map(|&row| sampler.choose(row, &flat).unwrap()).collect()
        };
        // Philox's own numbers: they stay, whatever is updated.
        assert_eq!(drawn(42, &[0, 0, 0]), FIRST_OF_42);
        let [a, b, c] = FIRST_OF_42;
        let mixed = drawn(42, &[0, 1, 0, 2, 0]);
        assert_eq!([mixed[0], mixed[2], mixed[4]], [a, b, c]);
        assert!(mixed[1] != a && mixed[3] != a && drawn(43, &[0, 0, 0]) != [a, b, c]);
    }

    const FIRST_OF_42: [u32; 3] = [597, 560, 230];

    #[test]
    fn logits_that_are_no_numbers_give_no_token() {
        for wrong in [f32::NAN, f32::INFINITY] {
            let logits = Tensor::new(&[0.0, wrong, 1.0], &Device::Cpu).unwrap();
            for sampling in [Sampling::ArgMax, Sampling::All { temperature: 1.0 }] {
                let told = Sampler::new(sampling, 0, 1).choose(0, &logits).unwrap_err().to_string();
                assert!(told.starts_with("a logit of the next token is "), "{told}");
            }
        }
        // A token that cannot be is none to take, and no error.
        let never = Tensor::new(&[f32::NEG_INFINITY, 0.5, f32::NEG_INFINITY], &Device::Cpu).unwrap();
        assert_eq!(Sampler::new(Sampling::ArgMax, 0, 1).choose(0, &never).unwrap(), 1);
        assert_eq!(Sampler::new(Sampling::All { temperature: 1.0 }, 0, 1).choose(0, &never).unwrap(), 1);
    }
}
