//! The dynamic loss scale of half precision: torch's `GradScaler`, with its numbers.

use serde::{Deserialize, Serialize};

const FIRST: f64 = 65536.0;
const GROWTH: f64 = 2.0;
const BACKOFF: f64 = 0.5;
/// Steps without a fault after which the scale grows.
const GROWTH_INTERVAL: u32 = 2000;

/// What the loss is multiplied by, so that small gradients do not vanish in 16 bits. It is a power of two: where nothing
/// over- or underflows it changes no bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    pub scale: f64,
    /// Steps since the last fault, or since the scale grew.
    growth_tracker: u32,
    /// Optimizer steps that were left out because a loss or a gradient was not finite.
    pub skipped: u64,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { scale: FIRST, growth_tracker: 0, skipped: 0 }
    }
}

/// Below this nothing is left to scale: the fault is not the scale's.
const SMALLEST: f64 = 1.0 / 16_777_216.0;

impl LossScale {
    /// A step was taken.
    pub fn stepped(&mut self) {
        self.growth_tracker += 1;
        if self.growth_tracker >= GROWTH_INTERVAL {
            self.scale *= GROWTH;
            self.growth_tracker = 0;
        }
    }

    /// A loss or gradient was not finite: the step is left out. Whether a smaller scale can still help.
    pub fn skipped(&mut self) -> bool {
        self.scale *= BACKOFF;
        self.growth_tracker = 0;
        self.skipped += 1;
        self.scale >= SMALLEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_halves_at_a_fault_and_doubles_after_two_thousand_steps_without_one() {
        let mut scale = LossScale::default();
        assert!(scale.skipped());
        assert_eq!((scale.scale, scale.skipped), (32768.0, 1));
        (0..1999).for_each(|_| scale.stepped());
        assert_eq!(scale.scale, 32768.0);
        scale.stepped();
        assert_eq!(scale.scale, 65536.0);
        (0..1999).for_each(|_| scale.stepped());
        assert!(scale.skipped());
        (0..1999).for_each(|_| scale.stepped());
        assert_eq!(scale.scale, 32768.0, "a fault begins the count anew");
    }

    #[test]
    fn faults_that_no_scale_cures_end_it() {
        let mut scale = LossScale::default();
        let helped = (0..100).take_while(|_| scale.skipped()).count();
        assert_eq!(helped, 40);
    }
}
