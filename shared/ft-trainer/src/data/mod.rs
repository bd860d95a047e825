//! The rows to train and evaluate on.

pub mod dataset;
