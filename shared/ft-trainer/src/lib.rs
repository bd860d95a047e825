//! What `ft-train` does, as a library: the plan of a run, its data, its engine, the run itself, and what it leaves.
//!
//! Imports run one way: `args`, [`plan`], [`data`], [`engine`], [`run`], [`output`].
#![allow(clippy::missing_errors_doc)]

pub mod args;
pub mod configuration;
pub mod data;
pub mod engine;
pub mod output;
pub mod plan;
pub mod run;
