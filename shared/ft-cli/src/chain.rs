//! An error and its causes on one line, and the exit code they mean.

use std::error::Error as StdError;

use ft_io::{Error, Interrupted};

use crate::error::Usage;

/// Exit code of a failure: 2 usage, 130 interrupted, 1 the rest.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if marks::<Interrupted>(error) {
        130
    } else if marks::<Usage>(error) || is_usage(error) {
        2
    } else {
        1
    }
}

/// Whether `T` is among the causes or was given as context.
fn marks<T: StdError + Send + Sync + 'static>(error: &anyhow::Error) -> bool {
    error.downcast_ref::<T>().is_some() || error.chain().any(<dyn StdError>::is::<T>)
}

fn is_usage(error: &anyhow::Error) -> bool {
    let usage = |error: &Error| matches!(error, Error::Terminal | Error::SameFile { .. } | Error::Irreplaceable { .. });
    error.chain().any(|cause| cause.downcast_ref().is_some_and(usage))
}

/// The error and its causes, joined by `: `, on one line. A cause that its
/// parent already tells is not told twice.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = flat(&cause.to_string());
        if text.is_empty() || line.contains(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    line
}

/// Text with every run of whitespace that holds a line break made one space.
pub(crate) fn flat(text: &str) -> String {
    text.lines().map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_chain_is_one_line_without_repeats() {
        let error = Err::<(), _>(anyhow::anyhow!("no space\nleft"))
            .context("cannot write: no space left")
            .context("row 3")
            .unwrap_err();
        assert_eq!(one_line(&error), "row 3: cannot write: no space left");
        assert_eq!(exit_code(&error), 1);
    }

    #[test]
    fn marks_choose_the_code_wherever_they_stand() {
        let usage = anyhow::Error::new(Usage("bad".into())).context("outer");
        assert_eq!(exit_code(&usage), 2);
        assert_eq!(exit_code(&Error::Terminal.into()), 2);
        let stop = anyhow::anyhow!("inner").context(Interrupted);
        assert_eq!(exit_code(&stop), 130);
    }
}
