//! Blocks of 256 elements, whose groups' scales are quantised in their turn.

use half::f16;

use super::search::{Candidates, nearest, scale, scale_and_least};

/// The elements of a block.
const N: usize = 256;
/// Groups of 32 elements.
const GROUPS: usize = N / 32;

/// An f16 scale of scales and one of least values, both in six bits a group, then the elements' four bits.
pub(super) fn q4_k(x: &[f32; N], out: &mut [u8; 144]) {
    let (head, codes) = grouped(x, Candidates { most: 15, first: -1.0, steps: 20 });
    out[..16].copy_from_slice(&head);
    low_bits(&codes, &mut out[16..]);
}

/// As [`q4_k`], with the elements' fifth bits before their lower four.
pub(super) fn q5_k(x: &[f32; N], out: &mut [u8; 176]) {
    let (head, codes) = grouped(x, Candidates { most: 31, first: -0.5, steps: 15 });
    out[..16].copy_from_slice(&head);
    let high = &mut out[16..48];
    high.fill(0);
    for (group, codes) in codes.chunks_exact(32).enumerate() {
        for (high, code) in high.iter_mut().zip(codes) {
            *high |= (code >> 4) << group;
        }
    }
    low_bits(&codes, &mut out[48..]);
}

/// The elements' lower four bits, then their upper two, an eight-bit scale for each 16 of them, and its f16 scale.
pub(super) fn q6_k(x: &[f32; N], out: &mut [u8; 210]) {
    let mut codes = [0i8; N];
    let mut scales = [0f32; N / 16];
    let (mut largest, mut signed) = (0.0f32, 0.0f32);
    for ((scales, x), codes) in scales.iter_mut().zip(x.chunks_exact(16)).zip(codes.chunks_exact_mut(16)) {
        *scales = scale(x, 32, codes);
        if scales.abs() > largest {
            (largest, signed) = (scales.abs(), *scales);
        }
    }
    out.fill(0);
    if largest < 1e-15 {
        return;
    }
    let inverse = -128.0 / signed;
    let d = f16::from_f32(1.0 / inverse);
    let whole = scales.map(|scale| nearest(inverse * scale).min(127) as i8);
    for ((codes, x), whole) in codes.chunks_exact_mut(16).zip(x.chunks_exact(16)).zip(whole) {
        let d = d.to_f32() * f32::from(whole);
        if d != 0.0 {
            codes.iter_mut().zip(x).for_each(|(code, x)| *code = (nearest(x / d).clamp(-32, 31) + 32) as i8);
        }
    }
    six_bits(&codes.map(i8::cast_unsigned), out);
    for (to, scale) in out[192..208].iter_mut().zip(whole) {
        *to = scale.cast_unsigned();
    }
    out[208..].copy_from_slice(&d.to_le_bytes());
}

/// Lays codes of six bits into the first 192 bytes of a block of Q6_K.
fn six_bits(codes: &[u8; N], out: &mut [u8; 210]) {
    let (low, high) = out.split_at_mut(N / 2);
    for (half, codes) in codes.chunks_exact(128).enumerate() {
        for l in 0..32 {
            let [a, b, c, d] = [codes[l], codes[l + 32], codes[l + 64], codes[l + 96]];
            low[64 * half + l] = (a & 0xf) | (c & 0xf) << 4;
            low[64 * half + l + 32] = (b & 0xf) | (d & 0xf) << 4;
            high[32 * half + l] = (a >> 4) | (b >> 4) << 2 | (c >> 4) << 4 | (d >> 4) << 6;
        }
    }
}

/// The first 16 bytes of a block with groups of 32, and its codes.
fn grouped(x: &[f32; N], of: Candidates) -> ([u8; 16], [u8; N]) {
    let mut codes = [0u8; N];
    let mut parts = [(0f32, 0f32); GROUPS];
    for ((part, x), codes) in parts.iter_mut().zip(x.as_chunks().0).zip(codes.as_chunks_mut().0) {
        *part = scale_and_least(x, &weights(x), of, codes);
    }
    let above = |most: f32, x: f32| if x > most { x } else { most };
    let (scales, leasts) = (parts.map(|part| part.0), parts.map(|part| part.1));
    let largest = [scales, leasts].map(|list| list.into_iter().fold(0.0, above));
    let inverse = largest.map(|most| if most > 0.0 { 63.0 / most } else { 0.0 });
    let six = |inverse: f32, list: [f32; GROUPS]| list.map(|x| (nearest(inverse * x) as u8).min(63));
    let (scales, leasts) = (six(inverse[0], scales), six(inverse[1], leasts));
    let [d, least] = largest.map(|most| f16::from_f32(most / 63.0));
    let mut head = [0u8; 16];
    head[..2].copy_from_slice(&d.to_le_bytes());
    head[2..4].copy_from_slice(&least.to_le_bytes());
    for j in 0..GROUPS / 2 {
        // Six bits each of the first four, and below them the upper two of the last four, whose lower four share a byte.
        head[4 + j] = scales[j] | (scales[j + 4] >> 4) << 6;
        head[8 + j] = leasts[j] | (leasts[j + 4] >> 4) << 6;
        head[12 + j] = (scales[j + 4] & 0xf) | (leasts[j + 4] & 0xf) << 4;
    }
    for (((codes, x), scale), l) in codes.chunks_exact_mut(32).zip(x.chunks_exact(32)).zip(scales).zip(leasts) {
        let (d, least) = (d.to_f32() * f32::from(scale), least.to_f32() * f32::from(l));
        if d != 0.0 {
            codes.iter_mut().zip(x).for_each(|(code, x)| *code = nearest((x + least) / d).clamp(0, of.most) as u8);
        }
    }
    (head, codes)
}

/// How much an element's error counts: the group's root of the mean square, and its own magnitude.
fn weights(x: &[f32; 32]) -> [f32; 32] {
    let squares = x.iter().fold(0.0f32, |sum, x| sum + x * x);
    let mean = (squares / 32.0).sqrt();
    x.map(|x| mean + x.abs())
}

/// Of each 64 elements the first 32 in the lower halves of bytes, the others in the upper ones.
fn low_bits(codes: &[u8; N], out: &mut [u8]) {
    for (codes, out) in codes.chunks_exact(64).zip(out.chunks_exact_mut(32)) {
        let (low, high) = codes.split_at(32);
        for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
            *out = (low & 0xf) | (high & 0xf) << 4;
        }
    }
}
