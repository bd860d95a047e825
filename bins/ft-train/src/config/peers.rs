//! Arguments of `TrainingArguments`, `SFTConfig`, `ModelConfig` and `LoraConfig` that have no use here. Each is either
//! accepted with a word of why nothing follows from it, or refused with what to do; none is ignored silently.

mod knobs;

use clap::builder::{NonEmptyStringValueParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches};

use super::argv::kept;
pub use knobs::{KNOBS, accept, only};

/// An argument that has no use here.
pub struct Knob {
    pub name: &'static str,
    /// The values that are accepted; all of them where it is empty.
    pub harmless: &'static [&'static str],
    /// Why nothing follows from it, or what to do in its place.
    pub why: &'static str,
}

impl Knob {
    /// The argument; it takes any number of values, or none, and does not show in the help.
    pub fn arg(&self) -> Arg {
        let arg = Arg::new(self.name).long(kept(self.name.replace('_', "-"))).hide(true);
        let arg = if self.name.contains('_') { arg.alias(self.name) } else { arg };
        let word = ValueParser::from(NonEmptyStringValueParser::new());
        arg.action(ArgAction::Set).num_args(0..).default_missing_value("true").value_parser(word).value_name("ANY")
    }

    /// Whether this value is accepted.
    pub fn allows(&self, given: &str) -> bool {
        let same =
            |value: &&str| value.eq_ignore_ascii_case(given) || number(value).is_some_and(|x| Some(x) == number(given));
        self.harmless.is_empty() || self.harmless.iter().any(same)
    }

    /// In a schema: whether it can be given at all.
    pub fn verdict(&self) -> String {
        if self.harmless.is_empty() {
            "accepted, without effect".into()
        } else {
            format!("only {} is accepted", self.harmless.join(" or "))
        }
    }
}

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

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}
