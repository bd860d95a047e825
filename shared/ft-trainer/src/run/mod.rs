//! The run: its steps, where it stands, and which evaluation is the best one. What it finds it hands to an
//! [`Observer`] and a [`CheckpointStore`].

pub mod best;
mod checkpoint_store;
mod observer;
pub mod trainer;
pub mod trainer_state;

pub use checkpoint_store::{CheckpointStore, Resumed, Snapshot};
pub use observer::Observer;
