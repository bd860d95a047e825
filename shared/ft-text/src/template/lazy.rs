//! Python's values that are iterated but are no lists.
//!
//! Jinja's `map`, `select` and their like give generators: true even if nothing comes out
//! of them, without a length, gone after one pass, and no JSON. `items`, `keys` and
//! `values` of a dict give views, which have a length but are no sequences and no JSON.
//! Templates that work in Python may lean on any of it.

use std::fmt;
use std::sync::{Arc, Mutex};

use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Error, ErrorKind, Value};

/// The name of the filter [`iterable`] inside rewritten templates.
pub(super) const ITERABLE: &str = "ft_iterable";

/// The filter through which every loop gets its items.
#[allow(clippy::needless_pass_by_value)] // minijinja hands the value over
pub(super) fn iterable(value: Value) -> Result<Value, Error> {
    check(&value)?;
    Ok(value)
}

/// Refuses `none`, which minijinja takes for an empty list.
pub(super) fn check(value: &Value) -> Result<(), Error> {
    if value.is_none() {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "None is not iterable: the template loops over a value that is none here (as it does in Python)",
        ));
    }
    Ok(())
}

/// Items that come once.
#[derive(Debug)]
pub(super) struct Generator {
    items: Mutex<Vec<Value>>,
}

impl Generator {
    pub(super) fn value(items: Vec<Value>) -> Value {
        Value::from_object(Self { items: Mutex::new(items) })
    }
}

impl Object for Generator {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        // A thread that failed while it held the lock has taken the items.
        let items = self.items.lock().map(|mut items| std::mem::take(&mut *items)).unwrap_or_default();
        Enumerator::Values(items)
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        None
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<generator object>")
    }
}

/// What `items`, `keys` or `values` of a dict give.
#[derive(Debug)]
pub(super) struct View {
    /// As Python calls it.
    name: &'static str,
    items: Vec<Value>,
}

impl View {
    pub(super) fn value(name: &'static str, items: Vec<Value>) -> Value {
        Value::from_object(Self { name, items })
    }
}

impl Object for View {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.items.clone())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.items.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name, Value::from(self.items.clone()))
    }
}

/// Whether `value` is one of the two.
pub(super) fn is_lazy(value: &Value) -> bool {
    value.downcast_object_ref::<Generator>().is_some() || value.downcast_object_ref::<View>().is_some()
}
