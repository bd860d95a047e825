//! Elementary functions of single numbers, with bits of their own.
//!
//! `f64::ln` and its like call the C library, whose last digit depends on its version and on the processor. These are
//! the crate libm's, in Rust: the same on every machine. Everything whose result reaches a bit of training or
//! evaluation takes them; [`crate::vector`] has those on vectors.

pub use libm::{cos, exp, log, logf, pow, powf, sincos};

#[cfg(test)]
mod tests {
    use super::*;

    /// One number from the bits of many results (FNV-1a).
    fn digest(bits: impl Iterator<Item = u64>) -> u64 {
        bits.fold(0xcbf2_9ce4_8422_2325, |hash, bits| (hash ^ bits).wrapping_mul(0x0100_0000_01b3))
    }

    #[test]
    fn the_bits_are_those_of_every_other_machine() {
        let x = || (1..20_000).map(|i| f64::from(i) * 0.618_033_988_749_895);
        let of = |f: &dyn Fn(f64) -> f64| digest(x().map(|x| f(x).to_bits()));
        let found = [
            of(&log),
            of(&cos),
            of(&|x| sincos(x).0),
            of(&|x| exp(-x * 1e-2)),
            of(&|x| pow(x, 0.37)),
            digest(x().map(|x| logf(x as f32).to_bits().into())),
            digest(x().map(|x| powf(x as f32, 0.37).to_bits().into())),
        ];
        assert_eq!(found, EXPECTED);
    }

    const EXPECTED: [u64; 7] = [
        14729068767167359093,
        18049649373300331061,
        14901367620400430628,
        775700765486834358,
        10024934676561033725,
        10968528272633105610,
        17615779612194869432,
    ];
}
