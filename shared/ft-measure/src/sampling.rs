//! How the next token is chosen: the likeliest one, or one drawn from what temperature, top-k, top-p and min-p leave.
//!
//! Draws are counter-based (Philox): a token depends on the seed, the row and the token's number in its answer alone,
//! whatever else is drawn and whichever release of a library draws.

mod candidates;
mod options;
mod penalty;
#[cfg(test)]
mod tests;

pub use options::Sampling;

use candle_core::Tensor;
use ft_kernels::philox::Stream;

use candidates::{Candidate, candidates};
use penalty::Seen;

/// Random streams of sampled tokens have this purpose.
const PURPOSE: u32 = 0x500;

/// The place of an answer's number among several to one prompt, in the index of its stream.
const SAMPLE_SHIFT: u32 = 40;

/// One stream of draws a row, so that no row's answer depends on another's.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    rows: Vec<Row>,
}

/// One row: its stream, how many numbers were drawn from it, and its tokens where they matter.
#[derive(Debug, Clone)]
struct Row {
    stream: Stream,
    drawn: u64,
    seen: Option<Seen>,
}

impl Sampler {
    /// For rows that go on from `prompts`, of which each stands there `samples` times on end: a row has the stream of its
    /// prompt's number and its own among the prompt's rows, under `seed`.
    pub fn new(sampling: Sampling, seed: u64, prompts: &[Vec<u32>], samples: usize) -> Self {
        let samples = samples.max(1);
        let row = |(i, prompt): (usize, &Vec<u32>)| Row {
            stream: Stream::new(seed, PURPOSE, (i / samples) as u64 | ((i % samples) as u64) << SAMPLE_SHIFT),
            drawn: 0,
            seen: (sampling.repetition_penalty != 1.0).then(|| Seen::new(prompt)),
        };
        Self { sampling, rows: prompts.iter().enumerate().map(row).collect() }
    }

    /// For one row, row 0, which goes on from `prompt` and has the stream of number `stream`.
    pub fn of_row(sampling: Sampling, seed: u64, stream: u64, prompt: &[u32]) -> Self {
        let seen = (sampling.repetition_penalty != 1.0).then(|| Seen::new(prompt));
        let stream = Stream::new(seed, PURPOSE, stream);
        Self { sampling, rows: vec![Row { stream, drawn: 0, seen }] }
    }

    /// The next token of row `row`, from logits `[vocabulary]`.
    ///
    /// # Errors
    /// [`ft_model::Error::NotFinite`] if a logit is not a number, or the greatest one is infinite.
    pub fn choose(&mut self, row: usize, logits: &Tensor) -> ft_model::Result<u32> {
        let mut logits = logits.to_dtype(candle_core::DType::F32)?.to_vec1::<f32>()?;
        let row = &mut self.rows[row];
        if let Some(seen) = &row.seen {
            seen.punish(&mut logits, self.sampling.repetition_penalty);
        }
        let likeliest = likeliest(&logits)?;
        let token = if self.sampling.is_greedy() {
            likeliest as u32
        } else {
            let candidates = candidates(&logits, logits[likeliest], &self.sampling);
            // 53 bits: all that a double in [0, 1) has.
            let uniform = (row.stream.u64(row.drawn) >> 11) as f64 / (1u64 << 53) as f64;
            row.drawn += 1;
            draw(&candidates, uniform)
        };
        if let Some(seen) = &mut row.seen {
            seen.add(token);
        }
        Ok(token)
    }
}

/// The tokens that may come after `tokens`, in the order of their ids, each with its probability: what [`Sampler`] draws
/// from.
///
/// # Errors
/// As [`Sampler::choose`].
pub fn distribution(sampling: &Sampling, logits: &[f32], tokens: &[u32]) -> ft_model::Result<Vec<(u32, f64)>> {
    let mut logits = logits.to_vec();
    if sampling.repetition_penalty != 1.0 {
        Seen::new(tokens).punish(&mut logits, sampling.repetition_penalty);
    }
    let likeliest = likeliest(&logits)?;
    if sampling.is_greedy() {
        return Ok(vec![(likeliest as u32, 1.0)]);
    }
    let candidates = candidates(&logits, logits[likeliest], sampling);
    let total: f64 = candidates.iter().map(|candidate| candidate.1).sum();
    Ok(candidates.into_iter().map(|(token, weight)| (token, weight / total)).collect())
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
