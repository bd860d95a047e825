//! `--config-schema`: the JSON schema of configuration files, from the arguments themselves.

use clap::{Arg, Command};
use serde_json::{Map, Value, json};

use super::argv::{NOT_IN_FILES, key};
use super::kind::Kind;
use super::peers;

/// The schema, draft 2020-12. Keys may also stand under headings such as `training:`, which it does not show.
pub fn schema(command: &Command) -> Value {
    let keys = command.get_arguments().filter(|arg| !NOT_IN_FILES.contains(&key(arg).as_str()));
    let properties: Map<String, Value> = keys.map(|arg| (key(arg), property(arg))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ft-train",
        "description": "A run of ft-train: the long flags, with underscores. A flag on the command line wins.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

fn property(arg: &Arg) -> Value {
    let kind = Kind::of(arg);
    let mut property = kind.schema();
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    property["description"] = help.split_whitespace().collect::<Vec<_>>().join(" ").into();
    if let Some(knob) = peers::of(arg) {
        property["description"] = format!("{}: {}", knob.verdict(), knob.why).into();
    }
    let names = arg.get_all_aliases().into_iter().flatten().filter(|name| !name.contains('_'));
    let other: Vec<String> = names.map(|name| name.replace('-', "_")).collect();
    if !other.is_empty() {
        property["$comment"] = format!("also: {}", other.join(", ")).into();
    }
    if arg.get_id() == "activation_memory" {
        // 2GB, or the number.
        property["type"] = json!(["integer", "string", "null"]);
    }
    let values = arg.get_possible_values();
    if !values.is_empty() && kind == Kind::Text {
        let names = values.iter().flat_map(clap::builder::PossibleValue::get_name_and_aliases).map(Value::from);
        property["enum"] = names.chain([Value::Null]).collect();
    }
    let words: Vec<String> = arg
        .get_default_values()
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .filter(|w| !w.is_empty())
        .collect();
    if !words.is_empty() {
        property["default"] = kind.value(&words);
    }
    property
}
