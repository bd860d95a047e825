//! Rows that become columns, eight by eight.

#[cfg(target_arch = "x86_64")]
pub fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

/// Side of the square that is turned at a time: eight rows of one vector.
const SIDE: usize = 8;

/// `to[k * width + i] = widen(from[i * stride + k])` for `i < rows`, `k < length`.
#[inline(always)]
pub fn transpose<const AVX: bool, T: Copy>(
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

/// Packs the first `length` elements of `rows` rows, which lie one after the other, as columns: `to[k * width + i]` is
/// element `k` of row `i`.
pub fn turn_rows(from: &[f32], length: usize, rows: usize, to: &mut [f32], width: usize) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the processor has AVX2.
        return unsafe { turn_rows_avx2(from, length, rows, to, width) };
    }
    transpose::<false, f32>(from, length, rows, length, to, width, |x| x);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn turn_rows_avx2(from: &[f32], length: usize, rows: usize, to: &mut [f32], width: usize) {
    transpose::<true, f32>(from, length, rows, length, to, width, |x| x);
}

/// Copies the first `cols` elements of `rows` rows that are `stride` apart to rows that are `width` apart.
pub fn copy_columns(from: &[f32], stride: usize, rows: usize, cols: usize, to: &mut [f32], width: usize) {
    for (from, to) in from.chunks(stride).zip(to.chunks_mut(width)).take(rows) {
        to[..cols].copy_from_slice(&from[..cols]);
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
