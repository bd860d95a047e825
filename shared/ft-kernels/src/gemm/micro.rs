//! The small kernels: a panel of `A` times a panel of `B`, the sums held in registers.
//!
//! Three versions, for AVX-512, for AVX2 and plain, of one meaning: element `(i, j)` of the block is
//! one chain of fused multiply-adds over rising `k`, starting at zero, then stored or added to `C`.

use std::sync::OnceLock;

use crate::simd::Isa;

/// What a kernel works on: a panel of `A` and one of `B`, and where their product goes.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    /// Rows of the panel of `A`.
    pub rows: usize,
    /// Columns of the panel of `B` that count.
    pub cols: usize,
    /// Elements of the inner dimension.
    pub length: usize,
    pub lhs: &'a [f32],
    /// From one row of `A` to the next, and from one `k` to the next, in elements.
    pub lhs_strides: (usize, usize),
    pub rhs: &'a [f32],
    pub c: *mut f32,
    pub stride: usize,
    pub accumulate: bool,
}

type Kernel = unsafe fn(&Block<'_>);

/// The kernels of one kind of processor.
pub struct Kernels {
    pub name: &'static str,
    /// The instructions.
    pub isa: Isa,
    /// The most rows that a panel of `A` may have.
    pub rows: usize,
    /// The most columns that a panel of `B` may have.
    pub cols: usize,
    /// The width of a panel of `B` is a multiple of this.
    pub lanes: usize,
    kernel: Kernel,
}

impl Kernels {
    /// `c = lhs·rhs` or `c += lhs·rhs`.
    ///
    /// # Safety
    /// `c` points to `rows` rows of `cols` elements, `stride` apart, that nobody else touches.
    pub unsafe fn run(&self, block: &Block<'_>) {
        let (row, k) = block.lhs_strides;
        assert!(block.rows > 0 && block.length > 0 && block.rows <= self.rows && block.cols <= self.cols);
        assert!((block.rows - 1) * row + (block.length - 1) * k < block.lhs.len());
        assert!(block.cols.next_multiple_of(self.lanes) * block.length <= block.rhs.len());
        // SAFETY: the panels hold what the kernel reads (just checked); `c` is the caller's promise.
        unsafe { (self.kernel)(block) }
    }
}

/// The kernels of an instruction set that this processor has.
fn of(isa: Isa) -> Kernels {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => Kernels { name: "avx512", isa, rows: 14, cols: 32, lanes: 16, kernel: x86::avx512 },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Kernels { name: "avx2", isa, rows: 6, cols: 16, lanes: 8, kernel: x86::avx2 },
        _ => Kernels { name: "plain", isa, rows: 4, cols: 8, lanes: 8, kernel: plain },
    }
}

/// The kernels of an instruction set, or of the best that this processor has where that is less.
pub fn kernels(isa: Isa) -> &'static Kernels {
    static SETS: [OnceLock<Kernels>; Isa::ALL.len()] = [const { OnceLock::new() }; Isa::ALL.len()];
    let isa = isa.here();
    SETS[isa as usize].get_or_init(|| of(isa))
}

/// The plain kernel; the compiler uses the vectors that the target is sure to have.
unsafe fn plain(block: &Block<'_>) {
    let (row, step) = block.lhs_strides;
    let mut sums = [[0.0f32; 8]; 4];
    for (k, b) in block.rhs.chunks_exact(8).enumerate().take(block.length) {
        for (i, sum) in sums.iter_mut().enumerate().take(block.rows) {
            let a = block.lhs[i * row + k * step];
            for (s, b) in sum.iter_mut().zip(b) {
                *s = a.mul_add(*b, *s);
            }
        }
    }
    for (i, sum) in sums.iter().enumerate().take(block.rows) {
        for (j, s) in sum.iter().enumerate().take(block.cols) {
            // SAFETY: the caller of `Kernels::run` promised these elements.
            unsafe {
                let out = block.c.add(i * block.stride + j);
                *out = if block.accumulate { *out + s } else { *s };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm256_add_ps, _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps,
        _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps,
        _mm512_setzero_ps,
    };

    use super::Block;

    /// Calls `$kernel` with the block's number of rows as a constant, and whether its rows of `A` are packed.
    macro_rules! by_rows {
        ($block:expr, $kernel:ident, $vectors:literal, [$($r:literal)*]) => {
            match ($block.rows, $block.lhs_strides) {
                $(($r, (1, $r)) => unsafe { $kernel::<$r, $vectors, true>($block) },)*
                $(($r, _) => unsafe { $kernel::<$r, $vectors, false>($block) },)*
                (rows, _) => unreachable!("a panel of {rows} rows"),
            }
        };
    }

    pub unsafe fn avx512(block: &Block<'_>) {
        if block.cols > 16 {
            by_rows!(block, block512, 2, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]);
        } else {
            by_rows!(block, block512, 1, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]);
        }
    }

    pub unsafe fn avx2(block: &Block<'_>) {
        if block.cols > 8 {
            by_rows!(block, block256, 2, [1 2 3 4 5 6]);
        } else {
            by_rows!(block, block256, 1, [1 2 3 4 5 6]);
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn block512<const ROWS: usize, const VECTORS: usize, const PACKED: bool>(block: &Block<'_>) {
        let Block { length, cols, c, stride, accumulate, .. } = *block;
        let (row, step) = if PACKED { (1, ROWS) } else { block.lhs_strides };
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        let (mut lhs, mut rhs) = (block.lhs.as_ptr(), block.rhs.as_ptr());
        for _ in 0..length {
            // SAFETY: `Kernels::run` checked that both panels hold `length` steps; only then are they read.
            unsafe {
                let mut b = [_mm512_setzero_ps(); VECTORS];
                for (v, b) in b.iter_mut().enumerate() {
                    *b = _mm512_loadu_ps(rhs.add(16 * v));
                }
                for (i, sum) in sums.iter_mut().enumerate() {
                    let a = _mm512_set1_ps(*lhs.add(i * row));
                    for (s, b) in sum.iter_mut().zip(&b) {
                        *s = _mm512_fmadd_ps(a, *b, *s);
                    }
                }
                lhs = lhs.wrapping_add(step);
                rhs = rhs.wrapping_add(16 * VECTORS);
            }
        }
        for (i, sum) in sums.iter().enumerate() {
            for (v, s) in sum.iter().enumerate() {
                let mask = ((1u32 << (cols - 16 * v).min(16)) - 1) as u16;
                // SAFETY: the mask leaves only elements that the caller of `Kernels::run` promised.
                unsafe {
                    let out = c.add(i * stride + 16 * v);
                    let value = if accumulate { _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), *s) } else { *s };
                    _mm512_mask_storeu_ps(out, mask, value);
                }
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn block256<const ROWS: usize, const VECTORS: usize, const PACKED: bool>(block: &Block<'_>) {
        let Block { length, cols, c, stride, accumulate, .. } = *block;
        let (row, step) = if PACKED { (1, ROWS) } else { block.lhs_strides };
        let mut sums = [[_mm256_setzero_ps(); VECTORS]; ROWS];
        let (mut lhs, mut rhs) = (block.lhs.as_ptr(), block.rhs.as_ptr());
        for _ in 0..length {
            // SAFETY: `Kernels::run` checked that both panels hold `length` steps; only then are they read.
            unsafe {
                let mut b = [_mm256_setzero_ps(); VECTORS];
                for (v, b) in b.iter_mut().enumerate() {
                    *b = _mm256_loadu_ps(rhs.add(8 * v));
                }
                for (i, sum) in sums.iter_mut().enumerate() {
                    let a = _mm256_broadcast_ss(&*lhs.add(i * row));
                    for (s, b) in sum.iter_mut().zip(&b) {
                        *s = _mm256_fmadd_ps(a, *b, *s);
                    }
                }
                lhs = lhs.wrapping_add(step);
                rhs = rhs.wrapping_add(8 * VECTORS);
            }
        }
        for (i, sum) in sums.iter().enumerate() {
            for (v, s) in sum.iter().enumerate() {
                let valid = (cols - 8 * v).min(8);
                // SAFETY: only elements that the caller of `Kernels::run` promised are read and written.
                unsafe {
                    let out = c.add(i * stride + 8 * v);
                    if valid == 8 {
                        let value = if accumulate { _mm256_add_ps(_mm256_loadu_ps(out), *s) } else { *s };
                        _mm256_storeu_ps(out, value);
                    } else {
                        let mut lanes = [0.0f32; 8];
                        _mm256_storeu_ps(lanes.as_mut_ptr(), *s);
                        for (j, lane) in lanes.iter().enumerate().take(valid) {
                            let element = out.add(j);
                            *element = if accumulate { *element + lane } else { *lane };
                        }
                    }
                }
            }
        }
    }
}
