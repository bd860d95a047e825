//! Elementary functions on vectors, by polynomials.

use crate::simd::{Isa, Kernel, LANES, Simd, dispatch};

/// Below this, e^x is less than the smallest normal number and counts as zero.
const EXP_LOW: f32 = -87.336_54;
/// Above this, e^x counts as infinite (2^127.5; the true limit lies at 88.72).
const EXP_HIGH: f32 = 88.376_26;

/// e^x, to about 1e-7 relative: 0 below -87.3, infinite above 88.3, NaN for NaN.
///
/// e^x = 2^n e^r with n = round(x / ln 2) and |r| <= ln 2 / 2; the polynomial for e^r is that of
/// Cephes' `expf` (S. Moshier).
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    let shift = s.splat(12_582_912.0);
    let shifted = s.fma(x, s.splat(std::f32::consts::LOG2_E), shift);
    let n = s.sub(shifted, shift);
    // ln 2 in two parts, so that n times the first is exact.
    let r = s.fnma(n, s.splat(0.693_359_4), x);
    let r = s.fnma(n, s.splat(-2.121_944_4e-4), r);
    let p = s.splat(1.987_569_1e-4);
    let p = s.fma(p, r, s.splat(1.398_199_9e-3));
    let p = s.fma(p, r, s.splat(8.333_452e-3));
    let p = s.fma(p, r, s.splat(4.166_579_6e-2));
    let p = s.fma(p, r, s.splat(1.666_666_5e-1));
    let p = s.fma(p, r, s.splat(0.5));
    let p = s.add(s.fma(p, s.mul(r, r), r), s.splat(1.0));
    let y = s.mul(p, s.pow2_shifted(shifted));
    let y = s.select_lt(x, s.splat(EXP_LOW), s.splat(0.0), y);
    s.select_lt(s.splat(EXP_HIGH), x, s.splat(f32::INFINITY), y)
}

/// The logistic function 1 / (1 + e^-x).
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))))
}

/// The hyperbolic tangent, to about 2e-7 relative: 1 - 2 / (1 + e^2x), and near 0, where that would
/// lose digits, the polynomial of Cephes' `tanhf` (S. Moshier).
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    let e = exp(s, s.add(x, x));
    let far = s.sub(one, s.div(s.splat(2.0), s.add(one, e)));
    let square = s.mul(x, x);
    let p = s.splat(-5.704_988_7e-3);
    let p = s.fma(p, square, s.splat(2.063_909e-2));
    let p = s.fma(p, square, s.splat(-5.373_971_6e-2));
    let p = s.fma(p, square, s.splat(1.333_144_2e-1));
    let p = s.fma(p, square, s.splat(-3.333_328e-1));
    let near = s.fma(s.mul(p, square), x, x);
    s.select_lt(square, s.splat(0.39), near, far)
}

/// Replaces every element by e to its power.
pub fn exp_in_place(isa: Isa, values: &mut [f32]) {
    struct Exp<'a>(&'a mut [f32]);
    impl Kernel for Exp<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for part in self.0.chunks_mut(LANES) {
                let y = exp(s, s.load_part(part, 0.0));
                s.store_part(part, y);
            }
        }
    }
    dispatch(isa, Exp(values));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::testing::same_on_every_isa;

    struct Map<'a, const F: u8>(&'a mut [f32]);
    impl<const F: u8> Kernel for Map<'_, F> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for part in self.0.chunks_mut(LANES) {
                let x = s.load_part(part, 0.0);
                let y = if F == 0 { sigmoid(s, x) } else { tanh(s, x) };
                s.store_part(part, y);
            }
        }
    }

    fn grid(low: f32, high: f32) -> Vec<f32> {
        (0..=100_000).map(|i| low + (high - low) * i as f32 / 100_000.0).collect()
    }

    #[test]
    fn exp_is_accurate_to_a_few_units_in_the_eighth_digit() {
        let x = grid(-87.3, 88.3);
        let mut y = x.clone();
        exp_in_place(Isa::best(), &mut y);
        let worst = x.iter().zip(&y).map(|(&x, &y)| {
            let exact = f64::from(x).exp();
            ((f64::from(y) - exact) / exact).abs()
        });
        let worst = worst.fold(0.0, f64::max);
        assert!(worst < 1.5e-7, "relative error {worst:e}");
    }

    #[test]
    fn exp_at_the_ends() {
        let mut y = [0.0, -0.0, -88.0, f32::NEG_INFINITY, -1e30, 89.0, f32::INFINITY, f32::NAN];
        exp_in_place(Isa::best(), &mut y);
        assert_eq!(y[..7], [1.0, 1.0, 0.0, 0.0, 0.0, f32::INFINITY, f32::INFINITY]);
        assert!(y[7].is_nan());
    }

    #[test]
    fn sigmoid_and_tanh_follow_their_formulas() {
        let x = grid(-100.0, 100.0);
        let (mut sigmoids, mut tanhs) = (x.clone(), x.clone());
        dispatch(Isa::best(), Map::<0>(&mut sigmoids));
        dispatch(Isa::best(), Map::<1>(&mut tanhs));
        for (i, &x) in x.iter().enumerate() {
            let x = f64::from(x);
            let sigmoid = 1.0 / (1.0 + (-x).exp());
            assert!((f64::from(sigmoids[i]) - sigmoid).abs() < 1e-7, "sigmoid({x})");
            assert!((f64::from(tanhs[i]) - x.tanh()).abs() < 2e-7, "tanh({x})");
        }
    }

    #[test]
    fn tanh_keeps_its_digits_near_zero() {
        for x in grid(-1.0, 1.0).into_iter().chain(grid(-1e-3, 1e-3)) {
            let mut y = [x];
            dispatch(Isa::best(), Map::<1>(&mut y));
            let exact = f64::from(x).tanh();
            assert!((f64::from(y[0]) - exact).abs() <= 3e-7 * exact.abs(), "tanh({x})");
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        assert!(same_on_every_isa(|isa| {
            let mut y = grid(-90.0, 90.0);
            exp_in_place(isa, &mut y);
            let mut z = grid(-90.0, 90.0);
            dispatch(isa, Map::<1>(&mut z));
            let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            (bits(y), bits(z))
        }));
    }
}
