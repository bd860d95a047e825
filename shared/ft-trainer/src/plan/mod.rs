//! Which rows make which step, the learning rate of each, and what falls due after it.

pub mod due;
pub mod sampler;
pub mod schedule;
