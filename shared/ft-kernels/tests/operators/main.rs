//! The operators against their references, candle's autograd and finite differences, and the two
//! rules of lib.rs: no row knows its neighbours or the threads, no bit knows the instruction set.

mod activation;
mod attention;
mod columns;
mod common;
mod experts;
mod head_norm;
mod layer_norm;
mod loss;
mod norm;
mod optim;
mod residual;
mod rope;
mod row_scale;
mod rows;
