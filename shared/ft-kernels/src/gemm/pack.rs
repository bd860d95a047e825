//! Copies blocks of the operands into the panels that the kernels read in order.

use std::cell::RefCell;

use half::{bf16, f16};

use super::{Mat, Rhs};

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

/// Packs rows `from .. from + length` and columns `col .. col + cols` of `b` in f32, so that
/// `into[k * width + j]` is element `(from + k, col + j)`; `width` is `cols` rounded up to `lanes`,
/// and what is beyond `cols` is zero.
pub fn pack_rhs(b: &Rhs<'_>, from: usize, length: usize, col: usize, cols: usize, lanes: usize, into: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the processor has AVX2.
        return unsafe { pack_rhs_avx2(b, from, length, col, cols, lanes, into) };
    }
    pack_cols::<false>(b, from, length, col, cols, lanes, into);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn pack_rhs_avx2(b: &Rhs<'_>, from: usize, length: usize, col: usize, cols: usize, lanes: usize, into: &mut [f32]) {
    pack_cols::<true>(b, from, length, col, cols, lanes, into);
}

#[inline(always)]
fn pack_cols<const AVX: bool>(
    b: &Rhs<'_>,
    from: usize,
    length: usize,
    col: usize,
    cols: usize,
    lanes: usize,
    into: &mut [f32],
) {
    let width = cols.next_multiple_of(lanes);
    let into = &mut into[..width * length];
    match b {
        Rhs::F32(m) => pack_columns::<AVX, f32>(m, from, length, col, cols, width, into, |x| x),
        Rhs::Bf16(m) => pack_columns::<AVX, bf16>(m, from, length, col, cols, width, into, widen_bf16),
        Rhs::F16(m) => pack_columns::<AVX, f16>(m, from, length, col, cols, width, into, widen_f16),
    }
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

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

/// Exact, and without a branch, so that it vectorises.
#[inline(always)]
pub(crate) fn widen_bf16(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

/// Exact for every f16, subnormal and not finite ones too, and without a branch, so that it vectorises:
/// the exponent is moved by a multiplication, which is exact.
#[inline(always)]
pub(crate) fn widen_f16(x: f16) -> f32 {
    let bits = u32::from(x.to_bits());
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    let beyond = if magnitude >= 65536.0 { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | beyond | (bits & 0x8000) << 16)
}

/// Side of the square that is turned at a time: eight rows of one vector.
const SIDE: usize = 8;

/// `to[k * width + i] = widen(from[i * stride + k])` for `i < rows`, `k < length`.
#[inline(always)]
fn transpose<const AVX: bool, T: Copy>(
    from: &[T],
    stride: usize,
    rows: usize,
    length: usize,
    to: &mut [f32],
    width: usize,
    widen: impl Fn(T) -> f32 + Copy,
) {
    let squares = length / SIDE * SIDE;
    for first in (0..rows).step_by(SIDE) {
        let high = SIDE.min(rows - first);
        for k in (0..squares).step_by(SIDE) {
            let mut square = [[0.0f32; SIDE]; SIDE];
            for (i, row) in square.iter_mut().enumerate().take(high) {
                let source: &[T] = &from[(first + i) * stride + k..][..SIDE];
                for (x, y) in row.iter_mut().zip(source) {
                    *x = widen(*y);
                }
            }
            turn::<AVX>(&mut square);
            for (i, row) in square.iter().enumerate() {
                to[(k + i) * width + first..][..high].copy_from_slice(&row[..high]);
            }
        }
        for k in squares..length {
            for i in 0..high {
                to[k * width + first + i] = widen(from[(first + i) * stride + k]);
            }
        }
    }
}

/// Transposes a square in place.
#[inline(always)]
fn turn<const AVX: bool>(square: &mut [[f32; SIDE]; SIDE]) {
    #[cfg(target_arch = "x86_64")]
    if AVX {
        // SAFETY: the flag is set only where the processor has AVX2.
        unsafe { turn_avx(square) };
        return;
    }
    let turned = std::array::from_fn(|i| std::array::from_fn(|j| square[j][i]));
    *square = turned;
}

/// [`turn`] by three rounds of interleaving.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn turn_avx(square: &mut [[f32; SIDE]; SIDE]) {
    use std::arch::x86_64::{
        _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_unpackhi_ps,
        _mm256_unpacklo_ps,
    };
    // SAFETY: each row holds the eight elements that are loaded and stored.
    let r = square.each_ref().map(|row| unsafe { _mm256_loadu_ps(row.as_ptr()) });
    let mut pairs = r;
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    let mut fours = r;
    for half in 0..2 {
        let p = &pairs[4 * half..];
        fours[4 * half] = _mm256_shuffle_ps::<0x44>(p[0], p[2]);
        fours[4 * half + 1] = _mm256_shuffle_ps::<0xEE>(p[0], p[2]);
        fours[4 * half + 2] = _mm256_shuffle_ps::<0x44>(p[1], p[3]);
        fours[4 * half + 3] = _mm256_shuffle_ps::<0xEE>(p[1], p[3]);
    }
    for i in 0..4 {
        let low = _mm256_permute2f128_ps::<0x20>(fours[i], fours[4 + i]);
        let high = _mm256_permute2f128_ps::<0x31>(fours[i], fours[4 + i]);
        // SAFETY: as above.
        unsafe {
            _mm256_storeu_ps(square[i].as_mut_ptr(), low);
            _mm256_storeu_ps(square[4 + i].as_mut_ptr(), high);
        }
    }
}
