//! Lists that are typed as JSON, as peft and configuration files write them: `--modules-to-save '["lm_head"]'`.

use std::ffi::OsString;

use clap::{Arg, Command};
use serde_json::Value;

use super::argv::find;

/// The words with each JSON list behind an argument that takes several values, made separate words.
pub fn spelled_out(command: &Command, typed: &[OsString]) -> Vec<OsString> {
    let mut words = Vec::with_capacity(typed.len());
    let mut takes_many = false;
    for word in typed {
        let text = word.to_str().unwrap_or_default();
        let (flag, value) = match text.strip_prefix("--").map(|flag| flag.split_once('=').unwrap_or((flag, ""))) {
            Some((flag, value)) => {
                takes_many = find(command, flag).is_some_and(is_list);
                (Some(flag), value)
            }
            None => (None, text),
        };
        match items(value).filter(|_| takes_many) {
            Some(items) => {
                words.extend(flag.map(|flag| OsString::from(format!("--{flag}"))));
                words.extend(items.into_iter().map(OsString::from));
            }
            None => words.push(word.clone()),
        }
    }
    words
}

/// Whether an argument takes several values, apart by spaces or commas.
fn is_list(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|range| range.max_values() > 1)
}

/// The items of a JSON list of words and numbers that has some.
fn items(text: &str) -> Option<Vec<String>> {
    let list: Vec<Value> = serde_json::from_str(text).ok()?;
    let item = |value: Value| match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    list.into_iter().map(item).collect::<Option<Vec<_>>>().filter(|items| !items.is_empty())
}
