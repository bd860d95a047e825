//! How a prompt must look for the merged model, as its adapter says.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use ft_text::Form;
use ft_text::origin::{PREFIX_KEY, SYSTEM_KEY, USER_FORMAT_KEY};
use serde_json::{Map, Value, json};

const GENERATION: &str = "generation_config.json";

/// Writes the template that the adapter was trained with in the place of the base's, and lets answers end where they
/// ended in training.
pub fn write(form: &Form, dir: &Path) -> Result<()> {
    form.write_templates(dir)?;
    add_end_ids(&form.end_ids(), &dir.join(GENERATION))?;
    for (key, what) in
        [(SYSTEM_KEY, "system text"), (PREFIX_KEY, "prefix"), (USER_FORMAT_KEY, "form of the user's messages")]
    {
        if let Some(text) = form.get(key) {
            tracing::info!("trained with the {what} {text:?}: give it to the model where it is served");
        }
    }
    Ok(())
}

/// Adds what is missing to `eos_token_id`; a file that has all of them stays as it is, byte by byte.
fn add_end_ids(ids: &[u32], file: &Path) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut settings: Map<String, Value> = match fs::read(file) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| format!("the model's {GENERATION} is no JSON"))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Map::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read '{}'", file.display())),
    };
    let mut all: Vec<u64> = match settings.get("eos_token_id") {
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_u64).collect(),
        Some(one) => one.as_u64().into_iter().collect(),
        None => Vec::new(),
    };
    let there = all.len();
    all.extend(ids.iter().map(|&id| u64::from(id)).filter(|id| !all.contains(id)).collect::<Vec<_>>());
    if all.len() == there {
        return Ok(());
    }
    let value = if let [one] = all[..] { json!(one) } else { json!(all) };
    settings.insert("eos_token_id".into(), value);
    let text = format!("{:#}\n", Value::Object(settings));
    fs::write(file, text).with_context(|| format!("cannot write '{}'", file.display()))
}
