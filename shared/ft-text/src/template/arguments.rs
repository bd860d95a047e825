//! The arguments of a call as Python binds them: by their place or by name.

use minijinja::value::{Kwargs, from_args};
use minijinja::{Error, ErrorKind, Value};

/// The arguments of a call by their place or by name.
pub(super) struct Arguments(Vec<Option<Value>>);

impl Arguments {
    /// Takes at most as many as there are `names`.
    pub(super) fn of(args: &[Value], names: &[&str]) -> Result<Self, Error> {
        let (placed, named): (&[Value], Kwargs) = from_args(args)?;
        if placed.len() > names.len() {
            return Err(ErrorKind::TooManyArguments.into());
        }
        let get = |(i, name): (usize, &&str)| match placed.get(i) {
            Some(value) => Ok(Some(value.clone())),
            None => named.get::<Option<Value>>(name),
        };
        let values = names.iter().enumerate().map(get).collect::<Result<_, _>>()?;
        named.assert_all_used()?;
        Ok(Self(values))
    }

    /// The argument at `at`, if it was given.
    pub(super) fn get(&self, at: usize) -> Option<&Value> {
        self.0[at].as_ref()
    }

    /// Whether the argument at `at` was given and is true.
    pub(super) fn flag(&self, at: usize) -> bool {
        self.get(at).is_some_and(Value::is_true)
    }

    /// The argument at `at`, which must be there.
    pub(super) fn value(&self, at: usize) -> Result<&Value, Error> {
        self.get(at).ok_or_else(|| ErrorKind::MissingArgument.into())
    }

    /// The text at `at`, which must be there.
    pub(super) fn text(&self, at: usize) -> Result<&str, Error> {
        self.value(at)?.as_str().ok_or_else(|| invalid("expected a text"))
    }

    /// A text, or `None` where there is none.
    pub(super) fn maybe_text(&self, at: usize) -> Result<Option<&str>, Error> {
        match &self.0[at] {
            Some(value) if !value.is_none() => {
                Ok(Some(value.as_str().ok_or_else(|| invalid("expected a text or none"))?))
            }
            _ => Ok(None),
        }
    }

    /// A whole number, or `None` where there is none.
    pub(super) fn maybe_number(&self, at: usize) -> Result<Option<i64>, Error> {
        match &self.0[at] {
            Some(value) if !value.is_none() => i64::try_from(value.clone()).map(Some),
            _ => Ok(None),
        }
    }

    /// A number of times; below 0 means without end.
    pub(super) fn limit(&self, at: usize) -> Result<usize, Error> {
        Ok(self.maybe_number(at)?.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX))
    }
}

/// The error of a call that cannot be done.
pub(super) fn invalid(words: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, words.into())
}
