//! Sixteen lanes of `f32` on whatever the machine has, with the same bits everywhere.
//!
//! A fused operator's inner part is a [`Kernel`]: code generic over [`Simd`], which [`dispatch`]
//! compiles three times and runs with the instruction set that it is told, at most the machine's best. All three have 16
//! lanes (two registers on AVX2), fused multiply-adds, and one order in which the lanes are summed,
//! so that results do not depend on the machine.

mod portable;
mod product;
#[cfg(target_arch = "x86_64")]
mod sums;
#[cfg(target_arch = "x86_64")]
mod unpack;
mod vectors;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use portable::Portable;
pub use vectors::{Kernel, LANES, Simd, TileProduct};

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// No assumption about the machine. Slow on x86, where a fused multiply-add without the
    /// instruction is a function call.
    Portable,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512 (foundation, and DQ).
    Avx512,
}

impl Isa {
    /// All of them, the plainest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// The best instruction set of this machine.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// As its makers write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
        }
    }

    /// Itself where this machine has it, else the best that it has.
    #[must_use]
    pub fn here(self) -> Self {
        self.min(Self::best())
    }
}

/// Runs a kernel with an instruction set, or the best of this machine where that is less. The results are the same.
pub fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa.here() {
        // SAFETY: `here` gives nothing that the machine has not.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { x86::run_avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { x86::run_avx2(kernel) },
        _ => kernel.run(Portable::new()),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::Isa;

    /// Runs the same work with every instruction set that this machine has and says whether all
    /// the results are equal.
    pub fn same_on_every_isa<R: PartialEq>(work: impl Fn(Isa) -> R) -> bool {
        let results = Isa::ALL.map(work);
        results.windows(2).all(|pair| pair[0] == pair[1])
    }
}
