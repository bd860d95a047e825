//! The Modelfile.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use ft_model::Architecture;
use ft_text::origin::{SYSTEM_KEY, TEMPLATE_KEY};
use ft_text::{Error, TextModel};
use serde_json::Value;

use super::template;
use crate::adapters::Adapters;
use crate::args::Args;

/// More tokens than this are asked for by hand: Ollama keeps memory for all of them.
const MOST_CONTEXT: usize = 8192;

/// What `generation_config.json` calls the settings that Ollama has, and its names for them.
const SETTINGS: [(&str, &str); 5] = [
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("min_p", "min_p"),
    ("repetition_penalty", "repeat_penalty"),
];

/// The whole file, for the GGUF file `model` beside it.
pub fn text(model: &Path, args: &Args, arch: &Architecture, adapters: &Adapters) -> Result<String> {
    let mut out = format!("FROM ./{}\n", model.display());
    let text = match TextModel::open(&args.model) {
        Err(Error::NoTokenizer { .. }) => None,
        text => Some(text?),
    };
    if let Some(mut text) = text {
        if let Some(trained) = adapters.form.get(TEMPLATE_KEY) {
            text.set_template(trained)?;
        }
        match template::of(&text, adapters.form.around_user()) {
            Ok(template) => put(&mut out, "TEMPLATE", &template),
            Err(why) => {
                tracing::warn!("{why}; the Modelfile has no TEMPLATE, and Ollama guesses one from the GGUF file");
                writeln!(out, "# No TEMPLATE: {why}.")?;
            }
        }
        let mut ends = adapters.form.end_ids();
        ends.extend(text.end_ids.iter().filter(|id| !adapters.form.end_ids().contains(id)));
        for end in ends.iter().filter_map(|id| text.tokenizer.id_to_token(*id)) {
            writeln!(out, "PARAMETER stop {}", quoted(&end))?;
        }
    }
    if let Some(system) = adapters.form.get(SYSTEM_KEY) {
        put(&mut out, "SYSTEM", system);
    }
    for (key, value) in settings(&args.model) {
        writeln!(out, "PARAMETER {key} {value}")?;
    }
    writeln!(out, "PARAMETER num_ctx {}", arch.max_position_embeddings.min(MOST_CONTEXT))?;
    Ok(out)
}

/// A text between three quotes, as Ollama reads those of several lines.
fn put(out: &mut String, command: &str, text: &str) {
    // Three quotes within it would end it; a space between changes the least.
    let text = text.replace("\"\"\"", "\"\" \"");
    *out += &[command, " \"\"\"", &text, "\"\"\"\n"].concat();
}

/// A text in double quotes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\\""))
}

/// The model's own settings of generation; greedy where it samples nothing.
fn settings(model: &Path) -> Vec<(&'static str, Value)> {
    let read = std::fs::read(model.join("generation_config.json")).ok();
    let Some(config) = read.and_then(|text| serde_json::from_slice::<Value>(&text).ok()) else { return Vec::new() };
    if config["do_sample"] == false {
        return vec![("temperature", Value::from(0))];
    }
    SETTINGS
        .into_iter()
        .filter_map(|(from, to)| Some((to, config.get(from).filter(|v| v.is_number())?.clone())))
        .collect()
}
