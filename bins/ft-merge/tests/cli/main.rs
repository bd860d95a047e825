//! Drives the built `ft-merge`.

mod common;
mod errors;
mod folders;
mod gguf;
mod merging;
mod to_gguf;
