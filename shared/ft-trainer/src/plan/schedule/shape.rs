//! The curves, with transformers' names, defaults and order of operations (`transformers/optimization.py`), so that
//! the values agree to the last digits.

use std::f64::consts::PI;

use ft_kernels::math::{cos, log, pow};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::options::{SchedulerType, TrainingOptions};

/// A curve and its numbers.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Constant,
    ConstantWithWarmup,
    Linear,
    Cosine {
        cycles: f64,
    },
    Restarts {
        cycles: f64,
    },
    /// `floor` is a share of the peak; `early` is the variant that is one step ahead and warms up from `start`.
    CosineToFloor {
        cycles: f64,
        floor: f64,
        early: Option<EarlyWarmup>,
    },
    Polynomial {
        end: f64,
        power: f64,
    },
    InverseSqrt {
        timescale: Option<f64>,
    },
    StableDecay(StableDecay),
    LogWarmup(LogWarmup),
}

/// DeepSpeed's `WarmupLR` and `WarmupDecayLR` with `warmup_type` log (`deepspeed/runtime/lr_schedules.py`).
#[derive(Debug, Clone, Copy)]
pub struct LogWarmup {
    /// Whether a straight line to 0 follows.
    decays: bool,
}

/// The warm-up of `cosine_warmup_with_min_lr`, which does not begin at 0.
#[derive(Debug, Clone, Copy)]
pub struct EarlyWarmup {
    start: Option<f64>,
}

/// `warmup_stable_decay`
#[derive(Debug, Clone, Copy)]
pub struct StableDecay {
    warmup: Curve,
    decay: Curve,
    stable_steps: Option<f64>,
    decay_steps: f64,
    floor: f64,
    cycles: f64,
}

/// How a stage of `warmup_stable_decay` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Curve {
    Linear,
    Cosine,
    OneMinusSqrt,
}

impl Shape {
    /// What `--lr-scheduler-type` and `--lr-scheduler-kwargs` say.
    ///
    /// # Errors
    /// What `lr_scheduler_kwargs` lacks, or has and should not have.
    pub fn read(options: &TrainingOptions) -> Result<Self> {
        let mut kwargs = Kwargs { left: options.lr_scheduler_kwargs.clone() };
        let shape = match options.lr_scheduler_type {
            SchedulerType::Constant => Self::Constant,
            SchedulerType::ConstantWithWarmup => Self::ConstantWithWarmup,
            SchedulerType::Linear => Self::Linear,
            SchedulerType::Cosine => Self::Cosine { cycles: kwargs.number("num_cycles", 0.5)? },
            SchedulerType::CosineWithRestarts => Self::Restarts { cycles: kwargs.number("num_cycles", 1.0)? },
            SchedulerType::CosineWithMinLr => kwargs.cosine_to_floor(options.learning_rate, false)?,
            SchedulerType::CosineWarmupWithMinLr => kwargs.cosine_to_floor(options.learning_rate, true)?,
            SchedulerType::Polynomial => kwargs.polynomial(options.learning_rate)?,
            SchedulerType::InverseSqrt => Self::InverseSqrt { timescale: kwargs.maybe("timescale")? },
            SchedulerType::ConstantWithLogWarmup => Self::LogWarmup(LogWarmup { decays: false }),
            SchedulerType::LinearWithLogWarmup => Self::LogWarmup(LogWarmup { decays: true }),
            SchedulerType::WarmupStableDecay => Self::StableDecay(kwargs.stable_decay()?),
        };
        match kwargs.left.keys().next() {
            Some(key) => Err(Error::Options(format!(
                "--lr-scheduler-kwargs has '{key}', which this --lr-scheduler-type does not take"
            ))),
            None => Ok(shape),
        }
    }

    /// The share of the peak at `step` of `steps`, `warmup` of which are the warm-up.
    pub fn factor(&self, step: f64, warmup: f64, steps: f64, peak: f64) -> f64 {
        match *self {
            Self::Constant => return 1.0,
            Self::StableDecay(stages) => return stages.factor(step, warmup, steps),
            Self::LogWarmup(log) => return log.factor(step, warmup, steps),
            Self::CosineToFloor { cycles, floor, early: Some(early) } => {
                return early.factor(step, warmup, steps, cycles, floor);
            }
            _ if step < warmup => return step / warmup.max(1.0),
            _ => {}
        }
        let progress = (step - warmup) / (steps - warmup).max(1.0);
        match *self {
            Self::Linear => ((steps - step) / (steps - warmup).max(1.0)).max(0.0),
            Self::Cosine { cycles } => wave(cycles, progress).max(0.0),
            Self::Restarts { .. } if progress >= 1.0 => 0.0,
            Self::Restarts { cycles } => (0.5 * (1.0 + cos(PI * ((cycles * progress) % 1.0)))).max(0.0),
            Self::CosineToFloor { cycles, floor, .. } => above(wave(cycles, progress), floor),
            Self::Polynomial { end, power } => {
                let left = 1.0 - (step - warmup) / (steps - warmup).max(1.0);
                ((peak - end) * pow(left, power) + end) / peak
            }
            Self::InverseSqrt { timescale } => {
                let timescale = timescale.unwrap_or(if warmup > 0.0 { warmup } else { 10_000.0 });
                1.0 / ((step + (timescale - warmup)) / timescale).sqrt()
            }
            Self::Constant | Self::ConstantWithWarmup | Self::StableDecay(_) | Self::LogWarmup(_) => 1.0,
        }
    }
}

impl EarlyWarmup {
    fn factor(self, step: f64, warmup: f64, steps: f64, cycles: f64, floor: f64) -> f64 {
        if step < warmup {
            return match self.start {
                None => (step + 1.0) / warmup.max(1.0),
                Some(start) => start + (1.0 - start) * step / (warmup - 1.0).max(1.0),
            };
        }
        let progress = (step - warmup + 1.0) / (steps - warmup).max(1.0);
        above(wave(cycles, progress), floor)
    }
}

impl LogWarmup {
    /// DeepSpeed moves its schedule on after a step, from -1: the first two steps are made at 0, the first before it has
    /// begun and the second at ln 1.
    fn factor(self, step: f64, warmup: f64, steps: f64) -> f64 {
        let iteration = step - 1.0;
        let warmup = warmup.max(2.0);
        if iteration < 0.0 {
            0.0
        } else if iteration < warmup {
            (1.0 / log(warmup)) * log(iteration + 1.0)
        } else if self.decays {
            ((steps - iteration) / (steps - warmup).max(1.0)).max(0.0)
        } else {
            1.0
        }
    }
}

impl StableDecay {
    fn factor(&self, step: f64, warmup: f64, steps: f64) -> f64 {
        if step < warmup {
            let progress = step / warmup.max(1.0);
            let factor = match self.warmup {
                Curve::Linear => progress,
                Curve::Cosine => 0.5 * (1.0 - cos(PI * progress)),
                Curve::OneMinusSqrt => 1.0 - (1.0 - progress).sqrt(),
            };
            return above(factor, self.floor);
        }
        let stable = self.stable_steps.unwrap_or(steps - warmup - self.decay_steps);
        if step < warmup + stable {
            return 1.0;
        }
        if step >= warmup + stable + self.decay_steps {
            return self.floor;
        }
        let progress = (step - warmup - stable) / self.decay_steps.max(1.0);
        let factor = match self.decay {
            Curve::Linear => 1.0 - progress,
            Curve::Cosine => wave(self.cycles, progress),
            Curve::OneMinusSqrt => 1.0 - progress.sqrt(),
        };
        above(factor, self.floor)
    }
}

/// `cycles` waves of a cosine from 1 down to 0 and up again.
fn wave(cycles: f64, progress: f64) -> f64 {
    0.5 * (1.0 + cos(PI * cycles * 2.0 * progress))
}

/// A factor from 0 to 1 as one from `floor` to 1.
fn above(factor: f64, floor: f64) -> f64 {
    (factor * (1.0 - floor) + floor).max(0.0)
}

/// What is left of `--lr-scheduler-kwargs`.
struct Kwargs {
    left: Map<String, Value>,
}

impl Kwargs {
    fn maybe(&mut self, key: &str) -> Result<Option<f64>> {
        match self.left.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if number >= 0.0 => Ok(Some(number)),
                _ => Err(Error::Options(format!(
                    "--lr-scheduler-kwargs has {key}: {value}, expected a number of at least 0"
                ))),
            },
        }
    }

    fn number(&mut self, key: &str, default: f64) -> Result<f64> {
        Ok(self.maybe(key)?.unwrap_or(default))
    }

    fn curve(&mut self, key: &str, default: Curve) -> Result<Curve> {
        match self.left.remove(key) {
            None => Ok(default),
            Some(value) => match value.as_str() {
                Some("linear") => Ok(Curve::Linear),
                Some("cosine") => Ok(Curve::Cosine),
                Some("1-sqrt") => Ok(Curve::OneMinusSqrt),
                _ => Err(Error::Options(format!(
                    "--lr-scheduler-kwargs has {key}: {value}, expected linear, cosine or 1-sqrt"
                ))),
            },
        }
    }

    fn cosine_to_floor(&mut self, peak: f64, early: bool) -> Result<Shape> {
        let floor = match (self.maybe("min_lr")?, self.maybe("min_lr_rate")?) {
            (Some(least), None) => least / peak,
            (None, Some(share)) => share,
            _ => {
                return Err(Error::Options(
                    "this --lr-scheduler-type needs one of min_lr and min_lr_rate in --lr-scheduler-kwargs, such as \
                     {\"min_lr_rate\": 0.1}"
                        .into(),
                ));
            }
        };
        let early = if early { Some(EarlyWarmup { start: self.maybe("warmup_lr_rate")? }) } else { None };
        Ok(Shape::CosineToFloor { cycles: self.number("num_cycles", 0.5)?, floor, early })
    }

    fn polynomial(&mut self, peak: f64) -> Result<Shape> {
        let (end, power) = (self.number("lr_end", 1e-7)?, self.number("power", 1.0)?);
        if peak <= end {
            return Err(Error::Options(format!(
                "--lr-scheduler-type polynomial ends at lr_end {end:e}, which --learning-rate {peak:e} is not above"
            )));
        }
        Ok(Shape::Polynomial { end, power })
    }

    fn stable_decay(&mut self) -> Result<StableDecay> {
        let Some(decay_steps) = self.maybe("num_decay_steps")? else {
            return Err(Error::Options(
                "warmup_stable_decay needs num_decay_steps in --lr-scheduler-kwargs: {\"num_decay_steps\": 10}".into(),
            ));
        };
        Ok(StableDecay {
            warmup: self.curve("warmup_type", Curve::Linear)?,
            decay: self.curve("decay_type", Curve::Cosine)?,
            stable_steps: self.maybe("num_stable_steps")?,
            decay_steps,
            floor: self.number("min_lr_ratio", 0.0)?,
            cycles: self.number("num_cycles", 0.5)?,
        })
    }
}
