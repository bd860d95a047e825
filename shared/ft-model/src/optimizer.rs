//! AdamW over an adapter's tensors, with moments that can be saved.

use ft_kernels::optim::{AdamW, adamw_step, scale_in_place, sum_of_squares};
use ft_kernels::tensor::{with_slice, with_slice_mut};

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::lora::Adapter;

/// What does not change from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    /// torch's defaults, but for the decay, which is the caller's.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

/// The two moments of one trained tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// The tensor's name, as the adapter's file has it.
    pub name: String,
    pub shape: Vec<usize>,
    pub first: Vec<f32>,
    pub second: Vec<f32>,
}

/// AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2), in f32.
#[derive(Debug, Clone)]
pub struct Optimizer {
    pub config: AdamWConfig,
    /// Steps taken.
    pub step: u64,
    /// In the order of [`Adapter::trainable`].
    pub moments: Vec<Moments>,
}

impl Optimizer {
    /// No step taken, moments of zero.
    pub fn new(adapter: &Adapter, config: AdamWConfig) -> Self {
        let moments = adapter.trainable().map(|trained| {
            let zeros = vec![0.0; trained.tensor.elem_count()];
            let (name, shape) = (trained.name(), trained.tensor.dims().to_vec());
            Moments { name, shape, first: zeros.clone(), second: zeros }
        });
        Self { config, step: 0, moments: moments.collect() }
    }

    /// Clips the gradients to `max_grad_norm` (0 is no clipping), takes one step and returns the norm of
    /// the gradients before clipping. The adapter's tensors change in place.
    ///
    /// # Errors
    /// If a gradient is not finite; nothing has changed then.
    pub fn update(&mut self, adapter: &mut Adapter, gradients: &[Tensor], lr: f64, max_grad_norm: f64) -> Result<f64> {
        let norm = gradient_norm(gradients)?;
        if !norm.is_finite() {
            return Err(Error::NotFinite { what: "the gradient's norm", value: norm });
        }
        // As torch's clip_grad_norm_: never longer than asked, with 1e-6 against a division by zero.
        let factor = max_grad_norm / (norm + 1e-6);
        let clip = (max_grad_norm > 0.0 && factor < 1.0).then_some(factor as f32);
        self.step += 1;
        let AdamWConfig { beta1, beta2, eps, weight_decay } = self.config;
        let adamw = AdamW { lr, beta1, beta2, eps, weight_decay, step: self.step };
        for ((trained, gradient), moments) in adapter.trainable().zip(gradients).zip(&mut self.moments) {
            update_tensor(trained.tensor, gradient, moments, adamw, clip)?;
        }
        Ok(norm)
    }
}

fn update_tensor(
    tensor: &Tensor,
    gradient: &Tensor,
    moments: &mut Moments,
    adamw: AdamW,
    clip: Option<f32>,
) -> Result<()> {
    with_slice_mut(gradient, |gradient| {
        if let Some(factor) = clip {
            scale_in_place(gradient, factor);
        }
        with_slice_mut(tensor, |tensor| {
            adamw_step(tensor, gradient, &mut moments.first, &mut moments.second, adamw);
        })
    })??;
    Ok(())
}

/// The norm of all the gradients together, summed in f64 in the order of the tensors.
fn gradient_norm(gradients: &[Tensor]) -> Result<f64> {
    let mut total = 0.0;
    for gradient in gradients {
        total += with_slice(gradient, sum_of_squares)?;
    }
    Ok(total.sqrt())
}
