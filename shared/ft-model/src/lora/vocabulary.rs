//! What the pairs on embedding and head compute, and when a configuration asks for them.

use candle_core::Tensor;
use ft_kernels::Compute;
use ft_kernels::linear::{add_product, product, product_few, weight_gradient};

use super::adapter::Adapter;
use super::config::LoraConfig;
use super::ends::{End, EndPair};
use super::targets::{Targets, ends_with};
use crate::arch::Architecture;
use crate::error::{Error, Result};

impl LoraConfig {
    /// Whether a module that lies in no layer is adapted.
    fn takes(&self, module: &str) -> Result<bool> {
        let Some(targets) = &self.target_modules else { return Ok(false) };
        let leaves = self.exclude_modules.as_ref().map(Targets::matcher).transpose()?;
        Ok(targets.matcher()?.takes(module)? && !leaves.map_or(Ok(false), |leaves| leaves.takes(module))?)
    }

    /// Which of embedding and head this configuration adapts, none for `all-linear`.
    ///
    /// # Errors
    /// If one is meant in a way that is not implemented.
    pub fn ends(&self, arch: &Architecture) -> Result<Vec<End>> {
        // As in peft: with layers to choose from, a module that lies in none is not chosen.
        if self.layers_to_transform.as_ref().is_some_and(|layers| !layers.is_all()) {
            return Ok(Vec::new());
        }
        // As in peft: what is saved whole is not adapted too.
        let saved = self.modules_to_save()?;
        let mut found = Vec::new();
        for end in End::ALL {
            let module = end.module(arch.family);
            if self.takes(module)? && !saved.iter().any(|name| ends_with(module, name)) {
                found.push(end);
            }
        }
        let Some(first) = found.first().map(|end| end.module(arch.family)) else { return Ok(found) };
        let without = [("use_dora", self.use_dora()), ("init_lora_weights pissa", self.pissa().is_some())];
        if let Some((key, _)) = without.into_iter().find(|(_, asked)| *asked) {
            return Err(Error::Adapter(format!(
                "targets '{first}' with {key}, which is not implemented for embedding and head; leave one of them out"
            )));
        }
        Ok(found)
    }
}

impl Adapter {
    /// Whether the pairs on embedding and head are those that the configuration names, in the model's shapes.
    pub(super) fn check_ends(&self, arch: &Architecture) -> Result<()> {
        let expected = self.config.ends(arch)?;
        for end in &expected {
            let module = end.module(arch.family);
            if self.ends.iter().all(|pair| pair.module != module) {
                return Err(Error::Adapter(format!("has no tensor for '{module}', which its target_modules name")));
            }
        }
        for pair in &self.ends {
            let module = &pair.module;
            let end = End::parse_in(arch.family, module)
                .ok_or_else(|| Error::Adapter(format!("has the module '{module}', which the model has not")))?;
            if self.config.target_modules.is_some() && !expected.contains(&end) {
                return Err(Error::Adapter(format!(
                    "has tensors for '{module}', which its target_modules do not name"
                )));
            }
            let shapes = end.shapes(arch, self.config.rank(module)?);
            for (trained, shape) in pair.trainable().zip(shapes) {
                if trained.tensor.dims() != shape {
                    return Err(Error::Adapter(format!(
                        "does not fit the model: the tensor '{}' has the shape {:?}, expected {shape:?}",
                        trained.name(),
                        trained.tensor.dims()
                    )));
                }
            }
        }
        Ok(())
    }
}

/// What a pair on the head makes of a chunk of rows, kept for its gradients.
pub struct Low {
    /// The rows with their dropout, `[rows, hidden]`.
    x: Tensor,
    /// `scaling · x·Aᵀ`, `[rows, r]`
    low: Tensor,
}

/// The gradients of a pair from some rows.
pub struct PairGradients {
    /// `[r, in]`
    pub a: Tensor,
    /// `[out, r]`
    pub b: Tensor,
}

impl EndPair {
    /// What it adds to the module's weight, `[vocabulary, hidden]`, is `scaling · left·right`: `left` `[vocabulary, r]`
    /// and `right` `[r, hidden]`.
    ///
    /// # Errors
    /// If candle cannot transpose.
    pub fn factors(&self) -> Result<(Tensor, Tensor)> {
        Ok(match self.end {
            End::Embedding => (self.a.t()?.contiguous()?, self.b.t()?.contiguous()?),
            End::Head => (self.b.clone(), self.a.clone()),
        })
    }

    /// The head's pair: `logits + scaling · x·Aᵀ·Bᵀ`, in the logits' memory, for rows `x` `[rows, hidden]` after their
    /// dropout.
    ///
    /// # Errors
    /// If an operator fails.
    pub fn add_logits(&self, compute: Compute, logits: Tensor, x: Tensor) -> Result<(Tensor, Low)> {
        let low = (product(compute, &x, &self.a, false)? * self.scaling)?;
        Ok((add_product(compute, logits, &low, &self.b)?, Low { x, low }))
    }

    /// [`EndPair::add_logits`] of a few rows that are not learned from.
    ///
    /// # Errors
    /// If an operator fails.
    pub fn add_logits_of_few(&self, compute: Compute, logits: &Tensor, x: &Tensor) -> Result<Tensor> {
        let low = (product_few(compute, x, &self.a)? * self.scaling)?;
        Ok((logits + product_few(compute, &low, &self.b)?)?)
    }

    /// From the gradient of the logits, `[rows, vocabulary]`, the pair's own gradients and what it adds to the gradient
    /// of its rows, `[rows, hidden]`.
    ///
    /// # Errors
    /// If an operator fails.
    pub fn logits_backward(&self, compute: Compute, dlogits: &Tensor, low: &Low) -> Result<(PairGradients, Tensor)> {
        let dlow = (product(compute, dlogits, &self.b, true)? * self.scaling)?;
        let gradients = PairGradients {
            a: weight_gradient(compute, &dlow, &low.x)?,
            b: weight_gradient(compute, dlogits, &low.low)?,
        };
        Ok((gradients, product(compute, &dlow, &self.a, true)?))
    }

    /// `scaling · A[:, id]` of each token, `[tokens, r]`.
    fn columns(&self, ids: &Tensor) -> Result<Tensor> {
        Ok((self.a.index_select(ids, 1)?.t()?.contiguous()? * self.scaling)?)
    }

    /// The embedding's pair: what it adds to the embeddings of these tokens, `[tokens, hidden]`.
    ///
    /// # Errors
    /// If an operator fails.
    pub fn embed(&self, compute: Compute, ids: &[u32]) -> Result<Tensor> {
        let ids = Tensor::new(ids, self.a.device())?;
        Ok(product(compute, &self.columns(&ids)?, &self.b, false)?)
    }

    /// The embedding's pair: its gradients from those of one sequence's embeddings, `[tokens, hidden]`. What `A` has of
    /// the token `padding` gets none.
    ///
    /// # Errors
    /// If an operator fails.
    pub fn embed_backward(
        &self,
        compute: Compute,
        ids: &[u32],
        dx: &Tensor,
        padding: Option<u32>,
    ) -> Result<PairGradients> {
        if ids.is_empty() {
            return Ok(PairGradients { a: self.a.zeros_like()?, b: self.b.zeros_like()? });
        }
        let b = weight_gradient(compute, dx, &self.columns(&Tensor::new(ids, self.a.device())?)?)?;
        let rows = (product(compute, dx, &self.b, true)? * self.scaling)?;
        let (rank, vocabulary) = self.a.dims2()?;
        let nothing = Tensor::zeros((vocabulary, rank), rows.dtype(), rows.device())?;
        let by_token = add_by_token(&nothing, ids, &rows, padding)?;
        Ok(PairGradients { a: by_token.t()?.contiguous()?, b })
    }
}

/// `table` with each token's row added to its own, and to none the rows of the token `padding`. Rows of tokens that are
/// there more than once add up in their order.
///
/// # Errors
/// If candle refuses the shapes.
pub fn add_by_token(table: &Tensor, ids: &[u32], rows: &Tensor, padding: Option<u32>) -> Result<Tensor> {
    let on = |ids: &[u32]| Tensor::new(ids, rows.device());
    let Some(padding) = padding.filter(|id| ids.contains(id)) else {
        return Ok(table.index_add(&on(ids)?, rows, 0)?);
    };
    let kept: Vec<u32> = (0..ids.len() as u32).filter(|&i| ids[i as usize] != padding).collect();
    let ids: Vec<u32> = kept.iter().map(|&i| ids[i as usize]).collect();
    if ids.is_empty() {
        return Ok(table.clone());
    }
    Ok(table.index_add(&on(&ids)?, &rows.index_select(&on(&kept)?, 0)?, 0)?)
}

#[cfg(test)]
mod tests;
