//! SentencePiece BPE: with scores (`tokenizer.ggml.model` = `llama`: Llama-2, Gemma 1 to
//! 3, Phi-3, Mistral), or with merges (`gemma4`).
//!
//! Files with scores hold no merges. A piece is merged from every pair of pieces that make it
//! up, the piece of the highest score first, as the converter of Hugging Face has it.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::Path;

use ft_io::gguf::Content;
use tokenizers::Tokenizer;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence as Normalizers};

use super::{bpe, gguf};
use crate::error::{Error, Result};

/// SentencePiece's mark for a space.
const SPACE: &str = "\u{2581}";
/// Token kinds of GGUF: one that stands for text, and one added by a user.
const NORMAL: u32 = 1;
const USER_DEFINED: u32 = 4;

/// The pieces of a SentencePiece vocabulary as they are: converters write the pieces of
/// several spaces, which are user-defined, with plain spaces.
pub(super) fn pieces<'a>(content: &Content, tokens: Vec<Cow<'a, str>>) -> Vec<Cow<'a, str>> {
    let kinds = content.numbers(gguf::TOKEN_TYPE).unwrap_or_default();
    let spaces = |token: &str| token.len() > 1 && token.bytes().all(|b| b == b' ');
    let piece = |(id, token): (usize, Cow<'a, str>)| {
        if kinds.get(id) == Some(&USER_DEFINED) && spaces(&token) {
            Cow::Owned(token.replace(' ', SPACE))
        } else {
            token
        }
    };
    tokens.into_iter().enumerate().map(piece).collect()
}

pub(super) fn build(path: &Path, content: &Content, tokens: &[&str]) -> Result<Tokenizer> {
    let malformed = |what: &str, e: &dyn std::fmt::Display| Error::malformed(path, format!("tokenizer: {what}: {e}"));
    let merges = if content.metadata.contains_key(gguf::MERGES) {
        bpe::merges(path, content)?
    } else {
        let scores = content
            .floats(gguf::SCORES)
            .filter(|s| s.len() == tokens.len())
            .ok_or_else(|| malformed(gguf::SCORES, &"expected one score for each token"))?;
        merges(tokens, &scores, &content.numbers(gguf::TOKEN_TYPE).unwrap_or_default())
    };
    let vocabulary: Vocab = tokens.iter().map(|t| (*t).to_owned()).zip(0..).collect();
    let unknown = content.number("tokenizer.ggml.unknown_token_id").and_then(|id| tokens.get(id as usize));
    let mut builder = BPE::builder().vocab_and_merges(vocabulary, merges).fuse_unk(true).byte_fallback(true);
    if let Some(token) = unknown {
        builder = builder.unk_token((*token).to_owned());
    }
    let model = builder.build().map_err(|e| malformed("merges", &e))?;
    let prefix = content.flag(gguf::ADD_SPACE_PREFIX).unwrap_or(true);
    let replace = Replace::new(" ", SPACE).map_err(|e| malformed("normalizer", &e))?;
    let restore = Replace::new(SPACE, " ").map_err(|e| malformed("decoder", &e))?;
    let mut normalizers: Vec<NormalizerWrapper> = vec![replace.into()];
    let mut decoders: Vec<DecoderWrapper> =
        vec![restore.into(), ByteFallback::default().into(), Fuse::default().into()];
    if prefix {
        normalizers.insert(0, Prepend::new(SPACE.to_owned()).into());
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(Normalizers::new(normalizers)))
        .map_err(|e| malformed("normalizer", &e))?
        .with_decoder(Some(Decoders::new(decoders)));
    Ok(tokenizer)
}

/// A piece that is made of two others.
struct Merge<'a> {
    score: f32,
    /// The lengths of its two sides, in characters.
    lengths: (usize, usize),
    left: &'a str,
    right: &'a str,
}

/// All merges, the best first: by score, then by the lengths of their two sides.
fn merges(tokens: &[&str], scores: &[f32], kinds: &[u32]) -> Vec<(String, String)> {
    let kind = |id: usize| kinds.get(id).copied().unwrap_or(NORMAL);
    let ids: HashMap<&str, u32> = tokens.iter().copied().zip(0..).collect();
    let mut found: Vec<Merge> = Vec::with_capacity(tokens.len() * 2);
    let mut splits = Vec::new();
    for (id, &piece) in tokens.iter().enumerate().filter(|&(id, _)| matches!(kind(id), NORMAL | USER_DEFINED)) {
        // Converters write -1000 for what is user-defined; SentencePiece gives it none.
        let score = if kind(id) == USER_DEFINED { 0.0 } else { scores[id] };
        let characters = piece.chars().count();
        for (count, (at, _)) in piece.char_indices().enumerate().skip(1) {
            let (left, right) = piece.split_at(at);
            if let (Some(&a), Some(&b)) = (ids.get(left), ids.get(right)) {
                let lengths = (count, characters - count);
                splits.push(((a, b), Merge { score, lengths, left, right }));
            }
        }
        splits.sort_unstable_by_key(|&(pair, _)| pair);
        found.extend(splits.drain(..).map(|(_, merge)| merge));
    }
    // Stable, descending.
    found.sort_by(|a, b| {
        let scores = b.score.partial_cmp(&a.score).unwrap_or(Ordering::Equal);
        scores.then(b.lengths.cmp(&a.lengths))
    });
    found.into_iter().map(|merge| (merge.left.to_owned(), merge.right.to_owned())).collect()
}
