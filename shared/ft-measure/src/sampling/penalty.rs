//! The penalty of tokens that are there already (N. Keskar et al., "CTRL", 2019, section 4.1).

use std::collections::BTreeSet;

/// The tokens of one sequence, each once.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen(BTreeSet<u32>);

impl Seen {
    pub fn new(tokens: &[u32]) -> Self {
        Self(tokens.iter().copied().collect())
    }

    pub fn add(&mut self, token: u32) {
        self.0.insert(token);
    }

    /// Makes the tokens that were seen less likely, in single precision as transformers' `RepetitionPenaltyLogitsProcessor`
    /// does.
    pub fn punish(&self, logits: &mut [f32], penalty: f64) {
        let penalty = penalty as f32;
        for &token in &self.0 {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
            }
        }
    }
}
