//! The steps of a tokenizer, as `tokenizer.json` lists them.

use serde_json::Value as Json;

/// Whether a step of this type is in a part of `tokenizer.json`, alone or in a sequence.
pub(super) fn mentions(part: &Json, kind: &str) -> bool {
    let lists = ["pretokenizers", "normalizers", "decoders", "processors"];
    part["type"] == kind
        || lists
            .iter()
            .any(|list| part[list].as_array().is_some_and(|steps| steps.iter().any(|step| mentions(step, kind))))
}
