//! What is asked of the next token.

/// How the next token is chosen, by the names of transformers' `GenerationConfig`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// What logits are divided by; 0 takes the likeliest token.
    pub temperature: f64,
    /// The most tokens to draw from; as many more as are as likely as the last of them.
    pub top_k: Option<usize>,
    /// The least probability, together, of the likeliest tokens to draw from.
    pub top_p: Option<f64>,
    /// The least probability of a token, as a share of the likeliest one's.
    pub min_p: Option<f64>,
    /// What the logits of tokens that are there already are divided by, or multiplied where they are negative; 1 leaves
    /// them. It acts before all others, and also where the likeliest token is taken.
    pub repetition_penalty: f64,
}

impl Sampling {
    /// The likeliest token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: None, top_p: None, min_p: None, repetition_penalty: 1.0 };

    /// Whether no token is drawn.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }
}
