//! Numbers in the environment.

use std::ops::RangeInclusive;

use anyhow::{Context, Result, bail};

/// The variables' values by their names.
pub type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// This process's variables; one that is no text is read as far as it is.
pub fn of_process(name: &str) -> Option<String> {
    Some(std::env::var_os(name)?.to_string_lossy().into_owned())
}

/// A number that must be there.
///
/// # Errors
/// As [`number`], and if it is not there.
pub fn required(variables: &Variables<'_>, name: &str, range: RangeInclusive<usize>) -> Result<usize> {
    number(variables, name, range)?.with_context(|| format!("the environment has no {name}, though it says of others"))
}

/// A number, where there is one.
///
/// # Errors
/// If it is something else, or out of its range.
pub fn number(variables: &Variables<'_>, name: &str, range: RangeInclusive<usize>) -> Result<Option<usize>> {
    let Some(text) = variables(name) else { return Ok(None) };
    match text.trim().parse() {
        Ok(number) if range.contains(&number) => Ok(Some(number)),
        _ if *range.end() == usize::MAX => {
            bail!("the environment's {name} is '{text}', expected a number from {}", range.start())
        }
        _ => bail!("the environment's {name} is '{text}', expected a number from {} to {}", range.start(), range.end()),
    }
}
