//! The rows to train and evaluate on, and whether ranks have the same model.

pub mod dataset;
mod model_sample;

pub use model_sample::model_sample;
