//! Writing a model's tokenizer as transformers reads it.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use crate::error::{Error, Result};
use crate::form::Form;
use crate::model::TextModel;

/// The files that make up a tokenizer in a Hugging Face folder.
pub const TOKENIZER_FILES: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "additional_chat_templates/tool_use.jinja",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
];

impl TextModel {
    /// Writes the tokenizer into the folder `to`, so that transformers loads it.
    ///
    /// From a Hugging Face folder its files are copied as they are; from a GGUF file
    /// `tokenizer.json`, `tokenizer_config.json` (with the chat template) and
    /// `special_tokens_map.json` are made.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file that could not be read or written.
    pub fn save_tokenizer(&self, to: &Path) -> Result<()> {
        if self.path.is_dir() {
            return copy(&self.path, to);
        }
        let file = to.join("tokenizer.json");
        let text = self.tokenizer.to_string(true).map_err(|e| Error::Encode(e.to_string()))?;
        std::fs::write(&file, text).map_err(|e| Error::io(&file, e))?;
        let special: Map<String, Json> =
            self.special_tokens().iter().map(|(name, token)| (name.clone(), Json::String(token.clone()))).collect();
        write(to, "special_tokens_map.json", &Json::Object(special.clone()))?;
        write(to, "tokenizer_config.json", &self.configuration(special))
    }

    /// `tokenizer_config.json`. The class is the one that takes `tokenizer.json` as it
    /// is; the classes of single families rebuild it from their own idea of it.
    fn configuration(&self, special: Map<String, Json>) -> Json {
        let mut config = special;
        config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
        config.insert("clean_up_tokenization_spaces".into(), json!(false));
        config.insert("added_tokens_decoder".into(), self.added_tokens());
        if let Some(template) = &self.template {
            config.insert("chat_template".into(), template.named_sources());
        }
        Json::Object(config)
    }

    fn added_tokens(&self) -> Json {
        let mut tokens: Vec<_> = self.tokenizer.get_added_tokens_decoder().into_iter().collect();
        tokens.sort_unstable_by_key(|(id, _)| *id);
        tokens
            .into_iter()
            .map(|(id, t)| {
                let entry = json!({
                    "content": t.content, "lstrip": t.lstrip, "normalized": t.normalized,
                    "rstrip": t.rstrip, "single_word": t.single_word, "special": t.special,
                });
                (id.to_string(), entry)
            })
            .collect::<Map<_, _>>()
            .into()
    }
}

/// Writes the tokenizer of the model at `model`, a Hugging Face folder or a GGUF file, into the folder `to`, as
/// [`TextModel::save_tokenizer`] does, with the template of `form` where it names one. Whether the model has a tokenizer.
///
/// # Errors
/// [`Error::Io`] naming the file; those of [`TextModel::open`] for a GGUF file.
pub fn save_tokenizer(model: &Path, to: &Path, form: &Form) -> Result<bool> {
    if model.is_dir() {
        if !TOKENIZER_FILES.iter().any(|name| name.starts_with("tokenizer") && model.join(name).is_file()) {
            form.write_templates(to)?;
            return Ok(false);
        }
        copy(model, to)?;
    } else {
        match TextModel::open(model) {
            Err(Error::NoTokenizer { .. }) => {
                form.write_templates(to)?;
                return Ok(false);
            }
            text => text?.save_tokenizer(to)?,
        }
    }
    form.write_templates(to)?;
    Ok(true)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for name in TOKENIZER_FILES {
        let source = from.join(name);
        if source.is_file() {
            // Not fs::copy: the permissions of a read-only cache are not wanted.
            let bytes = std::fs::read(&source).map_err(|e| Error::io(&source, e))?;
            let target = to.join(name);
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
            }
            std::fs::write(&target, bytes).map_err(|e| Error::io(&target, e))?;
        }
    }
    Ok(())
}

fn write(folder: &Path, name: &str, value: &Json) -> Result<()> {
    let file = folder.join(name);
    std::fs::write(&file, format!("{value:#}\n")).map_err(|e| Error::io(&file, e))
}
