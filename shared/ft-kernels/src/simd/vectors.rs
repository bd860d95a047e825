//! What a set of vector instructions can do, and work that is written in it.

/// The number of lanes of a vector.
pub const LANES: usize = 16;

/// A set of instructions on vectors of [`LANES`] numbers.
///
/// A value of an implementing type is the proof that the machine has these instructions; only
/// [`dispatch`](super::dispatch) makes one.
pub trait Simd: Copy + Send + Sync {
    /// Sixteen numbers.
    type V: Copy;
    /// Sixteen whole numbers of 32 bits.
    type I: Copy;
    /// How many of them the machine's registers hold.
    const REGISTERS: usize;

    /// Loads 16 numbers.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// Stores 16 numbers.
    ///
    /// # Safety
    /// The 16 places must be writable.
    unsafe fn store(self, to: *mut f32, v: Self::V);
    /// One number in every lane.
    fn splat(self, x: f32) -> Self::V;
    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// The square root.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b`, rounded once.
    fn fnma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a` where `a > b`, else `b` (so `b` where one is not a number).
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `yes` where `a < b`, else `no`.
    fn select_lt(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// 2 to the power n, for integers n of -126 to 127 given as the float `n + 1.5 * 2^23`.
    fn pow2_shifted(self, n: Self::V) -> Self::V;
    /// The sum of the lanes, halves added to halves.
    fn sum(self, v: Self::V) -> f32;
    /// The entries of a table of 16 numbers that 8 bytes name, two each, the upper half byte first.
    ///
    /// # Safety
    /// The 8 bytes must be readable.
    unsafe fn look_up(self, table: Self::V, from: *const u8) -> Self::V;
    /// Sixteen signed bytes as numbers.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load_bytes(self, from: *const i8) -> Self::V;
    /// Sixteen bytes as whole numbers, 0 to 255.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load_codes(self, from: *const u8) -> Self::I;
    /// The lowest 16 bits, each in its lane as 0 or 1, the lowest in the first.
    fn bit_a_lane(self, bits: u32) -> Self::I;
    /// Each lane's bits `by` places lower, with zeros above them.
    fn lower(self, a: Self::I, by: u32) -> Self::I;
    /// Each lane's bits `by` places higher, with zeros below them.
    fn higher(self, a: Self::I, by: u32) -> Self::I;
    /// Those of each lane's bits that the mask has.
    fn masked(self, a: Self::I, mask: u32) -> Self::I;
    /// The bits of both.
    fn joined(self, a: Self::I, b: Self::I) -> Self::I;
    /// Whole numbers below 2^24 as floats.
    fn to_floats(self, a: Self::I) -> Self::V;
    /// The largest lane.
    fn max_lane(self, v: Self::V) -> f32;
    /// A matrix product of small size; see [`TileProduct`].
    ///
    /// # Safety
    /// As [`TileProduct`] says.
    unsafe fn product(self, product: &TileProduct);

    /// [`Self::sum`] of each of 16 vectors, which lie one after the other.
    ///
    /// # Safety
    /// The 256 numbers must be readable and the 16 places writable.
    #[inline(always)]
    unsafe fn sum_each(self, from: *const f32, to: *mut f32) {
        for i in 0..LANES {
            // SAFETY: the caller's promise.
            unsafe { *to.add(i) = self.sum(self.load(from.add(i * LANES))) };
        }
    }

    /// The sum of four vectors' lanes.
    #[inline(always)]
    fn sum4(self, v: [Self::V; 4]) -> f32 {
        self.sum(self.add(self.add(v[0], v[1]), self.add(v[2], v[3])))
    }

    /// Loads from the front of a slice, with `fill` in the lanes past its end.
    #[inline(always)]
    fn load_part(self, from: &[f32], fill: f32) -> Self::V {
        if from.len() >= LANES {
            // SAFETY: the slice has 16 elements.
            unsafe { self.load(from.as_ptr()) }
        } else {
            let mut lanes = [fill; LANES];
            lanes[..from.len()].copy_from_slice(from);
            // SAFETY: the array has 16 elements.
            unsafe { self.load(lanes.as_ptr()) }
        }
    }

    /// Stores to the front of a slice as many lanes as it has room for.
    #[inline(always)]
    fn store_part(self, to: &mut [f32], v: Self::V) {
        if to.len() >= LANES {
            // SAFETY: the slice has 16 elements.
            unsafe { self.store(to.as_mut_ptr(), v) }
        } else {
            let mut lanes = [0f32; LANES];
            // SAFETY: the array has 16 elements.
            unsafe { self.store(lanes.as_mut_ptr(), v) }
            to.copy_from_slice(&lanes[..to.len()]);
        }
    }
}

/// A piece of work in vectors. `run` must be marked `#[inline(always)]`, and so must everything
/// generic that it calls, for only then it is compiled with the instruction set's features.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// Does the work.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// `C = A B` or `C += A B` for matrices that lie in the caches.
///
/// Every element of C is one chain of fused multiply-adds over the inner index, in ascending order,
/// from zero or from what C held: its bits depend neither on the shape of the rest of C nor on the
/// instruction set.
///
/// All the memory that `rows`, `inner`, `vectors` and the strides span must be readable, and C's
/// writable and apart from A and B; strides count elements. C and B have `vectors * 16` columns,
/// adjacent in memory.
#[derive(Clone, Copy, Debug)]
pub struct TileProduct {
    /// Rows of A and C.
    pub rows: usize,
    /// Columns of A, rows of B.
    pub inner: usize,
    /// Columns of B and C, in vectors of 16.
    pub vectors: usize,
    /// A's first element.
    pub a: *const f32,
    /// From one row of A to the next.
    pub a_row: usize,
    /// From one column of A to the next.
    pub a_column: usize,
    /// B's first element.
    pub b: *const f32,
    /// From one row of B to the next.
    pub b_row: usize,
    /// C's first element.
    pub c: *mut f32,
    /// From one row of C to the next.
    pub c_row: usize,
    /// Whether to add to what C holds.
    pub accumulate: bool,
}
