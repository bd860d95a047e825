//! The loops over rows.

use super::functions::Function;
use crate::simd::{Kernel, LANES, Simd};

/// `h = a(gate) * up`.
pub struct Gated<'a, F> {
    gate_up: &'a [f32],
    h: &'a mut [f32],
    inter: usize,
    function: F,
}

impl<'a, F> Gated<'a, F> {
    pub fn new(function: F, gate_up: &'a [f32], h: &'a mut [f32], inter: usize) -> Self {
        Self { gate_up, h, inter, function }
    }
}

impl<F: Function> Kernel for Gated<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.gate_up.chunks_exact(2 * self.inter);
        for (gate_up, h) in rows.zip(self.h.chunks_exact_mut(self.inter)) {
            let (gate, up) = gate_up.split_at(self.inter);
            let parts = gate.chunks(LANES).zip(up.chunks(LANES));
            for ((gate, up), h) in parts.zip(h.chunks_mut(LANES)) {
                let value = self.function.value(s, s.load_part(gate, 0.0));
                s.store_part(h, s.mul(value, s.load_part(up, 0.0)));
            }
        }
    }
}

/// Gate and up become their gradients.
pub struct GatedBackward<'a, F> {
    dh: &'a [f32],
    gate_up: &'a mut [f32],
    inter: usize,
    function: F,
}

impl<'a, F> GatedBackward<'a, F> {
    pub fn new(function: F, dh: &'a [f32], gate_up: &'a mut [f32], inter: usize) -> Self {
        Self { dh, gate_up, inter, function }
    }
}

impl<F: Function> Kernel for GatedBackward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.gate_up.chunks_exact_mut(2 * self.inter);
        for (gate_up, dh) in rows.zip(self.dh.chunks_exact(self.inter)) {
            let (gate, up) = gate_up.split_at_mut(self.inter);
            let parts = gate.chunks_mut(LANES).zip(up.chunks_mut(LANES));
            for ((gate, up), dh) in parts.zip(dh.chunks(LANES)) {
                let (g, u) = (s.load_part(gate, 0.0), s.load_part(up, 0.0));
                let (d_gate, d_up) = self.function.gated_backward(s, s.load_part(dh, 0.0), g, u);
                s.store_part(gate, d_gate);
                s.store_part(up, d_up);
            }
        }
    }
}

/// `h = a(x)`.
pub struct Plain<'a, F> {
    x: &'a [f32],
    h: &'a mut [f32],
    function: F,
}

impl<'a, F> Plain<'a, F> {
    pub fn new(function: F, x: &'a [f32], h: &'a mut [f32]) -> Self {
        Self { x, h, function }
    }
}

impl<F: Function> Kernel for Plain<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (x, h) in self.x.chunks(LANES).zip(self.h.chunks_mut(LANES)) {
            s.store_part(h, self.function.value(s, s.load_part(x, 0.0)));
        }
    }
}

/// x becomes its gradient.
pub struct PlainBackward<'a, F> {
    dh: &'a [f32],
    x: &'a mut [f32],
    function: F,
}

impl<'a, F> PlainBackward<'a, F> {
    pub fn new(function: F, dh: &'a [f32], x: &'a mut [f32]) -> Self {
        Self { dh, x, function }
    }
}

impl<F: Function> Kernel for PlainBackward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (dh, x) in self.dh.chunks(LANES).zip(self.x.chunks_mut(LANES)) {
            let dx = self.function.backward(s, s.load_part(dh, 0.0), s.load_part(x, 0.0));
            s.store_part(x, dx);
        }
    }
}
