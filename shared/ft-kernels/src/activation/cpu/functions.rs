//! The activations' functions and slopes, on vectors.

use crate::activation::Xielu;
use crate::simd::Simd;
use crate::vector::{exp, sigmoid};

/// An activation `a`.
pub trait Function: Copy + Send + Sync {
    /// `a(x)`.
    fn value<S: Simd>(self, s: S, x: S::V) -> S::V;
    /// `d a'(x)`.
    fn backward<S: Simd>(self, s: S, d: S::V, x: S::V) -> S::V;
    /// `(d up a'(gate), d a(gate))`.
    #[inline(always)]
    fn gated_backward<S: Simd>(self, s: S, d: S::V, gate: S::V, up: S::V) -> (S::V, S::V) {
        (self.backward(s, s.mul(d, up), gate), s.mul(d, self.value(s, gate)))
    }
}

/// `x sigmoid(x)`; with `g = sigmoid(x)` its slope is `g (1 + x (1 - g))`.
#[derive(Clone, Copy)]
pub struct Silu;

impl Function for Silu {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::V) -> S::V {
        s.mul(x, sigmoid(s, x))
    }

    #[inline(always)]
    fn backward<S: Simd>(self, s: S, d: S::V, x: S::V) -> S::V {
        let one = s.splat(1.0);
        let g = sigmoid(s, x);
        s.mul(s.mul(d, g), s.fma(x, s.sub(one, g), one))
    }

    #[inline(always)]
    fn gated_backward<S: Simd>(self, s: S, d: S::V, gate: S::V, up: S::V) -> (S::V, S::V) {
        let one = s.splat(1.0);
        let g = sigmoid(s, gate);
        let through = s.mul(d, g);
        let slope = s.fma(gate, s.sub(one, g), one);
        (s.mul(s.mul(through, up), slope), s.mul(through, gate))
    }
}

/// As `(1 + tanh(u)) / 2 = sigmoid(2 u)`, this is `x g` with `g = sigmoid(2 u)` and
/// `2 u = sqrt(8 / pi) (x + 0.044715 x^3)`; its slope is `g + x g (1 - g) (2 u)'`.
#[derive(Clone, Copy)]
pub struct GeluTanh;

/// sqrt(8 / pi).
const ROOT: f32 = 1.595_769_2;
const CUBE: f32 = 0.044_715;

impl GeluTanh {
    /// Beyond this, `g` is 0 or 1 to the last bit, and the cube of a large number does no harm.
    const BOUND: f32 = 12.0;

    #[inline(always)]
    fn bounded<S: Simd>(s: S, x: S::V) -> S::V {
        let (low, high) = (s.splat(-Self::BOUND), s.splat(Self::BOUND));
        s.select_lt(x, high, s.max(x, low), high)
    }

    /// `sigmoid(2 u)` of a bounded x.
    #[inline(always)]
    fn gate<S: Simd>(s: S, x: S::V) -> S::V {
        let slope = s.fma(s.mul(x, x), s.splat(ROOT * CUBE), s.splat(ROOT));
        sigmoid(s, s.mul(x, slope))
    }

    #[inline(always)]
    fn both<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
        let b = Self::bounded(s, x);
        let g = Self::gate(s, b);
        let inner = s.fma(s.mul(b, b), s.splat(3.0 * ROOT * CUBE), s.splat(ROOT));
        let steep = s.mul(s.mul(b, g), s.sub(s.splat(1.0), g));
        (s.mul(x, g), s.fma(steep, inner, g))
    }
}

impl Function for GeluTanh {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::V) -> S::V {
        s.mul(x, Self::gate(s, Self::bounded(s, x)))
    }

    #[inline(always)]
    fn backward<S: Simd>(self, s: S, d: S::V, x: S::V) -> S::V {
        s.mul(d, Self::both(s, x).1)
    }

    #[inline(always)]
    fn gated_backward<S: Simd>(self, s: S, d: S::V, gate: S::V, up: S::V) -> (S::V, S::V) {
        let (value, slope) = Self::both(s, gate);
        (s.mul(s.mul(d, up), slope), s.mul(d, value))
    }
}

/// `x p(x)`, with the normal distribution's function `p` and density `e`; its slope is `p + x e`.
#[derive(Clone, Copy)]
pub struct Gelu;

impl Gelu {
    /// The distribution function, to 7e-8 absolute and 4e-7 relative, and the density.
    ///
    /// Up to 1 it is `1/2 + x P(x^2)`. Beyond, `p(-x) = e^(-x^2 / 2) R(x)`, and `R` over
    /// `t = 1 / (1 + 0.4 x)`, which tends to a constant, is a polynomial in `t`, in the manner of
    /// Shepherd and Laframboise 1981, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x
    /// < infinity". Both polynomials were fitted to the least largest relative error, 1e-9 and 2e-8.
    #[inline(always)]
    fn normal<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
        const NEAR: [f32; 6] = [-7.654208e-6, 1.1348637e-4, -1.18633e-3, 9.973323e-3, -6.649036e-2, 3.989423e-1];
        const FAR: [f32; 10] = [
            3.2098796e-2,
            -3.1736247e-2,
            -3.503531e-2,
            6.457664e-2,
            2.0494489e-2,
            -1.0486929e-1,
            -2.9555084e-2,
            2.1117912e-1,
            3.469536e-1,
            2.8266266e-1,
        ];
        let (zero, half, one) = (s.splat(0.0), s.splat(0.5), s.splat(1.0));
        let size = s.max(x, s.sub(zero, x));
        // At 14 the density is 0 in f32 already.
        let size = s.select_lt(size, s.splat(14.0), size, s.splat(14.0));
        let square = s.mul(size, size);
        // e^(-x^2 / 2), with what the square lost in rounding.
        let lost = s.sub(zero, s.fnma(size, size, square));
        let e = exp(s, s.mul(square, s.splat(-0.5)));
        let e = s.fnma(s.mul(e, half), lost, e);
        let t = s.div(one, s.fma(size, s.splat(0.4), one));
        let r = s.mul(polynomial(s, s.sub(t, half), FAR), t);
        let below = s.mul(e, r);
        let far = s.select_lt(x, zero, below, s.sub(one, below));
        let near = s.fma(x, polynomial(s, square, NEAR), half);
        let p = s.select_lt(size, one, near, far);
        (p, s.mul(e, s.splat(0.398_942_3)))
    }
}

/// A polynomial, its leading coefficient first.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::V, coefficients: [f32; N]) -> S::V {
    let mut sum = s.splat(coefficients[0]);
    for &coefficient in &coefficients[1..] {
        sum = s.fma(sum, x, s.splat(coefficient));
    }
    sum
}

impl Function for Gelu {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::V) -> S::V {
        s.mul(x, Self::normal(s, x).0)
    }

    #[inline(always)]
    fn backward<S: Simd>(self, s: S, d: S::V, x: S::V) -> S::V {
        let (p, e) = Self::normal(s, x);
        s.mul(d, s.fma(x, e, p))
    }

    #[inline(always)]
    fn gated_backward<S: Simd>(self, s: S, d: S::V, gate: S::V, up: S::V) -> (S::V, S::V) {
        let (p, e) = Self::normal(s, gate);
        (s.mul(s.mul(d, up), s.fma(gate, e, p)), s.mul(d, s.mul(gate, p)))
    }
}

/// `max(x, 0)`, whose slope at 0 counts as 0.
#[derive(Clone, Copy)]
pub struct Relu;

impl Function for Relu {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::V) -> S::V {
        s.select_lt(x, s.splat(0.0), s.splat(0.0), x)
    }

    #[inline(always)]
    fn backward<S: Simd>(self, s: S, d: S::V, x: S::V) -> S::V {
        s.select_lt(s.splat(0.0), x, d, s.splat(0.0))
    }
}

/// `max(x, 0)^2`, whose slope is `2 max(x, 0)`.
#[derive(Clone, Copy)]
pub struct ReluSquared;

impl Function for ReluSquared {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::V) -> S::V {
        let above = Relu.value(s, x);
        s.mul(above, above)
    }

    #[inline(always)]
    fn backward<S: Simd>(self, s: S, d: S::V, x: S::V) -> S::V {
        s.mul(d, s.mul(s.splat(2.0), Relu.value(s, x)))
    }
}

impl Xielu {
    /// `e^m - 1 - m` of numbers below 0: near it by its series, for the sum would lose its digits.
    #[inline(always)]
    fn beyond_the_tangent<S: Simd>(s: S, m: S::V) -> S::V {
        // 1 / 9!, 1 / 8! and so on to 1 / 2!.
        const SERIES: [f32; 8] = [
            2.755_731_9e-6,
            2.480_158_7e-5,
            1.984_127e-4,
            1.388_888_9e-3,
            8.333_333e-3,
            4.166_666_7e-2,
            1.666_666_7e-1,
            0.5,
        ];
        let near = s.mul(s.mul(m, m), polynomial(s, m, SERIES));
        let far = s.sub(s.sub(exp(s, m), s.splat(1.0)), m);
        s.select_lt(s.splat(-0.5), m, near, far)
    }

    /// The smaller one of x and `eps`.
    #[inline(always)]
    fn bounded<S: Simd>(self, s: S, x: S::V) -> S::V {
        s.select_lt(x, s.splat(self.eps), x, s.splat(self.eps))
    }
}

impl Function for Xielu {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::V) -> S::V {
        let m = self.bounded(s, x);
        let below = s.mul(s.splat(self.negative), s.add(Self::beyond_the_tangent(s, m), s.sub(m, x)));
        let above = s.mul(s.splat(self.positive), s.mul(x, x));
        s.fma(s.splat(self.beta), x, s.select_lt(s.splat(0.0), x, above, below))
    }

    #[inline(always)]
    fn backward<S: Simd>(self, s: S, d: S::V, x: S::V) -> S::V {
        let (zero, one, eps) = (s.splat(0.0), s.splat(1.0), s.splat(self.eps));
        let grows = s.select_lt(x, eps, exp(s, self.bounded(s, x)), zero);
        let below = s.mul(s.splat(self.negative), s.sub(grows, one));
        let above = s.mul(s.splat(2.0 * self.positive), x);
        s.mul(d, s.add(s.select_lt(zero, x, above, below), s.splat(self.beta)))
    }
}
