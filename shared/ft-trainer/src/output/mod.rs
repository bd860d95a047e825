//! What a run leaves: checkpoints, its record, the adapter, and what people and machines watch it by.

pub mod checkpoint;
pub mod checkpoint_folder;
pub mod digest;
pub mod folder;
pub mod identity;
pub mod lock;
pub mod pipe;
pub mod run_record;
pub mod watch;
