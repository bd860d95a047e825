//! A run and its repetition, bit by bit.

use std::fmt::Display;

use ft_kernels::tensor::with_slice;
use ft_model::lora::Adapter;
use serde_json::Value;

use super::kept::Kept;
use crate::error::{Error, Result};
use crate::json::Entry;
use crate::output::checkpoint;
use crate::run::Observer;
use crate::run::trainer_state::{checkpoint_name, is_evaluation, step_of};

/// Holds a repetition against what was kept, as it goes.
pub(super) struct Comparison<'a> {
    pub kept: &'a Kept,
    /// The step that the repetition goes on after.
    pub from: u64,
    /// Entries of the log that were equal.
    pub logs: usize,
    /// Checkpoints that were equal.
    pub checkpoints: usize,
}

impl Observer for Comparison<'_> {
    fn logged(&mut self, _: u64, entry: &Entry) -> Result<()> {
        let (Some(step), true) = (step_of(entry), entry.contains_key("loss") || is_evaluation(entry)) else {
            return Ok(());
        };
        let same_kind = |other: &&Entry| step_of(other) == Some(step) && is_evaluation(other) == is_evaluation(entry);
        let Some(kept) = self.kept.log.iter().filter(|e| e.contains_key("loss") || is_evaluation(e)).find(same_kind)
        else {
            return Ok(());
        };
        let clock = |key: &str| key.ends_with("runtime") || key.ends_with("per_second");
        for (key, was) in kept.iter().filter(|(key, _)| !clock(key)) {
            require_value(step, key, was, entry.get(key).unwrap_or(&Value::Null))?;
        }
        self.logs += usize::from(step > self.from);
        Ok(())
    }

    fn stepped(&mut self, step: u64, adapter: &Adapter) -> Result<()> {
        let path = self.kept.dir.join(checkpoint_name(step));
        if checkpoint::require_whole(&path).is_err() {
            return Ok(());
        }
        require_equal(&Adapter::load(&path)?, adapter, &format!("step {step}"))?;
        self.checkpoints += 1;
        Ok(())
    }
}

fn require_value(step: u64, key: &str, was: &Value, is: &Value) -> Result<()> {
    // Compared as numbers: 1 and 1.0 are the same.
    let same = match (was.as_f64(), is.as_f64()) {
        (Some(was), Some(is)) => was.to_bits() == is.to_bits(),
        _ => was == is,
    };
    if same { Ok(()) } else { differ(&format!("step {step}"), key, was, is) }
}

pub(super) fn require_equal(was: &Adapter, is: &Adapter, place: &str) -> Result<()> {
    for (was, is) in was.trainable().zip(is.trainable()) {
        let (name, shape) = (was.name(), was.tensor.dims());
        if (name.as_str(), shape) != (is.name().as_str(), is.tensor.dims()) {
            let told = |name: &str, shape: &[usize]| format!("'{name}' of shape {shape:?}");
            return differ(place, "the tensor", &told(&name, shape), &told(&is.name(), is.tensor.dims()));
        }
        let values = |tensor| with_slice(tensor, <[f32]>::to_vec).map_err(ft_model::Error::from);
        let (was, is) = (values(was.tensor)?, values(is.tensor)?);
        if let Some(at) = was.iter().zip(&is).position(|(a, b)| a.to_bits() != b.to_bits()) {
            return differ(place, &format!("the tensor '{name}', element {:?}", element(at, shape)), &was[at], &is[at]);
        }
    }
    Ok(())
}

/// The indices of the element with the number `at`, row-major.
fn element(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut indices: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&size| {
            let index = at % size;
            at /= size;
            index
        })
        .collect();
    indices.reverse();
    indices
}

fn differ(place: &str, what: &str, was: &dyn Display, is: &dyn Display) -> Result<()> {
    Err(Error::Checkpoint(format!("the repetition differs first at {place}: {what} was {was} and is {is}")))
}
