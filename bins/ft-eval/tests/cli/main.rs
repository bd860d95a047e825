//! Drives the built program through paths and pipes.

mod adapters;
mod bench;
mod candle_llama;
mod chat;
mod choice;
mod compare;
mod errors;
mod generate;
mod interrupts;
mod lm_eval;
mod loss;
mod read;
mod sampling;
mod word_marks;
