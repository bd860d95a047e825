//! The frequencies of the rotary position embedding.

use std::f32::consts::TAU;

/// A rotary position embedding over whole heads.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The base of the frequencies.
    pub theta: f64,
    /// How the frequencies are stretched for long texts.
    pub scaling: RopeScaling,
}

/// How frequencies are stretched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All alike (Chen et al., "Extending Context Window of Large Language Models via Positional
    /// Interpolation", 2023).
    Linear {
        /// What each is divided by.
        factor: f64,
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
}

impl Rope {
    /// One frequency for each pair of a head's `head_dim` elements, radians a position.
    ///
    /// They are rounded to f32 at each step as transformers rounds them, so that angles far into a
    /// text agree.
    pub fn frequencies(&self, head_dim: usize) -> Vec<f64> {
        let theta = self.theta as f32;
        let base = (0..head_dim).step_by(2).map(|i| 1.0 / theta.powf(i as f32 / head_dim as f32));
        base.map(|frequency| f64::from(self.scaling.scale(frequency))).collect()
    }
}

impl RopeScaling {
    /// The stretched frequency.
    fn scale(self, frequency: f32) -> f32 {
        match self {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / factor as f32,
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                let (factor, low, high) = (factor as f32, low_freq_factor as f32, high_freq_factor as f32);
                let context = original_max_position_embeddings as f32;
                let wavelength = TAU / frequency;
                if wavelength < context / high {
                    frequency
                } else if wavelength > context / low {
                    frequency / factor
                } else {
                    let smooth = (context / wavelength - low) / (high - low);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            }
        }
    }
}
