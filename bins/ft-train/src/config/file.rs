//! `--config FILE`: YAML, TOML or JSON.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Arg, Command};

use super::argv::{NOT_IN_FILES, find, key};
use super::kind::Kind;
use super::node::Node;

/// Headings under which recipes group their keys. The keys count, wherever they stand.
const SECTIONS: [&str; 26] = [
    "adapter",
    "arguments",
    "checkpointing",
    "checkpoints",
    "data",
    "dataset",
    "eval",
    "evaluation",
    "logging",
    "lora",
    "lora_config",
    "memory",
    "model",
    "model_config",
    "optimizer",
    "output",
    "peft",
    "peft_config",
    "rows",
    "scheduler",
    "sft",
    "sft_config",
    "train",
    "trainer",
    "training",
    "training_arguments",
];

/// What a file says.
#[derive(Debug, Default)]
pub struct Said {
    /// The keys, by their first names.
    pub keys: Vec<String>,
    /// Their values as they would be typed.
    pub words: Vec<String>,
}

/// Reads a file.
///
/// # Errors
/// One line that names the file, the key, what was expected and what was found.
pub fn read(path: &Path, command: &Command) -> Result<Said, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read '{}': {e}", path.display()))?;
    let wrong = |e: &dyn std::fmt::Display| format!("'{}': {}", path.display(), e.to_string().trim());
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let node: Node = match extension.as_str() {
        "yaml" | "yml" => serde_norway::from_str(&text).map_err(|e| wrong(&e))?,
        "toml" => toml::from_str(&text).map_err(|e| wrong(&e))?,
        "json" => serde_json::from_str(&text).map_err(|e| wrong(&e))?,
        _ => return Err(wrong(&"a configuration ends in .yaml, .yml, .toml or .json")),
    };
    let top = match node {
        Node::Map(pairs) => pairs,
        Node::Null => Vec::new(),
        other => return Err(wrong(&format!("expected names and values, found {}", other.what()))),
    };
    let mut found = ReadKeys { command, seen: BTreeMap::new(), words: Vec::new() };
    found.take(top, true).map_err(|e| wrong(&e))?;
    Ok(Said { keys: found.seen.into_keys().collect(), words: found.words })
}

/// What was read so far.
struct ReadKeys<'a> {
    command: &'a Command,
    /// The argument of each key, and the key as it was written.
    seen: BTreeMap<String, String>,
    words: Vec<String>,
}

impl ReadKeys<'_> {
    fn take(&mut self, pairs: Vec<(String, Node)>, top: bool) -> Result<(), String> {
        for (written, node) in pairs {
            let name = written.replace('-', "_");
            let arg = find(self.command, &name);
            match node {
                Node::Map(inner) if top && SECTIONS.contains(&name.as_str()) && !arg.is_some_and(takes_maps) => {
                    self.take(inner, false)?;
                }
                node => match arg {
                    Some(arg) if !NOT_IN_FILES.contains(&key(arg).as_str()) => {
                        self.add(&written, &key(arg), arg, &node)?;
                    }
                    Some(_) => return Err(format!("'{written}' belongs on the command line; {}", hint(&name))),
                    None => return Err(self.unknown(&written, &name)),
                },
            }
        }
        Ok(())
    }

    fn add(&mut self, written: &str, key: &str, arg: &Arg, node: &Node) -> Result<(), String> {
        if let Some(before) = self.seen.insert(key.to_owned(), written.to_owned()) {
            return Err(if before == written {
                format!("'{written}' stands there twice")
            } else {
                format!("'{before}' and '{written}' are the same argument")
            });
        }
        let name = arg.get_long().unwrap_or_default();
        let values = typed(arg, node).map_err(|e| format!("'{written}': {e}"))?;
        match values.as_deref() {
            None => {}
            // A switch alone.
            Some([one]) if one.is_empty() => self.words.push(format!("--{name}")),
            Some([one]) => self.words.push(format!("--{name}={one}")),
            Some(several) => {
                self.words.push(format!("--{name}"));
                self.words.extend_from_slice(several);
            }
        }
        Ok(())
    }

    /// An unknown key, and the name that is nearest to it.
    fn unknown(&self, written: &str, name: &str) -> String {
        let names = self.command.get_arguments().map(key).filter(|key| !NOT_IN_FILES.contains(&key.as_str()));
        let nearest = names.max_by(|a, b| {
            let like = |key: &str| strsim::jaro_winkler(key, name);
            like(a).total_cmp(&like(b)).then_with(|| b.cmp(a))
        });
        format!(
            "unknown key '{written}'; did you mean '{}'? '--config-schema' lists them all",
            nearest.unwrap_or_default()
        )
    }
}

fn hint(name: &str) -> &'static str {
    match name {
        "quiet" => "write log_level: warning",
        "verbose" => "write log_level: debug",
        _ => "leave it out",
    }
}

fn takes_maps(arg: &Arg) -> bool {
    matches!(Kind::of(arg), Kind::Object | Kind::Any)
}

/// A value as it would be typed, in one word or several; none where it says that nothing is given.
fn typed(arg: &Arg, node: &Node) -> Result<Option<Vec<String>>, String> {
    let kind = Kind::of(arg);
    let one = |word: String| Ok(Some(vec![word]));
    match node {
        Node::Null => Ok(None),
        Node::Text(text) if text.is_empty() && kind == Kind::Any => Ok(None),
        // A path that need not be given: true is the switch alone.
        Node::Bool(said) if kind == Kind::MaybeText => Ok(said.then(|| vec![String::new()])),
        Node::List(items) if kind == Kind::Any => one(Node::List(items.clone()).json()),
        Node::List(items) if matches!(kind, Kind::Texts | Kind::Wholes) => {
            let words: Option<Vec<String>> = items.iter().map(Node::word).collect();
            let words = words.ok_or("expected a list of words or numbers")?;
            Ok((!words.is_empty()).then_some(words))
        }
        Node::Map(_) if takes_maps(arg) => one(node.json()),
        node => match node.word() {
            Some(word) => one(word),
            None => Err(format!("expected {}, found {}", expected(kind), node.what())),
        },
    }
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "true or false",
        Kind::Whole => "a whole number",
        Kind::Real => "a number",
        Kind::Text | Kind::MaybeText | Kind::Any => "one value",
        Kind::Object => "names and values",
        Kind::Texts | Kind::Wholes => "a list",
    }
}
