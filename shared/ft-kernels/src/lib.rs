//! The numeric operators of the training engine.
//!
//! Every operator takes a [`Compute`] and candle tensors, and returns tensors. Its folder holds the contract, the plain
//! *reference* in candle operations, which runs on every device and is what the tests hold the others to, and the fused
//! *cpu* version over `f32` slices. The functions at the top of each module go by the value alone; see [`backend`].
//!
//! Two rules make results independent of how the work is cut:
//!
//! * A row (or a sequence, for attention) never depends on its neighbours, nor on the number of
//!   threads: work is split by output, and sums within a row have one order.
//! * The instruction set does not matter: vector code always has 16 lanes, fused multiply-adds and
//!   one reduction tree, whether it runs on AVX-512, AVX2 or neither (see [`simd`]).

pub mod activation;
pub mod attention;
pub mod backend;
pub mod clock;
pub mod columns;
pub mod cuda;
pub mod device;
mod dropout;
pub mod error;
pub mod experts;
pub mod gemm;
pub mod head_norm;
pub mod linear;
pub mod loss;
pub mod math;
pub mod memory;
pub mod neftune;
pub mod norm;
pub mod optim;
mod parallel;
pub mod philox;
pub mod quant;
pub mod residual;
pub mod rope;
pub mod row_scale;
pub mod rows;
mod runs;
pub mod simd;
pub mod skinny;
pub mod tensor;
pub mod vector;
mod widen;

pub use backend::{Backend, Compute, Operators, Precision};
pub use error::{Error, Result};
