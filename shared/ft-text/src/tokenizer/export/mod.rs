//! A model's tokenizer and template as the metadata of a GGUF file.
//!
//! What llama.cpp's converter does (`conversion/base.py`, `gguf-py/gguf/vocab.py`): tokens by id with their kinds, merges
//! or scores, the name of the pre-tokenizer, special ids, the chat template.

mod byte_level;
mod pieces;
mod pre;
mod pre_names;
mod proto;
mod sentence_piece;
mod steps;

pub use pre::{KnownPre, PROBE};

use std::path::Path;

use ft_io::gguf::{Metadata, Typed, Value};
use serde_json::Value as Json;

use super::gguf;
use crate::error::{Error, Result};
use crate::form::Form;
use crate::model::TextModel;
use crate::origin::{TEMPLATE_KEY, TOOL_TEMPLATE_KEY};
use pieces::Pieces;
use steps::mentions;

/// What begins every key of a tokenizer.
const PREFIX: &str = "tokenizer.";
const EOT: &str = "tokenizer.ggml.eot_token_id";
const EOM: &str = "tokenizer.ggml.eom_token_id";
const TEMPLATE_NAMES: &str = "tokenizer.chat_templates";

/// What the file is to say beside what the model's own files do.
#[derive(Debug, Clone, Copy)]
pub struct TokenizerExport<'a> {
    /// The model: a Hugging Face folder or a GGUF file.
    pub model: &'a Path,
    /// The template, and where answers end, of an adapter.
    pub form: &'a Form,
    /// Rows of the embedding: as many tokens are written.
    pub rows: usize,
    /// The name of the pre-tokenizer, in the place of the one that is found.
    pub pre: Option<&'a str>,
}

impl TokenizerExport<'_> {
    /// The metadata; none if the model has no tokenizer.
    ///
    /// # Errors
    /// [`Error::UnsupportedTokenizer`] for a kind that llama.cpp does not have, or whose pre-tokenizer has no name there;
    /// [`Error::Malformed`] if it has more tokens than the embedding rows; and what [`TextModel::open`] gives.
    pub fn metadata(&self) -> Result<Option<Metadata>> {
        if !self.model.is_dir() {
            return self.of_gguf();
        }
        let text = match TextModel::open(self.model) {
            Err(Error::NoTokenizer { .. }) => return Ok(None),
            text => text?,
        };
        let file = self.model.join("tokenizer.json");
        let bytes = std::fs::read(&file).map_err(|e| Error::io(&file, e))?;
        let json: Json =
            serde_json::from_slice(&bytes).map_err(|e| Error::malformed(&file, format!("not JSON: {e}")))?;
        let pieces = Pieces::read(&file, &json, self.rows)?;
        let mut all = match kind(&json) {
            Some(Kind::ByteLevel) => byte_level::metadata(&file, &text, &json, pieces, self.pre)?,
            Some(Kind::SentencePiece) => sentence_piece::metadata(self.model, &json, pieces)?,
            None => return Err(unsupported(&file, &json)),
        };
        all.extend(specials(&text));
        all.extend(around(&text));
        self.ends(&mut all, &text.end_ids);
        let own = text.template.as_ref().map(|template| (template.source(), template.tool_source()));
        templates(self.form, own, &mut all);
        Ok(Some(all))
    }

    /// What a GGUF file says of its tokenizer, with the template and the ends of the form.
    fn of_gguf(&self) -> Result<Option<Metadata>> {
        let content = gguf::read(self.model)?;
        if content.string(gguf::MODEL).is_none() {
            return Ok(None);
        }
        let is_template = |key: &str| key == TEMPLATE_NAMES || key.starts_with(gguf::CHAT_TEMPLATE);
        let own = content.metadata.iter().filter(|(key, _)| key.starts_with(PREFIX) && !is_template(key));
        let mut all: Metadata = own.map(|(key, value)| (key.clone(), Typed::from(value))).collect();
        if let Some(pre) = self.pre {
            set(&mut all, gguf::PRE, Typed::Text(pre.into()));
        }
        self.ends(&mut all, &[]);
        let text = |key: &str| match content.metadata.get(key) {
            Some(Value::String(text)) => Some(text.as_str()),
            _ => None,
        };
        let template = text(gguf::CHAT_TEMPLATE).map(|own| (own, text(gguf::TOOL_TEMPLATE)));
        templates(self.form, template, &mut all);
        Ok(Some(all))
    }

    /// The ids that end an answer: beside the one of `eos_token` there are two more that a file can name.
    fn ends(&self, all: &mut Metadata, own: &[u32]) {
        let mut wanted = self.form.end_ids();
        wanted.extend(own);
        for id in wanted {
            let named = |key: &str| all.iter().any(|(known, value)| known == key && *value == Typed::U32(id));
            if [gguf::EOS, EOT, EOM].into_iter().any(named) {
                continue;
            }
            let free = |key: &&str| all.iter().all(|(known, _)| known != key);
            match [gguf::EOS, EOT, EOM].into_iter().find(free) {
                Some(key) => all.push((key.into(), Typed::U32(id))),
                None => return,
            }
        }
    }
}

/// The kinds of tokenizers that llama.cpp has for decoders.
enum Kind {
    /// BPE over bytes written as letters (`gpt2`).
    ByteLevel,
    /// BPE over characters, with a mark for spaces and single bytes for what is left (`llama`).
    SentencePiece,
}

fn kind(json: &Json) -> Option<Kind> {
    let model = &json["model"];
    if model.get("type").is_some_and(|kind| kind != "BPE") {
        return None;
    }
    if model["byte_fallback"] == true {
        return Some(Kind::SentencePiece);
    }
    let byte_level = |part: &str| mentions(&json[part], "ByteLevel");
    (byte_level("decoder") || byte_level("pre_tokenizer")).then_some(Kind::ByteLevel)
}

fn unsupported(file: &Path, json: &Json) -> Error {
    let found = json["model"].get("type").and_then(Json::as_str).unwrap_or("BPE of neither");
    Error::UnsupportedTokenizer {
        path: file.to_path_buf(),
        reason: format!("its model is {found}; a GGUF file is written for byte-level BPE and for SentencePiece's BPE"),
    }
}

/// The ids of the special tokens.
fn specials(text: &TextModel) -> Metadata {
    let all = [(gguf::BOS, &text.bos), (gguf::EOS, &text.eos), (gguf::UNKNOWN, &text.unk), (gguf::PADDING, &text.pad)];
    all.into_iter().filter_map(|(key, token)| Some((key.to_owned(), Typed::U32(token.as_ref()?.id)))).collect()
}

/// Whether plain text gets the begin- and end-of-sequence tokens around it, as the tokenizer itself does.
fn around(text: &TextModel) -> Metadata {
    let Ok(encoded) = text.tokenizer.encode("a", true) else { return Vec::new() };
    let ids = encoded.get_ids();
    let is = |id: Option<&u32>, token: &Option<crate::SpecialToken>| token.as_ref().is_some_and(|t| id == Some(&t.id));
    let (bos, eos) = (is(ids.first(), &text.bos), is(ids.last(), &text.eos));
    [(gguf::ADD_BOS, bos), (gguf::ADD_EOS, eos)].map(|(key, flag)| (key.to_owned(), Typed::Bool(flag))).to_vec()
}

/// The template that the form names, or the model's own; and the one for tools, if that is another.
fn templates(form: &Form, own: Option<(&str, Option<&str>)>, all: &mut Metadata) {
    let trained = form.get(TEMPLATE_KEY).map(|template| (template, form.get(TOOL_TEMPLATE_KEY)));
    let Some((template, tools)) = trained.or(own) else { return };
    if let Some(tools) = tools {
        all.push((TEMPLATE_NAMES.into(), Typed::Texts(vec!["tool_use".into()])));
        all.push((gguf::TOOL_TEMPLATE.into(), Typed::Text(tools.into())));
    }
    all.push((gguf::CHAT_TEMPLATE.into(), Typed::Text(template.into())));
}

fn set(all: &mut Metadata, key: &str, value: Typed) {
    all.retain(|(known, _)| known != key);
    all.push((key.into(), value));
}
