//! The run: its steps, where it stands, and which evaluation is the best one.

pub mod best;
pub mod trainer;
pub mod trainer_state;
