//! What the output says of where it comes from, and of how a prompt must look for what is learned from it.

use std::collections::BTreeMap;

use ft_cli::typed_arguments;
use ft_io::{InputDigest, Provenance, Source};
use ft_text::{ChatTemplate, origin};
use serde_json::json;

use crate::args::Args;

/// Tool, arguments, inputs and tokenizer. An input whose digest is known only at its end is added then ([`inputs`]).
pub fn provenance(args: &Args, source: &Source, sha256: Option<&str>, fingerprint: &str) -> Provenance {
    let model = ft_io::model_name(&args.model);
    Provenance {
        tool: "ft-template".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        arguments: typed_arguments(&["-o", "--output"], &[source]),
        inputs: sha256
            .map(|sha256| InputDigest { name: source.file_name(), sha256: sha256.into() })
            .into_iter()
            .collect(),
        extra: BTreeMap::from([(origin::TOKENIZER_KEY.into(), fingerprint.into()), ("ft.model".into(), model)]),
    }
}

/// The key of the inputs' digests.
const INPUTS: &str = "ft.inputs";

/// What goes into the metadata before the rows: all of it but inputs that are not known yet.
pub fn pairs(provenance: &Provenance) -> Vec<(String, String)> {
    let mut pairs = provenance.to_pairs();
    pairs.retain(|(key, _)| key != INPUTS || !provenance.inputs.is_empty());
    pairs
}

/// The inputs, behind the rows.
pub fn inputs(digest: InputDigest) -> Vec<(String, String)> {
    let mut pairs = Provenance { inputs: vec![digest], ..Provenance::default() }.to_pairs();
    pairs.retain(|(key, _)| key == INPUTS);
    pairs
}

/// The template, the form of the messages, and the ids that end an answer.
pub fn travelling(args: &Args, template: &ChatTemplate, end_ids: &[u32], provenance: &mut Provenance) {
    let mut add = |key: &str, value: String| provenance.extra.insert(key.to_owned(), value);
    add(origin::TEMPLATE_KEY, template.source().to_owned());
    add(origin::TEMPLATE_DIGEST_KEY, template.sha256());
    add(origin::END_IDS_KEY, json!(end_ids).to_string());
    if let Some(source) = template.tool_source() {
        add(origin::TOOL_TEMPLATE_KEY, source.to_owned());
    }
    provenance.extra.extend(args.form());
}
