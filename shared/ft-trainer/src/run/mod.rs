//! The run: its steps, where it stands, and which evaluation is the best one. What it finds it hands to an
//! [`Observer`] and a [`CheckpointStore`]; an [`Examiner`] may ask the model questions whenever it is evaluated.

pub mod best;
mod checkpoint_store;
mod examiner;
mod observer;
pub mod trainer;
pub mod trainer_state;

pub use checkpoint_store::{CheckpointStore, Resumed, Snapshot};
pub use examiner::{Examined, Examiner, Marks};
pub use observer::Observer;
