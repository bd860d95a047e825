//! Blocks of 32 elements with one scale, and a least value or none.

use half::f16;

/// The elements of a block.
const N: usize = 32;

/// An f16 scale, then 32 signed bytes.
pub(super) fn q8_0(x: &[f32; N], out: &mut [u8; 34]) {
    let largest = x.iter().fold(0.0f32, |most, x| if x.abs() > most { x.abs() } else { most });
    let d = largest / 127.0;
    let inverse = inverse(d);
    let (head, codes) = out.split_at_mut(2);
    head.copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (code, x) in codes.iter_mut().zip(x) {
        *code = ((x * inverse).round() as i8).cast_unsigned();
    }
}

/// An f16 scale, then the elements' halves of a byte: those of the first half of the block low, those of the second high.
pub(super) fn q4_0(x: &[f32; N], out: &mut [u8; 18]) {
    let d = signed_largest(x) / -8.0;
    let inverse = inverse(d);
    let codes = x.map(|x| ((x * inverse + 8.5) as i8).min(15).cast_unsigned());
    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    low_bits(&codes, &mut out[2..]);
}

/// An f16 scale, the f16 least value, then codes as [`q4_0`] has them.
pub(super) fn q4_1(x: &[f32; N], out: &mut [u8; 20]) {
    let (least, most) = ends(x);
    let d = (most - least) / 15.0;
    let inverse = inverse(d);
    let codes = x.map(|x| (((x - least) * inverse + 0.5) as i8).min(15).cast_unsigned());
    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    out[2..4].copy_from_slice(&f16::from_f32(least).to_le_bytes());
    low_bits(&codes, &mut out[4..]);
}

/// An f16 scale, the codes' fifth bits, then their lower four.
pub(super) fn q5_0(x: &[f32; N], out: &mut [u8; 22]) {
    let d = signed_largest(x) / -16.0;
    let inverse = inverse(d);
    let codes = x.map(|x| ((x * inverse + 16.5) as i8).min(31).cast_unsigned());
    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    out[2..6].copy_from_slice(&fifth_bits(&codes).to_le_bytes());
    low_bits(&codes, &mut out[6..]);
}

/// An f16 scale, the f16 least value, the codes' fifth bits, then their lower four.
pub(super) fn q5_1(x: &[f32; N], out: &mut [u8; 24]) {
    let (least, most) = ends(x);
    let d = (most - least) / 31.0;
    let inverse = inverse(d);
    let codes = x.map(|x| ((x - least) * inverse + 0.5) as u8);
    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    out[2..4].copy_from_slice(&f16::from_f32(least).to_le_bytes());
    out[4..8].copy_from_slice(&fifth_bits(&codes).to_le_bytes());
    low_bits(&codes, &mut out[8..]);
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The first element of the largest magnitude, with its sign.
fn signed_largest(x: &[f32; N]) -> f32 {
    x.iter().fold((0.0f32, 0.0), |(most, at), &x| if most < x.abs() { (x.abs(), x) } else { (most, at) }).1
}

fn ends(x: &[f32; N]) -> (f32, f32) {
    x.iter().fold((f32::MAX, -f32::MAX), |(least, most), &x| {
        (if x < least { x } else { least }, if x > most { x } else { most })
    })
}

fn low_bits(codes: &[u8; N], out: &mut [u8]) {
    let (low, high) = codes.split_at(N / 2);
    for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
        *out = (low & 0x0f) | ((high & 0x0f) << 4);
    }
}

fn fifth_bits(codes: &[u8; N]) -> u32 {
    codes.iter().enumerate().fold(0, |bits, (j, code)| bits | (u32::from(code & 0x10) >> 4) << j)
}
