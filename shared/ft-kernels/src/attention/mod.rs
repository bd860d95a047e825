//! Causal attention over sequences laid end to end, with grouped heads.
//!
//! Queries, keys and values stand side by side in one matrix
//! `[tokens, (heads + 2 kv_heads) * head_dim]`, rotated already. A token sees itself and the tokens
//! before it in its own sequence, at most `sliding_window` in all. With scores
//! `s = softcap(scale * q . k)`, `softcap(x) = c tanh(x / c)`, the result is `softmax(s) v`.
//!
//! Forward also returns `lse = log(sum(e^s))` of each token and head, from which backward computes
//! the probabilities again.

mod cpu;
mod cuda;
mod operator;
pub mod reference;

pub use operator::{attention, attention_backward, attention_decode, attention_decode_placed};

use candle_core::Tensor;

use crate::error::{Result, expect_shape};

/// The shape of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionSpec {
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; query head `h` uses `h / (num_heads / num_kv_heads)`.
    pub num_kv_heads: usize,
    /// Columns of a head.
    pub head_dim: usize,
    /// Multiplies the products of queries and keys, usually 1 / sqrt(head_dim).
    pub scale: f32,
    /// How many tokens a token sees, itself included; all if `None`.
    pub sliding_window: Option<usize>,
    /// The bound that scores are squeezed into, if any.
    pub softcap: Option<f32>,
}

impl AttentionSpec {
    /// Query heads that share a key head.
    pub fn group(&self) -> usize {
        self.num_heads / self.num_kv_heads
    }

    /// Columns of the queries, and of the result.
    pub fn query_columns(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Columns of the keys, and of the values.
    pub fn key_columns(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// Columns of queries, keys and values together.
    pub fn qkv_columns(&self) -> usize {
        self.query_columns() + 2 * self.key_columns()
    }

    /// The first token of a sequence that its token `position` sees.
    fn first_seen(&self, position: usize) -> usize {
        match self.sliding_window {
            Some(window) => (position + 1).saturating_sub(window),
            None => 0,
        }
    }
}

/// The keys and values of one sequence so far, each `[tokens, kv_heads * head_dim]`, row by row.
/// The newest token, whose query is asked for, is the last.
#[derive(Clone, Copy, Debug)]
pub struct KeyValue<'a> {
    /// Rotated keys.
    pub keys: &'a [f32],
    /// Values.
    pub values: &'a [f32],
}

impl KeyValue<'_> {
    /// The number of tokens.
    pub fn tokens(&self, spec: &AttentionSpec) -> usize {
        self.keys.len() / spec.key_columns()
    }
}

fn check_decode(q: &Tensor, caches: &[KeyValue<'_>], spec: &AttentionSpec) -> Result<()> {
    const NAME: &str = "attention_decode";
    let wanted = [caches.len(), spec.query_columns()];
    expect_shape(q.dims() == wanted, NAME, "q", wanted, q.dims())?;
    let row = spec.key_columns();
    for cache in caches {
        let (keys, values) = (cache.keys.len(), cache.values.len());
        let whole = keys > 0 && keys % row == 0 && keys == values;
        let wanted = format!("the same, positive number of rows of {row}");
        expect_shape(whole, NAME, "a cache", wanted, (keys, values))?;
    }
    Ok(())
}

fn check(qkv: &Tensor, spec: &AttentionSpec, starts: &[usize]) -> Result<()> {
    const NAME: &str = "attention";
    let (heads, kv_heads) = (spec.num_heads, spec.num_kv_heads);
    let grouped = kv_heads > 0 && heads % kv_heads == 0;
    expect_shape(grouped, NAME, "num_heads", "a multiple of num_kv_heads", (heads, kv_heads))?;
    let (tokens, columns) = qkv.dims2()?;
    let wanted = spec.qkv_columns();
    expect_shape(columns == wanted, NAME, "qkv's columns", wanted, columns)?;
    let rising = starts.first() == Some(&0)
        && starts.last() == Some(&tokens)
        && starts.windows(2).all(|pair| pair[0] <= pair[1]);
    expect_shape(rising, NAME, "starts", format!("a rise from 0 to {tokens}"), starts)
}
