//! Bounds, and whether they hold.

use anyhow::Result;
use ft_cli::Usage;
use ft_io::NamedValue;
use ft_measure::{Comparison, Metric};
use serde_json::{Value, json};

use crate::args::{BoundArgs, Threshold};

/// A bound, and what was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// The option as it could be typed.
    pub option: String,
    /// What is bounded, in words.
    pub what: String,
    /// `at least` or `at most`.
    pub side: &'static str,
    pub bound: f64,
    pub found: f64,
    pub holds: bool,
}

impl Check {
    fn new(option: String, what: String, found: f64, side: &'static str, bound: f64) -> Self {
        let holds = if side == AT_LEAST { found >= bound } else { found <= bound };
        Self { option, what, side, bound, found, holds }
    }

    /// What was found and what was asked for.
    pub fn told(&self) -> String {
        let Self { option, what, side, bound, found, .. } = self;
        format!("{what} is {found:.6}, expected {side} {bound} ({option})")
    }

    pub fn to_json(&self) -> Value {
        json!({"option": self.option, "bound": self.bound, "found": self.found, "holds": self.holds})
    }
}

/// Where nothing is typed: about five per cent of the perplexity.
const MAX_FORGETTING: f64 = 0.05;

const AT_LEAST: &str = "at least";
const AT_MOST: &str = "at most";

/// All bounds on `compared`, and on the loss of what must not be forgotten.
pub fn checks(args: &BoundArgs, compared: &[Comparison], forgetting: Option<&Comparison>) -> Result<Vec<Check>> {
    let of = |option: &str, threshold: &Threshold| {
        let found = compared.iter().find(|comparison| comparison.metric == threshold.metric);
        found.ok_or_else(|| {
            let names: Vec<&str> = compared.iter().map(|comparison| comparison.metric.name()).collect();
            Usage(format!("{option} {threshold}: what is compared has {}", names.join(", ")))
        })
    };
    let end = if args.confident { ", the interval's lower end," } else { "" };
    let gain = |c: &Comparison| if args.confident { c.interval.0 } else { c.gain };
    let mut checks = Vec::new();
    for t in &args.min_gain {
        let (c, name) = (of("--min-gain", t)?, t.metric.name());
        checks.push(Check::new(
            format!("--min-gain {t}"),
            format!("the gain of {name}{end}"),
            gain(c),
            AT_LEAST,
            t.value,
        ));
    }
    for t in &args.max_drop {
        let (c, name) = (of("--max-drop", t)?, t.metric.name());
        let what = format!("the drop of {name}{end}").replace("lower", "upper");
        checks.push(Check::new(format!("--max-drop {t}"), what, -gain(c), AT_MOST, t.value));
    }
    for (option, side, all) in [("--at-least", AT_LEAST, &args.at_least), ("--at-most", AT_MOST, &args.at_most)] {
        for t in all {
            let what = format!("{} of the second", t.metric.name());
            checks.push(Check::new(format!("{option} {t}"), what, of(option, t)?.b, side, t.value));
        }
    }
    if let Some(loss) = forgetting {
        let bound = args.max_forgetting.unwrap_or(MAX_FORGETTING);
        let option = format!("--max-forgetting {bound}");
        let what = format!("the growth of the loss on what must not be forgotten{end}").replace("lower", "upper");
        checks.push(Check::new(option, what, -gain(loss), AT_MOST, bound));
    }
    Ok(checks)
}

/// The one comparison of losses.
pub fn loss_of(compared: &[Comparison]) -> Option<&Comparison> {
    compared.iter().find(|comparison| comparison.metric == Metric::Loss)
}
