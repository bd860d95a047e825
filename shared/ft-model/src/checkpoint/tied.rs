//! Heads that a configuration says are the embedding, held against what the files have.

use std::sync::Arc;

use serde_json::Value;

use super::{Checkpoint, Stored};
use crate::error::Result;

/// Elements that are compared at a time.
const PIECE: usize = 1 << 18;

impl Checkpoint {
    /// Settles what head and embedding of a tied model are, as transformers does: where the files have both with the
    /// same values, or one of them, both are that one; where they have two different ones, the model is not tied,
    /// whatever its configuration says.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(super) fn tie(&mut self) -> Result<()> {
        if !self.arch.tie_word_embeddings {
            return Ok(());
        }
        let names = self.arch.names();
        let (head, embedding) = (format!("{}.weight", names.head), format!("{}.weight", names.embedding));
        let Some(own) = self.tensors.remove(&head) else { return Ok(()) };
        match self.tensors.get(&embedding) {
            None => drop(self.tensors.insert(embedding, own)),
            Some(shared) if is_same(shared, &own)? => {}
            Some(_) => {
                tracing::warn!(
                    "'{}' has tie_word_embeddings true, but '{head}' and '{embedding}' differ: both are used, as transformers does",
                    self.path.display()
                );
                self.tensors.insert(head, own);
                self.arch.untie();
            }
        }
        Ok(())
    }
}

impl crate::arch::Architecture {
    /// Gives the head a matrix of its own, here and in what is written of the configuration.
    fn untie(&mut self) {
        self.tie_word_embeddings = false;
        if let Some(config) = self.raw.as_object_mut() {
            config.insert("tie_word_embeddings".into(), Value::Bool(false));
        }
    }
}

/// Whether two tensors have the same values.
fn is_same(x: &Stored, y: &Stored) -> Result<bool> {
    if x.shape() != y.shape() {
        return Ok(false);
    }
    if Arc::ptr_eq(&x.file, &y.file) && x.offset == y.offset {
        return Ok(true);
    }
    let rows = x.rows_for(PIECE).max(y.rows_for(PIECE));
    let (mut left, mut right) = (vec![0f32; rows * x.columns()], vec![0f32; rows * x.columns()]);
    for first in (0..x.rows()).step_by(rows.max(1)) {
        let len = rows.min(x.rows() - first) * x.columns();
        x.read_rows(first, &mut left[..len])?;
        y.read_rows(first, &mut right[..len])?;
        if left[..len] != right[..len] {
            return Ok(false);
        }
    }
    Ok(true)
}
