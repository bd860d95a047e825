//! The tokens that a model's folder names beside `tokenizer.json`, as transformers' fast tokenizers take them
//! (`_from_pretrained` and `TokenizersBackend.__init__` of transformers 5).
//!
//! `added_tokens_decoder` of `tokenizer_config.json` gives tokens with their flags, which go before those of
//! `tokenizer.json`. Where it is there, `special_tokens_map.json` and `added_tokens.json` count for nothing; where it is
//! not, the former goes before the configuration. A token with a role (`sep_token`, `image_token`, a list of
//! `extra_special_tokens` or `additional_special_tokens`) that no other list has becomes an added token. What the
//! vocabulary lacks gets the next free id.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value as Json};
use tokenizers::{AddedToken, Tokenizer};

use crate::error::{Error, Result};
use crate::files::{CONFIG, json};

/// The roles that every tokenizer knows, in transformers' order, by which new tokens get their ids.
const ROLES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
const EXTRA: &str = "extra_special_tokens";
const ADDITIONAL: &str = "additional_special_tokens";
const DECODER: &str = "added_tokens_decoder";

/// What the files of a folder say of its tokens.
#[derive(Debug, Default)]
pub(crate) struct Special {
    /// Of `added_tokens_decoder` or `added_tokens.json`, by ascending id.
    declared: Vec<AddedToken>,
    /// Roles and tokens.
    named: Vec<(String, AddedToken)>,
    /// Special tokens without a role.
    extra: Vec<AddedToken>,
    /// Special tokens in a text are cut like any other text.
    pub splits: bool,
}

impl Special {
    /// Reads them; nothing of a folder without such files.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::Io`] naming the file.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let config = json(folder, CONFIG)?;
        let mut roles = object(&config).clone();
        let mut declared = declared(folder, &config)?;
        if !object(&config).contains_key(DECODER) {
            let map = json(folder, "special_tokens_map.json")?;
            for (name, value) in object(&map).iter().filter(|(_, value)| !value.is_null()) {
                roles.insert(name.clone(), value.clone());
            }
            declared = legacy(folder, &roles)?;
        }
        let by_text: HashMap<String, AddedToken> = declared.iter().map(|t| (t.content.clone(), t.clone())).collect();
        let known = |token: AddedToken| by_text.get(&token.content).cloned().unwrap_or(token);
        let named = named(&roles).into_iter().map(|(name, token)| (name, known(token))).collect();
        Ok(Self {
            named,
            extra: extra(&roles),
            declared,
            splits: config.get("split_special_tokens").and_then(Json::as_bool).unwrap_or_default(),
        })
    }

    /// Roles (`bos_token`) and texts, as templates get them.
    pub(crate) fn texts(&self) -> Vec<(String, String)> {
        self.named.iter().map(|(name, token)| (name.clone(), token.content.clone())).collect()
    }

    /// The tokens to add to a tokenizer, in order; `is_added` tells those that it has as added tokens already.
    pub(crate) fn tokens(&self, is_added: impl Fn(&str) -> bool) -> Vec<AddedToken> {
        let mut tokens = self.declared.clone();
        for token in self.named.iter().map(|(_, token)| token).chain(&self.extra) {
            if !is_added(&token.content) && !tokens.iter().any(|other| other.content == token.content) {
                tokens.push(token.clone());
            }
        }
        for token in &mut tokens {
            token.special |= self.named.iter().any(|(_, named)| named.content == token.content);
        }
        tokens
    }

    /// Adds them to `tokenizer`, which was read from the folder `path`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the tokenizer refuses one.
    pub(crate) fn add_to(&self, tokenizer: &mut Tokenizer, path: &Path) -> Result<()> {
        let present: HashMap<String, AddedToken> =
            tokenizer.get_added_tokens_decoder().into_values().map(|token| (token.content.clone(), token)).collect();
        let mut tokens = self.tokens(|text| present.contains_key(text));
        tokens.retain(|token| present.get(&token.content) != Some(token));
        if !tokens.is_empty() {
            tokenizer
                .add_tokens(tokens)
                .map_err(|e| Error::malformed(&path.join(CONFIG), format!("added tokens: {e}")))?;
        }
        tokenizer.set_encode_special_tokens(self.splits);
        Ok(())
    }
}

fn object(value: &Json) -> &Map<String, Json> {
    static NONE: std::sync::LazyLock<Map<String, Json>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&NONE)
}

/// A text, or `{"content": …}` with flags. A text is special; what does not say it is as `special` says.
fn token(value: &Json, special: bool) -> Option<AddedToken> {
    if let Json::String(text) = value {
        return Some(AddedToken::from(text.clone(), true));
    }
    let fields = value.as_object()?;
    let flag = |name: &str| fields.get(name).and_then(Json::as_bool);
    let mut token = AddedToken::from(fields.get("content")?.as_str()?.to_owned(), flag("special").unwrap_or(special));
    token.lstrip = flag("lstrip").unwrap_or(token.lstrip);
    token.rstrip = flag("rstrip").unwrap_or(token.rstrip);
    token.single_word = flag("single_word").unwrap_or(token.single_word);
    token.normalized = flag("normalized").unwrap_or(token.normalized);
    Some(token)
}

/// `added_tokens_decoder`: `{"32000": {"content": …}}`.
fn declared(folder: &Path, config: &Json) -> Result<Vec<AddedToken>> {
    let Some(decoder) = config.get(DECODER).filter(|decoder| !decoder.is_null()) else { return Ok(Vec::new()) };
    let wrong = |what: String| Error::malformed(&folder.join(CONFIG), format!("{DECODER}: {what}"));
    let entries = decoder.as_object().ok_or_else(|| wrong("expected ids and tokens".into()))?;
    let mut found = Vec::with_capacity(entries.len());
    for (id, value) in entries {
        let number: u32 = id.parse().map_err(|_| wrong(format!("'{id}' is no id")))?;
        let token = value.is_object().then(|| token(value, false)).flatten();
        found.push((number, token.ok_or_else(|| wrong(format!("{id}: expected a token with its content")))?));
    }
    found.sort_by_key(|(id, _)| *id);
    Ok(found.into_iter().map(|(_, token)| token).collect())
}

/// `added_tokens.json`: `{"<x>": 32000}`, special where a role names it.
fn legacy(folder: &Path, roles: &Map<String, Json>) -> Result<Vec<AddedToken>> {
    let file = json(folder, "added_tokens.json")?;
    let is_standard = |(name, _): &(String, AddedToken)| ROLES.contains(&name.as_str());
    let named: Vec<AddedToken> = named(roles).into_iter().filter(is_standard).map(|(_, token)| token).collect();
    let special: Vec<String> = named.into_iter().chain(extra(roles)).map(|token| token.content).collect();
    let mut found: Vec<(u64, &String)> =
        object(&file).iter().filter_map(|(text, id)| Some((id.as_u64()?, text))).collect();
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, text)| AddedToken::from(text.clone(), special.contains(text))).collect())
}

/// Every role: the known ones, then those that only this model has, whose names end in `_token`.
fn named(roles: &Map<String, Json>) -> Vec<(String, AddedToken)> {
    let own = roles.iter().filter(|(name, _)| name.ends_with("_token") && !ROLES.contains(&name.as_str()));
    let given = roles.get(EXTRA).and_then(Json::as_object).into_iter().flatten();
    let mut found: Vec<(String, AddedToken)> = Vec::new();
    let known = ROLES.into_iter().filter_map(|name| Some((name, roles.get(name)?)));
    for (name, value) in known.chain(own.chain(given).map(|(name, value)| (name.as_str(), value))) {
        let Some(token) = token(value, true) else { continue };
        match found.iter_mut().find(|(other, _)| other == name) {
            Some((_, other)) => *other = token,
            None => found.push((name.to_owned(), token)),
        }
    }
    found
}

/// Special tokens without a role, under either of their names.
fn extra(roles: &Map<String, Json>) -> Vec<AddedToken> {
    let is_given = |value: &&Json| value.as_array().is_some_and(|list| !list.is_empty()) || value.is_object();
    let list = roles.get(EXTRA).filter(is_given).or_else(|| roles.get(ADDITIONAL));
    list.and_then(Json::as_array).into_iter().flatten().filter_map(|value| token(value, true)).collect()
}
