//! Arguments of `TrainingArguments`, `SFTConfig`, `ModelConfig` and `LoraConfig` that have no use here. Each is either
//! accepted with a word of why nothing follows from it, or refused with what to do; none is ignored silently.

mod knob;
mod knobs;

use clap::{Arg, ArgMatches};

pub use knob::{Knob, accept, only};
pub use knobs::KNOBS;
use knobs::NULL;

/// The knob of an argument, where it is one.
pub fn of(arg: &Arg) -> Option<&'static Knob> {
    KNOBS.iter().find(|knob| knob.name == arg.get_id().as_str())
}

/// A line for each that was given.
///
/// # Errors
/// The line of the first that is refused.
pub fn notes(matches: &ArgMatches) -> Result<Vec<String>, String> {
    let mut notes = Vec::new();
    for knob in KNOBS {
        let Some(words) = matches.get_many::<String>(knob.name) else { continue };
        let words: Vec<&str> = words.map(String::as_str).collect();
        let given = words.join(" ");
        if !knob.allows(&given) {
            return Err(format!("{} {} is refused: {}", knob.name, shown(knob.name, &given), knob.why));
        }
        if shown(knob.name, &given) != given {
            let name = knob.name;
            return Err(format!(
                "{name} (not shown) is refused: it looks like a secret, and a run keeps what it was given"
            ));
        }
        notes.push(format!("{} {given} is accepted, without effect: {}", knob.name, knob.why));
    }
    Ok(notes)
}

/// A value as messages show it: what may be a secret, by its name or its look, is not repeated.
fn shown<'a>(name: &str, given: &'a str) -> &'a str {
    const NAMES: [&str; 5] = ["hub_token", "secret", "password", "api_key", "credential"];
    const LOOKS: [&str; 6] = ["hf_", "sk-", "ghp_", "github_pat_", "AKIA", "eyJ"];
    let is_null = NULL.iter().any(|null| null.eq_ignore_ascii_case(given));
    let named = NAMES.iter().any(|part| name.contains(part)) && given.parse::<f64>().is_err() && !is_null;
    let looks = given.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
    let looks = looks.into_iter().any(|word| LOOKS.iter().any(|look| word.starts_with(look) && word.len() > 12));
    if named || looks { "(not shown)" } else { given }
}
