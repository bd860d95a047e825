//! The exact sign test.

use ft_kernels::math::{exp, log};

/// The probability that fair coins fall at least as unevenly as `wins` to `losses` (two-sided; ties are left out before):
/// `min(1, 2·Σ C(n, k) / 2^n)` over `k` from 0 to the lesser of the two, `n` their sum. 1 where there is neither.
pub fn sign_test(wins: usize, losses: usize) -> f64 {
    let (n, lesser) = (wins + losses, wins.min(losses));
    // The greatest term, as a logarithm, for it may be less than the least double.
    let choose: f64 = (1..=lesser).map(|i| log((n - lesser + i) as f64 / i as f64)).sum();
    let greatest = exp(choose - n as f64 * std::f64::consts::LN_2);
    // The terms below it, each from the one above: C(n, k - 1) = C(n, k)·k / (n - k + 1).
    let (mut term, mut sum) = (1.0, 1.0);
    for k in (1..=lesser).rev() {
        term *= k as f64 / (n - k + 1) as f64;
        sum += term;
    }
    (2.0 * greatest * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_coins_are_counted_by_hand() {
        for (wins, losses, expected) in
            [(0, 0, 1.0), (1, 0, 1.0), (0, 5, 2.0 / 32.0), (6, 1, 16.0 / 128.0), (4, 4, 1.0), (3, 2, 1.0)]
        {
            let found = sign_test(wins, losses);
            assert!((found - expected).abs() < 1e-14, "{wins} to {losses}: {found}");
        }
    }

    #[test]
    fn many_coins_neither_overflow_nor_vanish() {
        assert!((sign_test(500_000, 500_000) - 1.0).abs() < 1e-9);
        assert!(sign_test(1_000_000, 0) == 0.0 && sign_test(600, 400) > 1e-10);
    }
}
