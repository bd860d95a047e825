//! SentencePiece's BPE: tokens, kinds and scores.

use std::collections::HashMap;
use std::path::Path;

use ft_io::gguf::{Metadata, Typed};
use serde_json::Value as Json;

use super::pieces::{BYTE, NORMAL, Pieces, UNKNOWN, UNUSED};
use super::proto;
use super::steps::mentions;
use crate::error::{Error, Result};
use crate::tokenizer::gguf;

/// The scores of tokens that no merge makes, as llama.cpp's converter has them.
const ADDED: f32 = -1000.0;
const NO_TOKEN: f32 = -10000.0;

pub(super) fn metadata(folder: &Path, json: &Json, mut pieces: Pieces) -> Result<Metadata> {
    let file = folder.join("tokenizer.model");
    let mut scores = if file.is_file() {
        let bytes = std::fs::read(&file).map_err(|e| Error::io(&file, e))?;
        let model = proto::pieces(&bytes).ok_or_else(|| Error::malformed(&file, "not a SentencePiece model"))?;
        from_model(&model, &mut pieces)
    } else {
        from_merges(json, &mut pieces)
    };
    for ((score, added), kind) in scores.iter_mut().zip(&pieces.added).zip(&pieces.kinds) {
        if *added {
            *score = ADDED;
        } else if *kind == UNUSED {
            *score = NO_TOKEN;
        }
    }
    Ok(vec![
        (gguf::MODEL.into(), Typed::Text("llama".into())),
        (gguf::PRE.into(), Typed::Text("default".into())),
        (gguf::TOKENS.into(), Typed::Texts(pieces.tokens)),
        (gguf::SCORES.into(), Typed::F32s(scores)),
        (gguf::TOKEN_TYPE.into(), Typed::I32s(pieces.kinds)),
        (gguf::ADD_SPACE_PREFIX.into(), Typed::Bool(begins_with_space(json))),
    ])
}

/// The model's own scores and kinds.
fn from_model(model: &[proto::Piece], pieces: &mut Pieces) -> Vec<f32> {
    let mut scores = vec![NO_TOKEN; pieces.tokens.len()];
    let own = pieces.kinds.iter_mut().zip(&pieces.added).zip(&mut scores);
    for (piece, ((kind, added), score)) in model.iter().zip(own) {
        *score = piece.score;
        if !added {
            *kind = piece.kind;
        }
    }
    scores
}

/// Scores in whose order the merges are: a piece is made the sooner the better its first merge stands.
fn from_merges(json: &Json, pieces: &mut Pieces) -> Vec<f32> {
    let mut order: HashMap<String, usize> = HashMap::new();
    for merge in json["model"]["merges"].as_array().into_iter().flatten() {
        let made = match merge {
            Json::String(text) => text.split_once(' ').map(|(a, b)| format!("{a}{b}")),
            pair => pair
                .get(0)
                .and_then(Json::as_str)
                .zip(pair.get(1).and_then(Json::as_str))
                .map(|(a, b)| format!("{a}{b}")),
        };
        let next = order.len();
        if let Some(made) = made {
            order.entry(made).or_insert(next);
        }
    }
    let unknown = json["model"]["unk_token"].as_str();
    let last = order.len();
    let mut scores = vec![NO_TOKEN; pieces.tokens.len()];
    for (id, token) in pieces.tokens.iter().enumerate().filter(|(id, _)| pieces.kinds[*id] == NORMAL) {
        scores[id] = -(order.get(token).copied().unwrap_or(last + id) as f32);
    }
    for (token, kind) in pieces.tokens.iter().zip(&mut pieces.kinds).filter(|(_, kind)| **kind == NORMAL) {
        if is_byte(token) {
            *kind = BYTE;
        } else if Some(token.as_str()) == unknown {
            *kind = UNKNOWN;
        }
    }
    for (score, kind) in scores.iter_mut().zip(&pieces.kinds).filter(|(_, kind)| matches!(**kind, BYTE | UNKNOWN)) {
        let _ = kind;
        *score = 0.0;
    }
    scores
}

/// A byte that is written as `<0x0A>`.
fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Whether text gets a space before it.
fn begins_with_space(json: &Json) -> bool {
    let metaspace = |part: &Json| {
        mentions(part, "Metaspace") && {
            let text = part.to_string();
            !text.contains("\"prepend_scheme\":\"never\"") && !text.contains("\"add_prefix_space\":false")
        }
    };
    mentions(&json["normalizer"], "Prepend") || metaspace(&json["pre_tokenizer"])
}
