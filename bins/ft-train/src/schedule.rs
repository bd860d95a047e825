//! The learning rate of each step, as transformers' schedules give it.

use crate::args::{SchedulerType, TrainingArgs};

/// A learning-rate schedule over a known number of steps.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    kind: SchedulerType,
    peak: f64,
    warmup: u64,
    steps: u64,
}

impl Schedule {
    /// The schedule of a run of `steps` steps.
    pub fn new(args: &TrainingArgs, steps: u64) -> Self {
        let ratio = if args.warmup_steps > 0.0 { args.warmup_steps } else { args.warmup_ratio };
        // As transformers: below 1 it is a share of the steps, rounded up.
        let warmup = if args.warmup_steps >= 1.0 { args.warmup_steps } else { (steps as f64 * ratio).ceil() };
        let warmup = if args.lr_scheduler_type == SchedulerType::Constant { 0 } else { warmup as u64 };
        Self { kind: args.lr_scheduler_type, peak: args.learning_rate, warmup, steps }
    }

    /// The learning rate of step `step`, counted from 0.
    pub fn learning_rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * step as f64 / self.warmup.max(1) as f64;
        }
        let done = (step - self.warmup) as f64 / self.steps.saturating_sub(self.warmup).max(1) as f64;
        let factor = match self.kind {
            SchedulerType::Constant | SchedulerType::ConstantWithWarmup => 1.0,
            SchedulerType::Linear => 1.0 - done,
            _ => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        };
        self.peak * factor.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn schedule(line: &str, steps: u64) -> Vec<f64> {
        let args = format!("ft-train --model m --train t -o o --learning-rate 1 {line}");
        let args = crate::args::Args::parse_from(args.split_whitespace());
        let schedule = Schedule::new(&args.training, steps);
        (0..steps).map(|s| schedule.learning_rate(s)).collect()
    }

    /// Values of `transformers.get_scheduler(...)` over 8 steps, 2 of warm-up.
    #[test]
    fn schedules_are_those_of_transformers() {
        let cosine = [0.0, 0.5, 1.0, 0.933_012_701_892_219_3, 0.75, 0.5, 0.25, 0.066_987_298_107_780_7];
        let linear = [0.0, 0.5, 1.0, 5.0 / 6.0, 4.0 / 6.0, 0.5, 2.0 / 6.0, 1.0 / 6.0];
        let constant = [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        for (line, expected) in [
            ("--lr-scheduler-type cosine --warmup-ratio 0.25", cosine),
            ("--lr-scheduler-type cosine --warmup-steps 2", cosine),
            ("--lr-scheduler-type linear --warmup-steps 0.2", linear),
            ("--lr-scheduler-type constant_with_warmup --warmup-steps 2", constant),
            ("--lr-scheduler-type constant --warmup-steps 2", [1.0; 8]),
        ] {
            for (found, expected) in schedule(line, 8).iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "{line}: {found} for {expected}");
            }
        }
    }
}
