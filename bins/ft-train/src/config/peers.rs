//! Arguments of `TrainingArguments`, `SFTConfig`, `ModelConfig` and `LoraConfig` that have no use here. Each is either
//! accepted with a word of why nothing follows from it, or refused with what to do; none is ignored silently.

mod knob;
mod knobs;

use clap::{Arg, ArgMatches};

pub use knob::{Knob, accept, only};
pub use knobs::KNOBS;

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
            return Err(format!("{} {given} is refused: {}", knob.name, knob.why));
        }
        notes.push(format!("{} {given} is accepted, without effect: {}", knob.name, knob.why));
    }
    Ok(notes)
}
