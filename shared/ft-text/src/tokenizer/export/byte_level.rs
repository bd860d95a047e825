//! Byte-level BPE: tokens, kinds, merges, and the name of what cuts text into words.

use std::path::Path;

use ft_io::gguf::{Metadata, Typed};
use serde_json::Value as Json;

use super::pieces::Pieces;
use super::pre;
use crate::error::{Error, Result};
use crate::model::TextModel;
use crate::tokenizer::gguf;

pub(super) fn metadata(
    file: &Path,
    text: &TextModel,
    json: &Json,
    pieces: Pieces,
    pre: Option<&str>,
) -> Result<Metadata> {
    let pre = match pre {
        Some(name) => name.to_owned(),
        None => pre::name(file, &text.tokenizer)?,
    };
    Ok(vec![
        (gguf::MODEL.into(), Typed::Text("gpt2".into())),
        (gguf::PRE.into(), Typed::Text(pre)),
        (gguf::TOKENS.into(), Typed::Texts(pieces.tokens)),
        (gguf::TOKEN_TYPE.into(), Typed::I32s(pieces.kinds)),
        (gguf::MERGES.into(), Typed::Texts(merges(file, json)?)),
    ])
}

/// Two pieces a line with a space between; one within a piece is written as byte-level BPE writes it.
fn merges(file: &Path, json: &Json) -> Result<Vec<String>> {
    let list = json["model"]["merges"].as_array();
    let list = list.ok_or_else(|| Error::malformed(file, "model.merges is no list"))?;
    let one = |merge: &Json| -> Option<String> {
        match merge {
            Json::String(text) => Some(text.clone()),
            pair => {
                let part = |i: usize| Some(pair.get(i)?.as_str()?.replace(' ', "\u{120}"));
                Some(format!("{} {}", part(0)?, part(1)?))
            }
        }
    };
    let merges = list.iter().enumerate().map(|(i, merge)| {
        one(merge).ok_or_else(|| Error::malformed(file, format!("model.merges: entry {i} is no pair of pieces")))
    });
    merges.collect()
}
