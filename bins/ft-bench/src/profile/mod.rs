//! `ft-bench train --profile`: where a step's time goes.

mod floors;
mod listener;

use std::time::Duration;

use serde_json::{Value, json};

pub use self::floors::{Floors, copy_rate};
pub use self::listener::{Key, Listener, Spent};
use crate::table::Table;

/// What the parts of some steps took.
pub struct Profile {
    /// Each operator in its pass, the longest first.
    parts: Vec<(Key, Spent)>,
    /// All of the steps.
    seconds: f64,
    steps: usize,
    threads: usize,
}

impl Profile {
    /// Of what a listener heard in so many steps that took `seconds` together.
    pub fn new(heard: Vec<(Key, Spent)>, seconds: f64, steps: usize, threads: usize) -> Self {
        let known: f64 = heard.iter().map(|(_, spent)| spent.wall.as_secs_f64()).sum();
        let mut parts = heard;
        parts.sort_by_key(|(_, spent)| std::cmp::Reverse(spent.wall));
        let rest = Duration::from_secs_f64((seconds - known).max(0.0));
        parts.push((Key { name: "everything else", pass: "" }, Spent { wall: rest, idle: None }));
        Self { parts, seconds, steps: steps.max(1), threads }
    }

    /// The table, with the least that each part could take where `floors` knows it.
    pub fn table(&self, floors: Option<&Floors>) -> Table {
        let mut table = Table::new(&["operator", "pass", "s a step", "share", "least, s", "of the least", "idle"]);
        table.title("where a step's time goes");
        for (key, spent) in &self.parts {
            let seconds = spent.wall.as_secs_f64() / self.steps as f64;
            let least = floors.and_then(|floors| floors.seconds(*key));
            table.row(&[
                key.name.to_owned(),
                key.pass.to_owned(),
                format!("{seconds:.3}"),
                format!("{:.1} %", 100.0 * spent.wall.as_secs_f64() / self.seconds),
                least.map_or(String::new(), |least| format!("{least:.3}")),
                least.map_or(String::new(), |least| format!("{:.0} %", 100.0 * least / seconds)),
                spent.idle.map_or(String::new(), |idle| format!("{:.0} %", 100.0 * self.idle(spent, idle))),
            ]);
        }
        table
    }

    /// The share of its threads' time in which they had nothing to do.
    fn idle(&self, spent: &Spent, idle: Duration) -> f64 {
        idle.as_secs_f64() / (spent.wall.as_secs_f64() * self.threads as f64).max(1e-9)
    }

    /// The same for machines.
    pub fn figures(&self, floors: Option<&Floors>) -> Value {
        let part = |(key, spent): &(Key, Spent)| {
            json!({
                "operator": key.name,
                "pass": key.pass,
                "seconds_a_step": spent.wall.as_secs_f64() / self.steps as f64,
                "share": spent.wall.as_secs_f64() / self.seconds,
                "least_seconds": floors.and_then(|floors| floors.seconds(*key)),
                "idle_share": spent.idle.map(|idle| self.idle(spent, idle)),
            })
        };
        self.parts.iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_span_covers_is_everything_else() {
        let spent = |millis| Spent { wall: Duration::from_millis(millis), idle: Some(Duration::from_millis(millis)) };
        let heard =
            vec![(Key { name: "o", pass: "forward" }, spent(100)), (Key { name: "qkv", pass: "forward" }, spent(300))];
        let profile = Profile::new(heard, 1.0, 2, 2);
        let figures = profile.figures(None);
        let names: Vec<_> = figures.as_array().unwrap().iter().map(|part| part["operator"].as_str().unwrap()).collect();
        assert_eq!(names, ["qkv", "o", "everything else"]);
        assert_eq!((&figures[0]["seconds_a_step"], &figures[0]["idle_share"]), (&json!(0.15), &json!(0.5)));
        assert!((figures[2]["share"].as_f64().unwrap() - 0.6).abs() < 1e-9);
        assert!(profile.table(None).to_string().contains("60.0 %"));
    }
}
