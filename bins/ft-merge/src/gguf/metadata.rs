//! What the file says beside its weights.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Result;
use ft_io::gguf::{Content, Metadata, Typed};
use ft_io::{InputDigest, Provenance};
use ft_text::origin::{TEMPLATE_KEY, TOOL_TEMPLATE_KEY};
use ft_text::{KnownPre, TokenizerExport};

use super::job::Job;
use crate::weights::provenance;

/// The key that says which program wrote a file.
const TOOL: &str = "ft.tool";
/// llama.cpp's version of its blocks (`GGML_QNT_VERSION`).
const BLOCKS: u32 = 2;

/// What does not depend on the inputs' digests: the architecture, general things, the tokenizer.
///
/// # Errors
/// If the tokenizer is none that llama.cpp has.
pub fn all(job: &Job<'_>) -> Result<Metadata> {
    let text = |key: &str, text: &str| (key.to_owned(), Typed::Text(text.into()));
    let mut architecture = job.model.metadata.clone().into_iter();
    let mut all: Metadata = architecture.next().into_iter().collect();
    all.push(text("general.type", "model"));
    all.push(text("general.name", &name(&job.args.model)));
    all.push(("general.file_type".into(), Typed::U32(job.to.number())));
    all.push(("general.quantization_version".into(), Typed::U32(BLOCKS)));
    all.extend(architecture);
    all.extend(tokenizer(job)?);
    Ok(all)
}

/// [`all`], with where the file comes from.
pub fn with_inputs(header: &Metadata, inputs: Vec<InputDigest>, job: &Job<'_>) -> Metadata {
    let mut all = header.clone();
    // The templates are among the tokenizer's keys.
    let is_template = |key: &str| key == TEMPLATE_KEY || key == TOOL_TEMPLATE_KEY;
    all.extend(origin(&provenance(inputs, job.adapters)).into_iter().filter(|(key, _)| !is_template(key)));
    all
}

/// Where a file comes from, as its header has it.
pub fn origin(provenance: &Provenance) -> Metadata {
    provenance.to_pairs().into_iter().map(|(key, value)| (key, Typed::Text(value))).collect()
}

fn tokenizer(job: &Job<'_>) -> Result<Metadata> {
    let pre = job.args.pre.as_deref();
    if let Some(name) = pre.filter(|name| KnownPre::of(name) == KnownPre::No) {
        tracing::warn!(
            "--pre {name}: not among the names that are known here; a llama.cpp without it refuses the file"
        );
    }
    let export = TokenizerExport {
        model: &job.args.model,
        form: &job.adapters.form,
        rows: job.base.architecture().vocab_size,
        pre,
    };
    Ok(export.metadata()?.unwrap_or_else(|| {
        tracing::warn!("'{}' has no tokenizer, so the file has none: it takes ids, no text", job.args.model.display());
        vec![("tokenizer.ggml.model".into(), Typed::Text("none".into()))]
    }))
}

/// The model's name without its folder and ending.
fn name(model: &Path) -> String {
    let name = if model.is_dir() { model.file_name() } else { model.file_stem() };
    let whole = || model.canonicalize().ok().and_then(|path| path.file_name().map(ToOwned::to_owned));
    name.map(ToOwned::to_owned).or_else(whole).unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether an earlier run wrote the file.
pub fn is_result(path: &Path) -> bool {
    let read = || -> Option<Content> {
        let file = File::open(path).ok()?;
        let len = file.metadata().ok()?.len();
        Content::read(BufReader::new(file), len).ok()
    };
    read().is_some_and(|content| content.string(TOOL) == Some(env!("CARGO_PKG_NAME")))
}
