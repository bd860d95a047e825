//! What a run computes with: model, adapter and data made ready, steps, evaluations, and what they need.

pub mod agreement;
pub mod dry_run;
pub mod evaluation;
pub mod fault;
pub mod footprint;
pub mod loss_scale;
pub mod memory_forecast;
pub mod precision;
pub mod setup;
pub mod step;
