//! Counter-based random numbers: Philox4x32-10 (J. Salmon et al., "Parallel random numbers: as easy
//! as 1, 2, 3", SC 2011).
//!
//! Every number is a function of its place in its stream, and every stream of (seed, purpose,
//! index), so that a draw depends on nothing that ran before.

use crate::math::{cos, log};
use crate::simd::{Isa, Kernel, Simd, dispatch};

/// Blocks that are computed side by side, and the words they give.
const WIDTH: usize = 16;
const GROUP: usize = 4 * WIDTH;

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// The four words of one block.
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let mut x = counter;
    let mut k = key;
    for _ in 0..ROUNDS {
        let a = u64::from(MULTIPLIERS[0]) * u64::from(x[0]);
        let b = u64::from(MULTIPLIERS[1]) * u64::from(x[2]);
        x = [(b >> 32) as u32 ^ x[1] ^ k[0], b as u32, (a >> 32) as u32 ^ x[3] ^ k[1], a as u32];
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    x
}

/// An endless sequence of random words, each found by its index.
///
/// The words come in groups of 64, from 16 blocks: the first words of the blocks, then the second,
/// the third and the fourth ones. In this order vectors need no shuffling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: [u32; 2],
    nonce: [u32; 2],
}

impl Stream {
    /// The stream of a seed for one use of it (`purpose`, the caller's numbering) and one thing
    /// (`index`: a sequence, a module, an epoch …). Key and nonce are themselves drawn by Philox, so
    /// that neighbouring seeds and indices have nothing in common.
    pub fn new(seed: u64, purpose: u32, index: u64) -> Self {
        let counter = [index as u32, (index >> 32) as u32, purpose, u32::MAX];
        let [a, b, c, d] = philox4x32(counter, [seed as u32, (seed >> 32) as u32]);
        Self { key: [a, b], nonce: [c, d] }
    }

    /// Key and nonce, for those who draw the same numbers elsewhere.
    pub(crate) fn words(&self) -> [u32; 4] {
        let ([a, b], [c, d]) = (self.key, self.nonce);
        [a, b, c, d]
    }

    /// The four words of block number `block`.
    fn block(&self, block: u64) -> [u32; 4] {
        let counter = [block as u32, (block >> 32) as u32, self.nonce[0], self.nonce[1]];
        philox4x32(counter, self.key)
    }

    /// Word number `i`.
    pub fn word(&self, i: u64) -> u32 {
        let (group, at) = (i / GROUP as u64, i as usize % GROUP);
        self.block(group * WIDTH as u64 + (at % WIDTH) as u64)[at / WIDTH]
    }

    /// 64 bits, from the first or the second half of block `i / 2`.
    pub fn u64(&self, i: u64) -> u64 {
        let block = self.block(i / 2);
        let at = (i % 2) as usize * 2;
        (u64::from(block[at + 1]) << 32) | u64::from(block[at])
    }

    /// A number in [0, 1), a multiple of 2^-24, from word `i`.
    pub fn uniform_f32(&self, i: u64) -> f32 {
        unit(self.word(i))
    }

    /// [`Self::uniform_f32`] of `start`, `start + 1`, …
    pub fn fill_uniform(&self, start: u64, out: &mut [f32]) {
        self.fill_uniform_with(Isa::best(), start, out);
    }

    /// [`Self::fill_uniform`] with these instructions, which change no bit.
    pub fn fill_uniform_with(&self, isa: Isa, start: u64, out: &mut [f32]) {
        for_words(isa, self, start, out, unit);
    }

    /// A number of the normal distribution with mean 0 and deviation 1, from the
    /// 64 bits number `i` by Box and Muller's method.
    pub fn normal_f32(&self, i: u64) -> f32 {
        let bits = self.u64(i);
        let half = |word: u32| (f64::from(word) + 0.5) / 4_294_967_296.0;
        let (u, v) = (half(bits as u32), half((bits >> 32) as u32));
        ((-2.0 * log(u)).sqrt() * cos(std::f64::consts::TAU * v)) as f32
    }

    /// [`Self::normal_f32`] of `start`, `start + 1`, …
    pub fn fill_normal(&self, start: u64, out: &mut [f32]) {
        for (i, x) in (start..).zip(out) {
            *x = self.normal_f32(i);
        }
    }

    /// A number below `bound` (which is not 0), from the 64 bits number `i`.
    pub fn below(&self, i: u64, bound: u64) -> u64 {
        ((u128::from(self.u64(i)) * u128::from(bound)) >> 64) as u64
    }

    /// 0 … `n - 1` in random order (Fisher and Yates).
    pub fn permutation(&self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last, self.below(last as u64, last as u64 + 1) as usize);
        }
        order
    }
}

/// Dropout's factors for whole rows of a sequence's activation: 0 with probability `p`, else
/// `1 / (1 - p)`. `out` holds rows of `columns` from row `first_row` of the sequence on; the factor
/// of element (t, j) is word `t * columns + j` of the stream and depends on nothing else.
pub fn dropout_scale(isa: Isa, stream: &Stream, first_row: usize, columns: usize, p: f64, out: &mut [f32]) {
    let (threshold, kept) = dropout_constants(p);
    let start = first_row as u64 * columns as u64;
    // Without a branch, so that it vectorises.
    let kept = kept.to_bits();
    for_words(
        isa,
        stream,
        start,
        out,
        #[inline(always)]
        move |word| f32::from_bits(kept & u32::from(word >= threshold).wrapping_neg()),
    );
}

/// The word below which an element is dropped, and the factor of those that stay.
pub(crate) fn dropout_constants(p: f64) -> (u32, f32) {
    let p = p.clamp(0.0, 1.0);
    let threshold = (p * 4_294_967_296.0).round().min(f64::from(u32::MAX)) as u32;
    (threshold, if p < 1.0 { (1.0 / (1.0 - p)) as f32 } else { 0.0 })
}

/// A word as a number in [0, 1).
#[inline(always)]
fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Writes `f` of the words `start`, `start + 1`, … to `out`.
#[inline(always)]
fn for_words(isa: Isa, stream: &Stream, start: u64, out: &mut [f32], f: impl Fn(u32) -> f32 + Copy) {
    // Single words up to the next group's start.
    let group = start.div_ceil(GROUP as u64);
    let head = (group * GROUP as u64 - start).min(out.len() as u64) as usize;
    let (single, rest) = out.split_at_mut(head);
    for (i, x) in (start..).zip(single) {
        *x = f(stream.word(i));
    }
    dispatch(isa, Words { stream: *stream, block: group * WIDTH as u64, out: rest, f });
}

struct Words<'a, F> {
    stream: Stream,
    block: u64,
    out: &'a mut [f32],
    f: F,
}

impl<F: Fn(u32) -> f32> Kernel for Words<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (i, part) in self.out.chunks_mut(GROUP).enumerate() {
            let words = blocks(&self.stream, self.block + (i * WIDTH) as u64);
            for (words, part) in words.iter().zip(part.chunks_mut(WIDTH)) {
                for (&word, x) in words.iter().zip(part) {
                    *x = (self.f)(word as u32);
                }
            }
        }
    }
}

/// [`WIDTH`] blocks from `first` on: word by word, the blocks side by side. Only the low half of
/// each 64 bits counts; so a product's low half needs no moving.
#[inline(always)]
fn blocks(stream: &Stream, first: u64) -> [[u64; WIDTH]; 4] {
    const LOW: u64 = 0xffff_ffff;
    let [m0, m1] = MULTIPLIERS.map(u64::from);
    let mut x0: [u64; WIDTH] = std::array::from_fn(|lane| first + lane as u64);
    let mut x1 = x0.map(|block| block >> 32);
    let mut x2 = [u64::from(stream.nonce[0]); WIDTH];
    let mut x3 = [u64::from(stream.nonce[1]); WIDTH];
    let [mut k0, mut k1] = stream.key;
    for _ in 0..ROUNDS {
        for lane in 0..WIDTH {
            let a = m0 * (x0[lane] & LOW);
            let b = m1 * (x2[lane] & LOW);
            x0[lane] = (b >> 32) ^ x1[lane] ^ u64::from(k0);
            x1[lane] = b;
            x2[lane] = (a >> 32) ^ x3[lane] ^ u64::from(k1);
            x3[lane] = a;
        }
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [x0, x1, x2, x3]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of the authors' library, Random123 (`kat_vectors`).
    #[test]
    fn blocks_are_the_published_ones() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        let ones = u32::MAX;
        assert_eq!(philox4x32([ones; 4], [ones; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        let pi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
        let key = [0xa4093822, 0x299f31d0];
        assert_eq!(philox4x32(pi, key), [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
    }

    #[test]
    fn a_number_depends_on_its_index_alone() {
        let stream = Stream::new(42, 1, 7);
        for start in [0, 1, 63, 64, 100, (1 << 38) - 70] {
            for len in [0, 1, 5, 64, 200, 1000] {
                let mut out = vec![0.0; len];
                stream.fill_uniform(start, &mut out);
                for (i, &x) in (start..).zip(&out) {
                    assert_eq!(x, stream.uniform_f32(i), "word {i} from {start}");
                }
            }
        }
    }

    #[test]
    fn streams_differ_by_seed_purpose_and_index() {
        let mut words: Vec<u32> = Vec::new();
        for seed in [0, 1, 1 << 32] {
            for purpose in 0..3 {
                words.extend((0..3).map(|index| Stream::new(seed, purpose, index).word(0)));
            }
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 27);
    }

    #[test]
    fn uniform_and_normal_numbers_have_their_moments() {
        let stream = Stream::new(3, 0, 0);
        let n = 100_000;
        let moments = |values: &[f32]| {
            let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
            let square = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64;
            (mean, square - mean * mean)
        };
        let mut values = vec![0.0; n];
        stream.fill_uniform(0, &mut values);
        assert!(values.iter().all(|x| (0.0..1.0).contains(x)));
        let (mean, variance) = moments(&values);
        assert!((mean - 0.5).abs() < 0.005 && (variance - 1.0 / 12.0).abs() < 0.002);
        stream.fill_normal(0, &mut values);
        let (mean, variance) = moments(&values);
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02);
    }

    #[test]
    fn a_permutation_holds_every_index_once() {
        for n in [0, 1, 2, 1000] {
            let order = Stream::new(1, 2, 3).permutation(n);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..n));
            assert!(n < 1000 || order.iter().enumerate().filter(|(i, x)| i == *x).count() < 10);
        }
    }

    #[test]
    fn dropout_keeps_its_share_and_knows_rows_only_by_their_number() {
        let stream = Stream::new(5, 0, 0);
        let (rows, columns, p) = (100, 333, 0.1);
        let mut all = vec![0.0; rows * columns];
        dropout_scale(Isa::best(), &stream, 0, columns, p, &mut all);
        let kept = (1.0 / (1.0 - p)) as f32;
        assert!(all.iter().all(|&x| x == 0.0 || x == kept));
        let dropped = all.iter().filter(|&&x| x == 0.0).count() as f64 / all.len() as f64;
        assert!((dropped - p).abs() < 0.01, "{dropped}");
        let mut some = vec![0.0; 7 * columns];
        dropout_scale(Isa::best(), &stream, 50, columns, p, &mut some);
        assert_eq!(some, all[50 * columns..57 * columns]);
    }

    #[test]
    fn dropout_of_nothing_and_of_everything() {
        let mut out = [7.0; 100];
        dropout_scale(Isa::best(), &Stream::new(0, 0, 0), 0, 10, 0.0, &mut out);
        assert_eq!(out, [1.0; 100]);
        dropout_scale(Isa::best(), &Stream::new(0, 0, 0), 0, 10, 1.0, &mut out);
        assert!(out.iter().all(|&x| x == 0.0));
    }
}
