//! A comparison in words.

use ft_measure::Comparison;

/// One metric in a line.
pub fn told(of: &Comparison) -> String {
    let Comparison { a, b, gain, interval: (low, high), wins, losses, ties, p_value, .. } = of;
    format!(
        "{a:.4} -> {b:.4}, gain {gain:+.4} [{low:+.4}, {high:+.4}], {wins} wins, {losses} losses, {ties} ties, p = \
         {p_value:.3}"
    )
}
