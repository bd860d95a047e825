//! The frequencies of the rotary position embedding.

use std::f32::consts::TAU;
use std::f64::consts;

use ft_kernels::math::{log, pow, powf};

/// A rotary position embedding (Su et al., "RoFormer", 2021) over the first elements of each head.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The base of the frequencies.
    pub theta: f64,
    /// How many elements of a head turn; an odd number counts as the even one above it.
    pub dims: usize,
    /// Whether neighbours turn together, and not elements of the first half with those of the second.
    pub pairs: bool,
    /// How the frequencies are stretched for long texts.
    pub scaling: RopeScaling,
}

/// How frequencies are stretched.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All alike (Chen et al., "Extending Context Window of Large Language Models via Positional
    /// Interpolation", 2023).
    Linear {
        /// What each is divided by.
        factor: f64,
    },
    /// By a base that grows with the sequence, once it is longer than the model was made for.
    Dynamic {
        /// How fast it grows.
        factor: f64,
        /// `max_position_embeddings`: shorter sequences are not stretched.
        context: usize,
    },
    /// Low ones only, with a smooth passage: Llama 3.1's way.
    Llama3 {
        /// What low ones are divided by.
        factor: f64,
        /// The original context over the longest wavelength of the passage.
        low_freq_factor: f64,
        /// The original context over the shortest wavelength of the passage.
        high_freq_factor: f64,
        /// The context before stretching, in tokens.
        original_max_position_embeddings: usize,
    },
    /// Low ones only, with a linear passage over the pairs (Peng et al., "YaRN", 2023, section 3.2).
    Yarn {
        /// What low ones are divided by.
        factor: f64,
        /// Turns over the original context above which a pair keeps its frequency.
        beta_fast: f64,
        /// Turns below which it is divided by the whole factor.
        beta_slow: f64,
        /// The context before stretching, in tokens.
        original_max_position_embeddings: usize,
        /// Whether the ends of the passage are whole pairs.
        truncate: bool,
        /// The factor of cosines and sines.
        attention_factor: f64,
    },
    /// Each by its own factor, of one list for short sequences and one for long ones (Ding et al., "LongRoPE", 2024).
    LongRope {
        /// For sequences up to the original context.
        short_factor: Vec<f64>,
        /// For longer ones.
        long_factor: Vec<f64>,
        /// The context before stretching, in tokens.
        original_max_position_embeddings: usize,
        /// The factor of cosines and sines.
        attention_factor: f64,
    },
}

impl Rope {
    /// One frequency for each pair of the turning elements, radians a position, in a sequence of `length` tokens.
    ///
    /// Computed in f32 with the operations and the order of transformers, so that the angles, and with them the
    /// logits, are the same.
    pub fn frequencies(&self, length: usize) -> Vec<f64> {
        let plain = |theta: f64| -> Vec<f32> {
            let exponents = (0..self.dims).step_by(2).map(|i| i as f32 / self.dims as f32);
            exponents.map(|exponent| 1.0 / powf(theta as f32, exponent)).collect()
        };
        let scaled: Vec<f32> = match &self.scaling {
            RopeScaling::None => plain(self.theta),
            RopeScaling::Linear { factor } => plain(self.theta).into_iter().map(|f| f / *factor as f32).collect(),
            RopeScaling::Dynamic { factor, context } => {
                let stretch = factor * length.max(*context) as f64 / *context as f64 - (factor - 1.0);
                let dims = self.dims as f64;
                plain(self.theta * pow(stretch, dims / (dims - 2.0)))
            }
            RopeScaling::Llama3 { .. } => {
                plain(self.theta).into_iter().map(|f| self.scaling.llama3(f).unwrap_or(f)).collect()
            }
            RopeScaling::Yarn { .. } => self.yarn(),
            RopeScaling::LongRope { short_factor, long_factor, original_max_position_embeddings, .. } => {
                let long = length > *original_max_position_embeddings;
                let factors = if long { long_factor } else { short_factor };
                let exponents = (0..self.dims).step_by(2).map(|i| i as f32 / self.dims as f32);
                exponents.zip(factors).map(|(e, f)| 1.0 / (*f as f32 * powf(self.theta as f32, e))).collect()
            }
        };
        scaled.into_iter().map(f64::from).collect()
    }

    /// What cosines and sines are multiplied by.
    pub fn magnitude(&self) -> f64 {
        match self.scaling {
            RopeScaling::Yarn { attention_factor, .. } | RopeScaling::LongRope { attention_factor, .. } => {
                attention_factor
            }
            _ => 1.0,
        }
    }

    /// The length above which the frequencies depend on it.
    pub fn switches_at(&self) -> Option<usize> {
        match self.scaling {
            RopeScaling::LongRope { original_max_position_embeddings, .. } => Some(original_max_position_embeddings),
            _ => None,
        }
    }

    fn yarn(&self) -> Vec<f32> {
        let RopeScaling::Yarn { factor, beta_fast, beta_slow, original_max_position_embeddings, truncate, .. } =
            self.scaling
        else {
            return Vec::new();
        };
        let dims = self.dims as f64;
        // The pair that makes so many turns over the original context.
        let pair = |turns: f64| {
            dims * log(original_max_position_embeddings as f64 / (turns * 2.0 * consts::PI)) / (2.0 * log(self.theta))
        };
        let (low, high) = (pair(beta_fast), pair(beta_slow));
        let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, mut high) = (low.max(0.0), high.min(dims - 1.0));
        if low.total_cmp(&high).is_eq() {
            high += 0.001;
        }
        let one = |(i, base): (usize, f32)| {
            let ramp = ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
            let keep = 1.0 - ramp;
            1.0 / (factor as f32 * base) * (1.0 - keep) + 1.0 / base * keep
        };
        let bases = (0..self.dims).step_by(2).map(|i| powf(self.theta as f32, i as f32 / self.dims as f32));
        bases.enumerate().map(one).collect()
    }
}

impl RopeScaling {
    /// How many tokens of a sequence it stretches to, in a model of `max_position_embeddings` `context`; none where that
    /// is as many as there are.
    pub(super) fn reach(&self, context: usize) -> Option<usize> {
        match self {
            RopeScaling::Dynamic { .. } => None,
            RopeScaling::Llama3 { factor, original_max_position_embeddings, .. }
            | RopeScaling::Yarn { factor, original_max_position_embeddings, .. } => {
                Some(context.max((*original_max_position_embeddings as f64 * factor) as usize))
            }
            _ => Some(context),
        }
    }

    /// Llama 3.1's frequency in place of `frequency`.
    fn llama3(&self, frequency: f32) -> Option<f32> {
        let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } = self
        else {
            return None;
        };
        let (factor, low, high) = (*factor as f32, *low_freq_factor as f32, *high_freq_factor as f32);
        let context = *original_max_position_embeddings as f32;
        let wavelength = TAU / frequency;
        Some(if wavelength < context / high {
            frequency
        } else if wavelength > context / low {
            frequency / factor
        } else {
            let smooth = (context / wavelength - low) / (high - low);
            (1.0 - smooth) * frequency / factor + smooth * frequency
        })
    }
}
