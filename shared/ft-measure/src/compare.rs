//! The same rows under two models: which is better at each row, and whether that may be chance.

mod bootstrap;
mod metric;
mod read;
mod scores;
mod sign_test;

pub use bootstrap::Resampling;
pub use metric::Metric;
pub use read::{MatchBy, read_scores};
pub use scores::{Column, Scores};
pub use sign_test::sign_test;

use ft_io::NamedValue;

use crate::error::{Error, Result};

/// What one metric says of two models, `a` before and `b` after. Rows at which neither has a value are left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// What is compared.
    pub metric: Metric,
    /// Rows that have a value.
    pub rows: usize,
    /// The mean of `a`: of a loss over all labels, of all else over rows.
    pub a: f64,
    /// The mean of `b`.
    pub b: f64,
    /// By how much `b` is better; negative where it is worse.
    pub gain: f64,
    /// The paired bootstrap's percentile interval of the gain.
    pub interval: (f64, f64),
    /// Rows at which `b` is better.
    pub wins: usize,
    /// Rows at which `a` is better.
    pub losses: usize,
    /// Rows at which both are alike.
    pub ties: usize,
    /// The two-sided p-value of the sign test over wins and losses.
    pub p_value: f64,
}

/// Compares two models by every metric that both have, in the order of [`Metric`]'s names.
///
/// # Errors
/// [`Error::Content`] if they hold other rows, or no metric in common, or no row has a value.
pub fn compare(a: &Scores, b: &Scores, resampling: Resampling) -> Result<Vec<Comparison>> {
    a.check_same_rows(b)?;
    let both = |column: &Column| Some(column.metric).zip(b.column(column.metric));
    let found: Vec<(Metric, &Column)> = a.columns.iter().filter_map(both).collect();
    let place = || format!("'{}' and '{}'", a.name, b.name);
    if found.is_empty() {
        return Err(Error::content(place(), "they have no metric in common"));
    }
    let one = |(metric, of_b): &(Metric, &Column)| {
        let of_a = a.column(*metric).unwrap_or(of_b);
        let compared = one(*metric, of_a, of_b, resampling);
        compared.map_err(|told| Error::content(place(), told))
    };
    let all: Vec<Comparison> = found.iter().filter_map(|pair| one(pair).transpose()).collect::<Result<_>>()?;
    if all.is_empty() {
        return Err(Error::content(place(), "no row has a value to compare; do the rows have references?"));
    }
    Ok(all)
}

/// One metric; none where no row has a value.
fn one(
    metric: Metric,
    a: &Column,
    b: &Column,
    resampling: Resampling,
) -> std::result::Result<Option<Comparison>, String> {
    let (mut pairs, mut gains, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for (i, (&of_a, &of_b)) in a.values.iter().zip(&b.values).enumerate() {
        let (x, y) = match (of_a, of_b) {
            (Some(x), Some(y)) => (x, y),
            (None, None) => continue,
            _ => return Err(format!("row {} has a value of {} in one of them only", i + 1, metric.name())),
        };
        if a.weights[i] != b.weights[i] {
            return Err(format!("row {} has {} labels in one and {} in the other", i + 1, a.weights[i], b.weights[i]));
        }
        pairs.push((x, y));
        gains.push(if metric.lower_is_better() { x - y } else { y - x });
        weights.push(a.weights[i]);
    }
    if pairs.is_empty() {
        return Ok(None);
    }
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| {
        let sum: f64 = pairs.iter().zip(&weights).map(|(pair, weight)| of(pair) * weight).sum();
        sum / weights.iter().sum::<f64>()
    };
    let (mean_a, mean_b) = (mean(&|pair| pair.0), mean(&|pair| pair.1));
    let count = |sign: f64| gains.iter().filter(|gain| **gain * sign > 0.0).count();
    let (wins, losses) = (count(1.0), count(-1.0));
    Ok(Some(Comparison {
        metric,
        rows: pairs.len(),
        a: mean_a,
        b: mean_b,
        gain: if metric.lower_is_better() { mean_a - mean_b } else { mean_b - mean_a },
        interval: resampling.interval(&gains, &weights),
        wins,
        losses,
        ties: pairs.len() - wins - losses,
        p_value: sign_test(wins, losses),
    }))
}
