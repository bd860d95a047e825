//! What `ft-eval` measures, for Rust: losses of labelled rows, answers to prompts and how well they agree with their
//! references, and choices among the answers of a question.
//!
//! - [`LabelledRows`] and [`Losses`]: the loss, perplexity and accuracy of the next token.
//! - [`Prompts`] (or a [`Speaker`]'s), [`Sampler`] and [`Answers`]: generated text, and [`score()`] of it.
//! - [`Chat`]: a conversation, whose answers are told as they come.
//! - [`Exam`]: prompts that are answered again and again while a model learns.
//! - [`Questions`], [`Shots`], [`Asker`], [`Likelihoods`] and [`Tally`]: multiple choice, as lm-eval has it.
//! - [`compare()`]: the same rows under two models, with what chance alone may do.
//!
//! Each of the first three is an iterator over batches, so that the caller sees every result as it comes and may stop.

mod answer_column;
mod answers;
mod ask;
mod bleu;
mod chat;
mod compare;
mod conversation;
mod error;
mod exam;
mod format;
mod generation_config;
mod hellaswag;
mod letters;
mod likelihoods;
mod loss;
mod outcome;
mod plain;
mod prompts;
mod put;
mod question;
mod questions;
mod rouge;
mod row_id;
mod sampling;
mod score;
mod shots;
mod speech;
mod tally;
mod task_rows;
mod text_stream;
mod tokens;

pub use answers::{AnswerSummary, Answers, Prediction};
pub use ask::{Asked, Asker};
pub use bleu::Bleu;
pub use chat::{Chat, ChatOptions, Reply};
pub use compare::{Column, Comparison, MatchBy, Metric, Resampling, Scores, compare, read_scores, sign_test};
pub use conversation::Speaker;
pub use error::{Error, Result};
pub use exam::{DEFAULT_NEW_TOKENS, Exam};
pub use format::Format;
pub use generation_config::GenerationConfig;
pub use letters::letter;
pub use likelihoods::Likelihoods;
pub use loss::{LossSummary, Losses};
pub use outcome::Outcome;
pub use prompts::Prompts;
pub use question::Question;
pub use questions::Questions;
pub use rouge::rouge_l;
pub use sampling::{Sampler, Sampling, distribution};
pub use score::{Score, score};
pub use shots::{ShotSampler, Shots};
pub use speech::Speech;
pub use tally::{Share, Shares, Tally};
pub use tokens::{LabelledRows, check_tokenizer};
