//! Copies blocks of the operands into the panels that the kernels read in order.

use std::cell::RefCell;
use std::ops::Range;

use super::turn::{has_avx2, transpose};
use super::{Mat, Rhs};
use crate::simd::Isa;
use crate::widen::{widen_bf16, widen_f16};

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Runs `body` with a buffer of `length` elements that this thread keeps for the next call.
/// The content on entry is whatever the last call left.
pub fn with_scratch<R>(length: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
    // Taken out, not borrowed: should `body` come back here on the same thread, it finds an empty buffer.
    let mut buffer = SCRATCH.with(RefCell::take);
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    let result = body(&mut buffer[..length]);
    SCRATCH.with(|slot| slot.replace(buffer));
    result
}

/// Packs rows `row .. row + rows` and columns `from .. from + length` of `a`, so that
/// `into[k * rows + i]` is element `(row + i, from + k)`.
pub fn pack_lhs(a: &Mat<'_, f32>, row: usize, rows: usize, from: usize, length: usize, into: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the processor has AVX2.
        return unsafe { pack_lhs_avx2(a, row, rows, from, length, into) };
    }
    pack_rows::<false>(a, row, rows, from, length, into);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn pack_lhs_avx2(a: &Mat<'_, f32>, row: usize, rows: usize, from: usize, length: usize, into: &mut [f32]) {
    pack_rows::<true>(a, row, rows, from, length, into);
}

#[inline(always)]
fn pack_rows<const AVX: bool>(a: &Mat<'_, f32>, row: usize, rows: usize, from: usize, length: usize, into: &mut [f32]) {
    let into = &mut into[..rows * length];
    let start = row * a.row_stride + from * a.col_stride;
    if a.row_stride == 1 {
        for (k, group) in into.chunks_exact_mut(rows).enumerate() {
            group.copy_from_slice(&a.data[start + k * a.col_stride..][..rows]);
        }
    } else if a.col_stride == 1 {
        transpose::<AVX, f32>(&a.data[start..], a.row_stride, rows, length, into, rows, |x| x);
    } else {
        for (k, group) in into.chunks_exact_mut(rows).enumerate() {
            for (i, x) in group.iter_mut().enumerate() {
                *x = a.data[start + i * a.row_stride + k * a.col_stride];
            }
        }
    }
}

/// Packs rows `from .. from + length` of `b` on adjacent panels of columns in f32, panel after panel, each `room` long:
/// `into[k * width + j]` of a panel is element `(from + k, start + j)`; `width` is its columns rounded up to `lanes`, and
/// what is beyond the columns is zero. `scratch` is what [`rhs_scratch`] asks for.
pub fn pack_rhs(
    b: &Rhs<'_>,
    isa: Isa,
    (from, length): (usize, usize),
    panels: impl Iterator<Item = Range<usize>> + Clone,
    lanes: usize,
    (into, room): (&mut [f32], usize),
    scratch: &mut [f32],
) {
    if let Rhs::Blocks(b) = b {
        return b.pack(isa, (from, length), panels, lanes, (into, room), scratch);
    }
    for (panel, into) in panels.zip(into.chunks_mut(room)) {
        match b {
            Rhs::F32(m) => pack_panel(m, from, length, &panel, lanes, into, |x| x),
            Rhs::Bf16(m) => pack_panel(m, from, length, &panel, lanes, into, widen_bf16),
            Rhs::F16(m) => pack_panel(m, from, length, &panel, lanes, into, widen_f16),
            Rhs::Blocks(_) => {}
        }
    }
}

/// The floats that [`pack_rhs`] needs beside what it writes.
pub fn rhs_scratch(b: &Rhs<'_>, length: usize, columns: usize) -> usize {
    match b {
        Rhs::Blocks(b) => b.room(length, columns),
        Rhs::F32(_) | Rhs::Bf16(_) | Rhs::F16(_) => 0,
    }
}

/// [`pack_rhs`] of one panel of what lies in memory as floats.
pub fn pack_panel<T: Copy>(
    m: &Mat<'_, T>,
    from: usize,
    length: usize,
    columns: &Range<usize>,
    lanes: usize,
    into: &mut [f32],
    widen: impl Fn(T) -> f32 + Copy,
) {
    let (col, cols, width) = (columns.start, columns.len(), columns.len().next_multiple_of(lanes));
    let into = &mut into[..width * length];
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the processor has AVX2.
        return unsafe { pack_columns_avx2(m, from, length, col, cols, width, into, widen) };
    }
    pack_columns::<false, T>(m, from, length, col, cols, width, into, widen);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn pack_columns_avx2<T: Copy>(
    m: &Mat<'_, T>,
    from: usize,
    length: usize,
    col: usize,
    cols: usize,
    width: usize,
    into: &mut [f32],
    widen: impl Fn(T) -> f32 + Copy,
) {
    pack_columns::<true, T>(m, from, length, col, cols, width, into, widen);
}

#[inline(always)]
fn pack_columns<const AVX: bool, T: Copy>(
    m: &Mat<'_, T>,
    from: usize,
    length: usize,
    col: usize,
    cols: usize,
    width: usize,
    into: &mut [f32],
    widen: impl Fn(T) -> f32 + Copy,
) {
    let start = from * m.row_stride + col * m.col_stride;
    if cols < width {
        into.fill(0.0);
    }
    if m.col_stride == 1 {
        for (k, group) in into.chunks_exact_mut(width).enumerate() {
            let row = &m.data[start + k * m.row_stride..][..cols];
            for (x, y) in group.iter_mut().zip(row) {
                *x = widen(*y);
            }
        }
    } else if m.row_stride == 1 {
        transpose::<AVX, T>(&m.data[start..], m.col_stride, cols, length, into, width, widen);
    } else {
        for (k, group) in into.chunks_exact_mut(width).enumerate() {
            for (j, x) in group[..cols].iter_mut().enumerate() {
                *x = widen(m.data[start + k * m.row_stride + j * m.col_stride]);
            }
        }
    }
}
