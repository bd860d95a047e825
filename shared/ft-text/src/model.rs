//! A model's text side: its tokenizer, its chat template, its special tokens.

use std::path::{Path, PathBuf};

use ft_io::caught;
use serde_json::Value as Json;
use tokenizers::Tokenizer;

use crate::error::{Error, Result};
use crate::files::{CONFIG, json};
use crate::fingerprint::fingerprint;
use crate::special::Special;
use crate::template::ChatTemplate;
use crate::tokenizer::{self, gguf};

/// A token with a role of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecialToken {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub text: String,
}

/// What a model's files say of text.
#[derive(Debug)]
pub struct TextModel {
    /// The tokenizer, without truncation or padding.
    pub tokenizer: Tokenizer,
    /// The model's chat template; `None` for most base models.
    pub template: Option<ChatTemplate>,
    /// The begin-of-sequence token.
    pub bos: Option<SpecialToken>,
    /// The end-of-sequence token.
    pub eos: Option<SpecialToken>,
    /// The padding token.
    pub pad: Option<SpecialToken>,
    /// The unknown token.
    pub unk: Option<SpecialToken>,
    /// Every id that ends a generation: `eos` first, then those of
    /// `generation_config.json` and `config.json`, or of the GGUF file.
    pub end_ids: Vec<u32>,
    /// Names (`bos_token`) and texts of all of them.
    special: Vec<(String, String)>,
    pub(crate) path: PathBuf,
}

/// What the two kinds of model file have in common.
struct Parts {
    tokenizer: Tokenizer,
    template: Option<String>,
    /// The template for conversations with tools, if it is another.
    tool_template: Option<String>,
    /// Names (`bos_token`) and texts.
    special: Vec<(String, String)>,
    end_ids: Vec<u32>,
}

impl TextModel {
    /// Opens the model at `path`: a Hugging Face folder or a GGUF file.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`] if there is none; [`Error::UnsupportedTokenizer`];
    /// [`Error::Malformed`] or [`Error::Io`] naming the file; [`Error::TemplateSyntax`]
    /// if the model's own template does not parse.
    pub fn open(path: &Path) -> Result<Self> {
        let parts = if path.is_dir() { from_folder(path)? } else { from_gguf(path)? };
        Self::assemble(path, parts)
    }

    fn assemble(path: &Path, parts: Parts) -> Result<Self> {
        let tokenizer = parts.tokenizer;
        let named = |name: &str| {
            let (_, text) = parts.special.iter().find(|(n, _)| n == name)?;
            Some(SpecialToken { id: tokenizer.token_to_id(text)?, text: text.clone() })
        };
        let (bos, eos) = (named("bos_token"), named("eos_token"));
        let (pad, unk) = (named("pad_token"), named("unk_token"));
        let mut end_ids: Vec<u32> = eos.iter().map(|t| t.id).collect();
        for id in parts.end_ids {
            if !end_ids.contains(&id) {
                end_ids.push(id);
            }
        }
        let compiled = |source: Option<String>| source.map(|s| ChatTemplate::new(&s, &parts.special)).transpose();
        let template = match (compiled(parts.template)?, compiled(parts.tool_template)?) {
            (Some(template), Some(other)) => Some(template.with_tools(other)),
            (template, _) => template,
        };
        let special = parts.special;
        Ok(Self { tokenizer, template, bos, eos, pad, unk, end_ids, special, path: path.to_path_buf() })
    }

    /// Puts the template `source` in the place of the model's own.
    ///
    /// # Errors
    /// [`Error::TemplateSyntax`].
    pub fn set_template(&mut self, source: &str) -> Result<()> {
        self.template = Some(ChatTemplate::new(source, &self.special)?);
        Ok(())
    }

    /// Names and texts of the special tokens, as Hugging Face names them.
    pub fn special_tokens(&self) -> &[(String, String)] {
        &self.special
    }

    /// The vocabulary's fingerprint, as [`crate::fingerprint()`] gives it.
    ///
    /// # Errors
    /// The files can no longer be read.
    pub fn fingerprint(&self) -> Result<String> {
        fingerprint(&self.path)?.ok_or_else(|| Error::NoTokenizer {
            path: self.path.clone(),
            reason: "it was there when the model was opened".into(),
        })
    }
}

fn from_gguf(path: &Path) -> Result<Parts> {
    let content = gguf::read(path)?;
    let tokenizer = tokenizer::from_gguf(path, &content)?;
    let id = |key: &str| content.number(&format!("tokenizer.ggml.{key}_token_id"));
    let special = [("bos_token", "bos"), ("eos_token", "eos"), ("pad_token", "padding"), ("unk_token", "unknown")]
        .into_iter()
        .filter_map(|(name, key)| Some((name.to_owned(), tokenizer.id_to_token(id(key)?)?)))
        .collect();
    let end_ids = ["eos", "eot", "eom"].into_iter().filter_map(id).collect();
    let template = |key: &str| content.string(key).map(str::to_owned);
    let (template, tool_template) = (template(gguf::CHAT_TEMPLATE), template(gguf::TOOL_TEMPLATE));
    Ok(Parts { tokenizer, template, tool_template, special, end_ids })
}

fn from_folder(folder: &Path) -> Result<Parts> {
    let file = folder.join("tokenizer.json");
    if !file.is_file() {
        return Err(Error::NoTokenizer {
            path: folder.to_path_buf(),
            reason: "the folder has no tokenizer.json; take it from the model's page, or give \
                     the model's GGUF file"
                .into(),
        });
    }
    let bytes = std::fs::read(&file).map_err(|e| Error::io(&file, e))?;
    // The library panics over some damaged files.
    let read = ft_io::caught(|| Tokenizer::from_bytes(&bytes).map_err(|e| e.to_string()));
    let mut tokenizer =
        read.and_then(|read| read).map_err(|e| Error::malformed(&file, format!("not a tokenizer.json: {e}")))?;
    let special = Special::read(folder)?;
    special.add_to(&mut tokenizer, folder)?;
    let padding = tokenizer.get_padding().map(|padding| padding.pad_token.clone());
    // A tokenizer that was saved after a training run carries that run's settings.
    tokenizer.with_padding(None).with_truncation(None).map_err(|e| Error::malformed(&file, e.to_string()))?;
    let config = json(folder, CONFIG)?;
    let mut special = special.texts();
    if let Some(pad) = padding.filter(|_| !special.iter().any(|(name, _)| name == "pad_token")) {
        special.push(("pad_token".into(), pad));
    }
    let mut end_ids = Vec::new();
    for name in ["generation_config.json", "config.json"] {
        end_ids.extend(ids(json(folder, name)?.get("eos_token_id")));
    }
    let (template, tool_template) = template_sources(folder, &config)?;
    Ok(Parts { tokenizer, template, tool_template, special, end_ids })
}

/// The text of `ids`, without special tokens if so asked.
///
/// # Errors
/// [`Error::Encode`] in the tokenizer's words, also where its decoder panics over them.
pub fn decode(tokenizer: &Tokenizer, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
    let decoded = caught(|| tokenizer.decode(ids, skip_special_tokens)).unwrap_or_else(|panic| Err(panic.into()));
    decoded.map_err(|e| Error::Encode(format!("the tokens cannot be turned into text: {e}")))
}

/// The default template and the one named `tool_use`. `chat_template.jinja` (with
/// `additional_chat_templates/`) goes before `chat_template` of the configuration, which is
/// a text or a list of named ones.
fn template_sources(folder: &Path, config: &Json) -> Result<(Option<String>, Option<String>)> {
    let read = |name: &str| {
        let file = folder.join(name);
        file.is_file().then(|| std::fs::read_to_string(&file).map_err(|e| Error::io(&file, e))).transpose()
    };
    if let Some(default) = read("chat_template.jinja")? {
        return Ok((Some(default), read("additional_chat_templates/tool_use.jinja")?));
    }
    match config.get("chat_template") {
        None | Some(Json::Null) => Ok((None, None)),
        Some(Json::String(source)) => Ok((Some(source.clone()), None)),
        Some(Json::Array(list)) => {
            let text = |entry: &Json, key: &str| Some(entry.get(key)?.as_str()?.to_owned());
            let named = |wanted: &str| {
                let entry = list.iter().find(|e| text(e, "name").as_deref() == Some(wanted))?;
                text(entry, "template")
            };
            let default = named("default").ok_or_else(|| {
                let names: Vec<String> = list.iter().filter_map(|e| text(e, "name")).collect();
                Error::malformed(
                    &folder.join(CONFIG),
                    format!(
                        "chat_template names no \"default\" but {}; give one with --chat-template",
                        names.join(", ")
                    ),
                )
            })?;
            Ok((Some(default), named("tool_use")))
        }
        Some(_) => {
            Err(Error::malformed(&folder.join(CONFIG), "chat_template is neither a text nor a list of named templates"))
        }
    }
}

/// `eos_token_id`: a number or a list of them.
fn ids(value: Option<&Json>) -> Vec<u32> {
    let id = |v: &Json| v.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Json::Array(list)) => list.iter().filter_map(id).collect(),
        Some(one) => id(one).into_iter().collect(),
        None => Vec::new(),
    }
}
