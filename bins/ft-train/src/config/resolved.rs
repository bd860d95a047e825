//! Every argument's value, and where it comes from.

use std::any::TypeId;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use serde_json::{Map, Value};

use super::argv::{NOT_IN_FILES, key};
use super::kind::{Kind, digits};
use super::peers;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// The file of `--accelerate-config`.
    Accelerate,
    File,
    Flag,
}

impl Origin {
    /// As `--print-config` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Accelerate => "accelerate",
            Self::File => "file",
            Self::Flag => "flag",
        }
    }
}

/// One argument.
#[derive(Debug, Clone)]
struct Entry {
    key: String,
    value: Value,
    origin: Origin,
    /// Whether there is a value that is not the default: a file may also say null.
    given: bool,
    /// Whether it names a file or a folder.
    is_path: bool,
}

/// The configuration of a run. Fed back as a `--config` file it gives the same run.
#[derive(Debug, Clone)]
pub struct Resolved {
    entries: Vec<Entry>,
}

/// What an adapter to start from decides, and what is therefore nobody's where it is not said.
const OF_ADAPTER: [&str; 3] = ["lora_r", "lora_alpha", "target_modules"];

impl Resolved {
    /// Of all arguments, of those that were typed, and of the keys of `--config` and of `--accelerate-config`.
    pub fn new(
        command: &Command,
        all: &ArgMatches,
        typed: &ArgMatches,
        file: &[String],
        accelerate: &[String],
    ) -> Self {
        let mut entries = Vec::new();
        for arg in command.get_arguments() {
            let (id, key) = (arg.get_id().as_str(), key(arg));
            if NOT_IN_FILES.contains(&key.as_str()) || key == "overwrite_output_dir" {
                continue;
            }
            let origin = if typed.value_source(id) == Some(ValueSource::CommandLine) {
                Origin::Flag
            } else if file.contains(&key) {
                Origin::File
            } else if accelerate.contains(&key) {
                Origin::Accelerate
            } else {
                Origin::Default
            };
            let words =
                all.get_raw(id).map(|raw| raw.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>());
            let given = all.value_source(id) == Some(ValueSource::CommandLine);
            let alone = Kind::of(arg) == Kind::MaybeText && given;
            let value = match words {
                Some(words) if alone || words.iter().any(|word| !word.is_empty()) => Kind::of(arg).value(&words),
                _ if peers::of(arg).is_some() => continue,
                _ => Value::Null,
            };
            entries.push(Entry { key, value, origin, given, is_path: is_path(arg) });
        }
        let mut resolved = Self { entries };
        if resolved.get("init_adapter").is_some() {
            for entry in resolved.entries.iter_mut().filter(|e| OF_ADAPTER.contains(&e.key.as_str())) {
                if !entry.given {
                    entry.value = Value::Null;
                }
            }
        }
        resolved
    }

    /// The value of a key, where it has one.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|e| e.key == key).map(|e| &e.value).filter(|value| !value.is_null())
    }

    /// Where the key's value comes from.
    pub fn origin(&self, key: &str) -> Option<Origin> {
        self.entries.iter().find(|e| e.key == key).map(|e| e.origin)
    }

    /// Whether a file or a flag gave the key's value.
    pub fn given(&self, key: &str) -> bool {
        self.entries.iter().any(|e| e.key == key && e.given)
    }

    /// Keys and values, as a JSON configuration has them.
    #[cfg(test)]
    pub fn to_json(&self) -> Value {
        Value::Object(self.entries.iter().map(|e| (e.key.clone(), e.value.clone())).collect::<Map<_, _>>())
    }

    /// Keys and values, as a JSON configuration has them, in which an absolute path is cut to its last part: a record goes to others, and says
    /// nothing of the machine that it was made on.
    pub fn for_record(&self) -> Value {
        let kept = |e: &Entry| if e.is_path { without_folders(&e.value) } else { e.value.clone() };
        Value::Object(self.entries.iter().map(|e| (e.key.clone(), kept(e))).collect::<Map<_, _>>())
    }

    /// `default`, `accelerate`, `file` or `flag` of every key.
    pub fn origins(&self) -> Value {
        Value::Object(self.entries.iter().map(|e| (e.key.clone(), e.origin.name().into())).collect::<Map<_, _>>())
    }

    /// A configuration file in which each line says where its value comes from.
    pub fn to_yaml(&self) -> String {
        let lines: Vec<(String, Origin)> =
            self.entries.iter().map(|e| (format!("{}: {}", e.key, yaml(&e.value)), e.origin)).collect();
        let width = lines.iter().map(|(line, _)| line.len()).filter(|&n| n < 60).max().unwrap_or(0);
        let mut text = String::new();
        for (line, origin) in lines {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line:width$}  # {}", origin.name());
        }
        text
    }
}

/// Whether the argument's value is a path.
fn is_path(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == TypeId::of::<PathBuf>()
}

/// An absolute path's last part; anything else as it is.
fn without_folders(value: &Value) -> Value {
    let path = value.as_str().map(Path::new).filter(|path| path.is_absolute());
    path.and_then(Path::file_name).map_or_else(|| value.clone(), |name| name.to_string_lossy().into())
}

/// A value in YAML's flow style, which is JSON with longer numbers.
fn yaml(value: &Value) -> String {
    match value {
        Value::Number(number) => digits(number),
        Value::Array(items) => format!("[{}]", items.iter().map(yaml).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), yaml(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
