//! Drives the built `ft-merge`.

mod combining;
mod common;
mod errors;
mod folders;
mod gguf;
mod merging;
mod ollama;
mod proving;
mod to_gguf;
