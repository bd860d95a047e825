//! The form of user messages: `{prefix}: [{input}]`.

use crate::form::PREFIXED;

const INPUT: &str = "{input}";
const PREFIX: &str = "{prefix}";

/// A format with its prefix put in: texts with the message between each two.
#[derive(Debug, PartialEq, Eq)]
pub struct UserFormat {
    parts: Vec<String>,
}

impl UserFormat {
    /// The format that the two arguments give; `None` if there is neither.
    ///
    /// # Errors
    /// In words: a format without `{input}`, or with `{prefix}` and no prefix, or a prefix that the
    /// format does not use.
    pub fn new(prefix: Option<&str>, format: Option<&str>) -> Result<Option<Self>, String> {
        let Some(format) = format.or(prefix.map(|_| PREFIXED)) else {
            return Ok(None);
        };
        let wrong = |what: &str| Err(format!("--user-format {format:?} {what}"));
        if !format.contains(INPUT) {
            return wrong("has no {input}: the message would be lost");
        }
        match (prefix, format.contains(PREFIX)) {
            (None, true) => return wrong("has {prefix}: give --prefix too"),
            (Some(_), false) => return wrong("has no {prefix}: leave --prefix out or name it"),
            _ => {}
        }
        // Cut first, so that a prefix which says {input} is taken as it is.
        let parts = format.split(INPUT).map(|part| part.replace(PREFIX, prefix.unwrap_or_default())).collect();
        Ok(Some(Self { parts }))
    }

    /// `message` in this form.
    pub fn apply(&self, message: &str) -> String {
        self.parts.join(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(prefix: Option<&str>, format: Option<&str>, message: &str) -> String {
        UserFormat::new(prefix, format).unwrap().unwrap().apply(message)
    }

    #[test]
    fn a_prefix_alone_puts_the_message_in_brackets() {
        assert_eq!(apply(Some("Tax"), None, "How much?"), "Tax: [How much?]");
        assert_eq!(UserFormat::new(None, None).unwrap(), None);
    }

    #[test]
    fn a_format_of_ones_own() {
        assert_eq!(apply(Some("T"), Some("<{prefix}> {input} / {input}"), "x"), "<T> x / x");
        assert_eq!(apply(None, Some("Q: {input}"), "x"), "Q: x");
    }

    #[test]
    fn what_is_put_in_is_not_looked_into() {
        assert_eq!(apply(Some("{input}"), None, "{prefix}"), "{input}: [{prefix}]");
    }

    #[test]
    fn formats_that_lose_something_are_refused() {
        for (prefix, format) in [(None, "x"), (None, "{prefix} {input}"), (Some("p"), "{input}")] {
            assert!(UserFormat::new(prefix, Some(format)).is_err(), "{format}");
        }
    }
}
