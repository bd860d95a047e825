//! What a Hugging Face folder holds beside the weights.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ft_model::{Architecture, Checkpoint};
use ft_text::TextModel;
use serde_json::{Map, Value, json};

use crate::plan::Plan;
use crate::prove::FIGURES;

const CONFIG: &str = "config.json";
pub const INDEX: &str = "model.safetensors.index.json";
const GENERATION: &str = "generation_config.json";

/// Files that go with the weights as they are.
const COPIED: [&str; 14] = [
    GENERATION,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
    "USE_POLICY.md",
];

/// Named templates beside the main one.
const TEMPLATES: &str = "additional_chat_templates";

/// Whether the program writes files or folders of this name.
pub fn is_of_a_result(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let shard = name.strip_prefix("model").and_then(|rest| rest.strip_suffix(".safetensors"));
    let is_number = |part: &str| part.len() == 5 && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_shard = |rest: &str| {
        let parts = rest.strip_prefix('-').and_then(|rest| rest.split_once("-of-"));
        rest.is_empty() || parts.is_some_and(|(index, count)| is_number(index) && is_number(count))
    };
    [CONFIG, INDEX, TEMPLATES, FIGURES].contains(&&*name) || COPIED.contains(&&*name) || shard.is_some_and(is_shard)
}

/// Whether `dir` holds what an earlier run wrote: the weights say so in their metadata.
pub fn is_result(dir: &Path) -> bool {
    let ours = |file: &Path| safetensors_metadata(file).is_some_and(|found| found["ft.tool"] == env!("CARGO_PKG_NAME"));
    let weights = |path: &PathBuf| path.extension().is_some_and(|found| found == "safetensors");
    paths(dir).filter(weights).any(|path| path.file_name().is_some_and(is_of_a_result) && ours(&path))
}

/// A name in `dir` that the program would write too.
pub fn in_the_way(dir: &Path) -> Option<OsString> {
    paths(dir).filter_map(|path| path.file_name().map(OsStr::to_owned)).find(|name| is_of_a_result(name))
}

fn paths(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path())
}

/// The `__metadata__` of a safetensors file.
fn safetensors_metadata(file: &Path) -> Option<Value> {
    let mut file = File::open(file).ok()?;
    let mut len = [0; 8];
    file.read_exact(&mut len).ok()?;
    let len = u64::from_le_bytes(len);
    if len > file.metadata().ok()?.len() {
        return None;
    }
    let mut header = Vec::new();
    file.take(len).read_to_end(&mut header).ok()?;
    Some(serde_json::from_slice::<Value>(&header).ok()?["__metadata__"].take())
}

/// Writes configuration, generation settings, tokenizer and chat template into `dir`.
pub fn write(base: &Checkpoint, plan: &Plan, dir: &Path) -> Result<()> {
    let arch = base.architecture();
    let mut config = arch.to_config(plan.dtype);
    if plan.unties {
        config["tie_word_embeddings"] = json!(false);
    }
    write_json(&dir.join(CONFIG), &config)?;
    if base.is_gguf() {
        write_json(&dir.join(GENERATION), &generation_config(arch))?;
        return write_tokenizer(base.path(), dir);
    }
    for name in COPIED {
        copy(&base.path().join(name), &dir.join(name))?;
    }
    copy_templates(&base.path().join(TEMPLATES), &dir.join(TEMPLATES))?;
    warn_of_other_end(arch, &dir.join(GENERATION))
}

/// Opens what was written as any reader would, and compares it with the plan.
pub fn check(base: &Checkpoint, plan: &Plan, dir: &Path) -> Result<()> {
    let told = || format!("reading back what was written for '{}'", base.path().display());
    let written = Checkpoint::open(dir).with_context(told)?;
    for tensor in plan.tensors() {
        let (shape, dtype) = (written.shape(&tensor.name)?, written.stored_dtype(&tensor.name)?.float());
        if shape != tensor.shape || dtype != Some(plan.dtype) {
            bail!("{}: '{}' is {dtype:?} {shape:?}, expected {:?} {:?}", told(), tensor.name, plan.dtype, tensor.shape);
        }
    }
    Ok(())
}

/// The tokenizer of a GGUF file as transformers reads it.
fn write_tokenizer(gguf: &Path, dir: &Path) -> Result<()> {
    match TextModel::open(gguf) {
        Ok(text) => Ok(text.save_tokenizer(dir)?),
        Err(ft_text::Error::NoTokenizer { .. }) => {
            tracing::warn!("'{}' has no tokenizer, so the folder has none", gguf.display());
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn generation_config(arch: &Architecture) -> Value {
    let mut config = Map::new();
    let mut add = |key: &str, value: Option<Value>| value.map(|value| config.insert(key.into(), value));
    add("_from_model_config", Some(json!(true)));
    add("bos_token_id", arch.bos_token_id.map(Into::into));
    add(
        "eos_token_id",
        match arch.eos_token_ids[..] {
            [] => None,
            [one] => Some(one.into()),
            _ => Some(json!(arch.eos_token_ids)),
        },
    );
    add("pad_token_id", arch.pad_token_id.map(Into::into));
    Value::Object(config)
}

/// A model whose generation settings end at another token than its configuration does not stop where it
/// was trained to.
fn warn_of_other_end(arch: &Architecture, file: &Path) -> Result<()> {
    if !file.exists() {
        return Ok(());
    }
    let text = fs::read(file).with_context(|| format!("cannot read '{}'", file.display()))?;
    let settings: Value =
        serde_json::from_slice(&text).with_context(|| format!("the model's {GENERATION} is no JSON"))?;
    let ids: Vec<u64> = match &settings["eos_token_id"] {
        Value::Number(one) => one.as_u64().into_iter().collect(),
        Value::Array(many) => many.iter().filter_map(Value::as_u64).collect(),
        _ => Vec::new(),
    };
    if let Some(end) = arch.eos_token_ids.iter().find(|id| !ids.contains(&u64::from(**id))) {
        tracing::warn!("{GENERATION} ends a text at {ids:?}, without the token {end} that {CONFIG} has");
    }
    Ok(())
}

fn copy_templates(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir(to).with_context(|| format!("cannot write '{}'", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read '{}'", from.display()))? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Copies a file byte by byte, if it is there. Its permissions are not wanted: caches are read-only.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_file() {
        return Ok(());
    }
    let bytes = fs::read(from).with_context(|| format!("cannot read '{}'", from.display()))?;
    fs::write(to, bytes).with_context(|| format!("cannot write '{}'", to.display()))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, format!("{value:#}\n")).with_context(|| format!("cannot write '{}'", path.display()))
}
