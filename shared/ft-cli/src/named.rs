//! Arguments whose values have names.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use ft_io::NamedValue;

/// Reads a value by one of its names; the help lists them with what they mean.
pub fn named_value<T: NamedValue>() -> impl TypedValueParser<Value = T> {
    let possible = T::VALUES.iter().map(|(_, names, meaning)| {
        PossibleValue::new(names[0]).aliases(names[1..].iter().copied()).help(meaning.trim())
    });
    PossibleValuesParser::new(possible).try_map(|name| T::named(&name).ok_or("expected one of the names"))
}
