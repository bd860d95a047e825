//! One argument that has no use here.

use clap::builder::{NonEmptyStringValueParser, ValueParser};
use clap::{Arg, ArgAction};

use crate::config::kept::kept;

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

/// Accepted, whatever its value.
pub const fn accept(name: &'static str, why: &'static str) -> Knob {
    Knob { name, harmless: &[], why }
}

/// Accepted with some values.
pub const fn only(harmless: &'static [&'static str], name: &'static str, why: &'static str) -> Knob {
    Knob { name, harmless, why }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}
