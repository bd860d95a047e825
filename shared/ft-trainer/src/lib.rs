//! What `ft-train` does, as a library: the plan of a run, its data, its engine, the run itself, and what it leaves.
//!
//! Imports run one way: [`options`], [`plan`], [`data`], [`engine`], [`run`], [`output`]. [`run`] hands what it finds to
//! a [`run::Observer`] and a [`run::CheckpointStore`], and knows none of them; [`recipe::train`] puts all together as
//! `ft-train` does, and [`verify::repeat`] takes a finished run once more.

pub mod data;
pub mod engine;
mod error;
pub mod json;
pub mod options;
pub mod output;
pub mod plan;
pub mod recipe;
pub mod run;
pub mod verify;

pub use error::{Error, Result};
