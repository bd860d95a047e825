//! Counter-based random numbers: Philox4x32-10 (J. Salmon et al., "Parallel random numbers: as easy
//! as 1, 2, 3", SC 2011).
//!
//! Every number is a function of its place in its stream, and every stream of (seed, purpose,
//! index), so that a draw depends on nothing that ran before.

use crate::simd::{Kernel, Simd, dispatch};

/// Blocks that are computed side by side.
const WIDTH: usize = 16;

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
        x = [
            (b >> 32) as u32 ^ x[1] ^ k[0],
            b as u32,
            (a >> 32) as u32 ^ x[3] ^ k[1],
            a as u32,
        ];
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    x
}

/// An endless sequence of random words, each found by its index.
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
        Self {
            key: [a, b],
            nonce: [c, d],
        }
    }

    /// Block number `block`: words `4 * block` to `4 * block + 3`.
    fn block(&self, block: u64) -> [u32; 4] {
        let counter = [block as u32, (block >> 32) as u32, self.nonce[0], self.nonce[1]];
        philox4x32(counter, self.key)
    }

    /// Word number `i`.
    pub fn word(&self, i: u64) -> u32 {
        self.block(i / 4)[(i % 4) as usize]
    }

    /// 64 bits, from words `2 i` and `2 i + 1`.
    pub fn u64(&self, i: u64) -> u64 {
        let block = self.block(i / 2);
        let at = (i % 2) as usize * 2;
        u64::from(block[at + 1]) << 32 | u64::from(block[at])
    }

    /// A number in [0, 1), a multiple of 2^-24, from word `i`.
    pub fn uniform_f32(&self, i: u64) -> f32 {
        unit(self.word(i))
    }

    /// [`Self::uniform_f32`] of `start`, `start + 1`, …
    pub fn fill_uniform(&self, start: u64, out: &mut [f32]) {
        for_words(self, start, out, unit);
    }

    /// A number of the normal distribution with mean 0 and deviation 1, from words `2 i` and
    /// `2 i + 1` by Box and Muller's method.
    pub fn normal_f32(&self, i: u64) -> f32 {
        let bits = self.u64(i);
        let half = |word: u32| (f64::from(word) + 0.5) / 4_294_967_296.0;
        let (u, v) = (half(bits as u32), half((bits >> 32) as u32));
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    }

    /// [`Self::normal_f32`] of `start`, `start + 1`, …
    pub fn fill_normal(&self, start: u64, out: &mut [f32]) {
        for (i, x) in (start..).zip(out) {
            *x = self.normal_f32(i);
        }
    }

    /// A number below `bound` (which is not 0), from the 64 bits number `i`.
    pub fn below(&self, i: u64, bound: u64) -> u64 {
        (u128::from(self.u64(i)) * u128::from(bound) >> 64) as u64
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
pub fn dropout_scale(stream: &Stream, first_row: usize, columns: usize, p: f64, out: &mut [f32]) {
    let (threshold, kept) = dropout_constants(p);
    let start = first_row as u64 * columns as u64;
    for_words(stream, start, out, |word| if word < threshold { 0.0 } else { kept });
}

/// The word below which an element is dropped, and the factor of those that stay.
fn dropout_constants(p: f64) -> (u32, f32) {
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
fn for_words(stream: &Stream, start: u64, out: &mut [f32], f: impl Fn(u32) -> f32 + Copy) {
    // Single words up to the next block's start.
    let head = ((4 - start % 4) % 4).min(out.len() as u64) as usize;
    let (single, rest) = out.split_at_mut(head);
    for (i, x) in (start..).zip(single) {
        *x = f(stream.word(i));
    }
    let block = start.div_ceil(4);
    dispatch(Words { stream: *stream, block, out: rest, f });
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
        for (i, part) in self.out.chunks_mut(4 * WIDTH).enumerate() {
            let words = blocks(&self.stream, self.block + (i * WIDTH) as u64);
            if part.len() == 4 * WIDTH {
                for lane in 0..WIDTH {
                    for word in 0..4 {
                        part[lane * 4 + word] = (self.f)(words[word][lane]);
                    }
                }
            } else {
                for (at, x) in part.iter_mut().enumerate() {
                    *x = (self.f)(words[at % 4][at / 4]);
                }
            }
        }
    }
}

/// [`WIDTH`] blocks from `first` on: word by word, the blocks side by side.
#[inline(always)]
fn blocks(stream: &Stream, first: u64) -> [[u32; WIDTH]; 4] {
    let mut x = [[0u32; WIDTH]; 4];
    for lane in 0..WIDTH {
        let block = first + lane as u64;
        x[0][lane] = block as u32;
        x[1][lane] = (block >> 32) as u32;
        x[2][lane] = stream.nonce[0];
        x[3][lane] = stream.nonce[1];
    }
    let mut k = stream.key;
    for _ in 0..ROUNDS {
        let mut y = [[0u32; WIDTH]; 4];
        for lane in 0..WIDTH {
            let a = u64::from(MULTIPLIERS[0]) * u64::from(x[0][lane]);
            let b = u64::from(MULTIPLIERS[1]) * u64::from(x[2][lane]);
            y[0][lane] = (b >> 32) as u32 ^ x[1][lane] ^ k[0];
            y[1][lane] = b as u32;
            y[2][lane] = (a >> 32) as u32 ^ x[3][lane] ^ k[1];
            y[3][lane] = a as u32;
        }
        x = y;
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    x
}
