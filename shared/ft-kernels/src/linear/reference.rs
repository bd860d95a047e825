//! The same in plain candle operations, for every device.

use candle_core::{DType, Result, Tensor};

use super::{Gradients, Linear, Lora, LoraGradient};
use crate::backend::Compute;
use crate::dropout::dropped;
use crate::runs::runs;

/// See [`super::Linear::forward`]; differentiable by candle.
///
/// # Errors
/// If candle refuses the shapes or types.
pub fn forward(
    compute: Compute,
    layer: &Linear<'_>,
    x: &Tensor,
    starts: &[usize],
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let mut y = product(compute, x, layer.weight, false)?;
    if let Some(bias) = layer.bias {
        y = y.broadcast_add(bias)?;
    }
    if let Some(residual) = residual {
        y = (y + residual)?;
    }
    let width = y.dim(1)?;
    for lora in &layer.lora {
        let x = masked(compute, lora, x, starts)?;
        let mut part = low(lora, &x)?.matmul(&lora.b.t()?)?;
        if let Some((weight, _, factor)) = scales(lora, layer.weight)? {
            let base = product(compute, &x, &weight, false)?.broadcast_mul(&(&factor - 1.0)?)?;
            part = (base + part.broadcast_mul(&factor)?)?;
        }
        let right = width - lora.column - part.dim(1)?;
        y = (y + part.pad_with_zeros(1, lora.column, right)?)?;
    }
    Ok(y)
}

/// See [`super::Linear::backward`].
///
/// # Errors
/// If candle refuses the shapes or types.
pub fn backward(
    compute: Compute,
    layer: &Linear<'_>,
    dy: &Tensor,
    x: &Tensor,
    starts: &[usize],
    want_x: bool,
) -> Result<Gradients> {
    let mut dx = want_x.then(|| product(compute, dy, layer.weight, true)).transpose()?;
    let mut gradients = Vec::new();
    for (adapter, lora) in layer.lora.iter().enumerate() {
        let dy = dy.narrow(1, lora.column, lora.b.dim(0)?)?.contiguous()?;
        let scales = scales(lora, layer.weight)?;
        let through = match &scales {
            Some((_, _, factor)) => dy.broadcast_mul(factor)?,
            None => dy.clone(),
        };
        let dlow = (through.matmul(lora.b)? * f64::from(lora.scaling))?;
        if let Some(so_far) = &dx {
            let mut part = dlow.matmul(lora.a)?;
            if let Some((weight, _, factor)) = &scales {
                part = (part + product(compute, &dy.broadcast_mul(&(factor - 1.0)?)?, weight, true)?)?;
            }
            dx = Some((so_far + masked(compute, lora, &part, starts)?)?);
        }
        let x = masked(compute, lora, x, starts)?;
        let low = low(lora, &x)?;
        let along = match &scales {
            Some((weight, norm, _)) => {
                let row = (product(compute, &x, weight, false)? + low.matmul(&lora.b.t()?)?)?.broadcast_div(norm)?;
                Some((&dy * row)?)
            }
            None => None,
        };
        let a = row_products(&dlow, &x, starts)?;
        let b = row_products(&through, &low, starts)?;
        for (sequence, ((a, b), span)) in a.into_iter().zip(b).zip(starts.windows(2)).enumerate() {
            let rows = |t: &Tensor| t.narrow(0, span[0], span[1] - span[0])?.contiguous();
            let magnitude = along.as_ref().map(|along| rows(along)?.sum(0)).transpose()?;
            gradients.push(LoraGradient { adapter, sequence, a, b, magnitude });
        }
    }
    Ok(Gradients { x: dx, lora: gradients })
}

/// See [`super::product`].
///
/// # Errors
/// If candle refuses the shapes or types.
pub fn product(compute: Compute, x: &Tensor, weight: &Tensor, transposed: bool) -> Result<Tensor> {
    product_in(compute.product_type(x.dtype()), x, weight, transposed)
}

/// [`product`] with both sides brought to a type, and the result back to that of `x`.
fn product_in(dtype: DType, x: &Tensor, weight: &Tensor, transposed: bool) -> Result<Tensor> {
    let (left, weight) = (x.to_dtype(dtype)?, weight.to_dtype(dtype)?);
    let y = if transposed { left.matmul(&weight)? } else { left.matmul(&weight.t()?)? };
    y.to_dtype(x.dtype())
}

/// See [`super::weight_gradient`].
///
/// # Errors
/// If candle refuses the shapes or types.
pub fn weight_gradient(dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    dy.t()?.matmul(x)
}

/// See [`super::dora_norm`].
///
/// # Errors
/// If candle refuses the shapes or types.
pub fn dora_norm(weight: &Tensor, a: &Tensor, b: &Tensor, scaling: f32) -> Result<Tensor> {
    let delta = (b.matmul(a)? * f64::from(scaling))?;
    (weight.to_dtype(delta.dtype())? + delta)?.sqr()?.sum(1)?.sqrt()
}

/// The adapter's rows of the matrix, the norms of its adapted rows (1 for 0) and the factors of its columns,
/// of which only the magnitude in the factors is learned.
fn scales(lora: &Lora<'_>, weight: &Tensor) -> Result<Option<(Tensor, Tensor, Tensor)>> {
    let Some(magnitude) = lora.magnitude else { return Ok(None) };
    let weight = weight.narrow(0, lora.column, lora.b.dim(0)?)?;
    let norm = dora_norm(&weight, lora.a, lora.b, lora.scaling)?.detach();
    let norm = (&norm + norm.eq(0f64)?.to_dtype(norm.dtype())?)?;
    let factor = (magnitude / &norm)?;
    Ok(Some((weight, norm, factor)))
}

/// `s·x·Aᵀ`
fn low(lora: &Lora<'_>, x: &Tensor) -> Result<Tensor> {
    x.matmul(&lora.a.t()?)? * f64::from(lora.scaling)
}

/// For each sequence `dyᵀ·x` of its rows, `[columns of dy, columns of x]`: one product for those of one length.
fn row_products(dy: &Tensor, x: &Tensor, starts: &[usize]) -> Result<Vec<Tensor>> {
    let (out, inner) = (dy.dim(1)?, x.dim(1)?);
    let mut products = Vec::with_capacity(starts.len());
    for run in runs(starts, usize::MAX) {
        let of = |t: &Tensor, columns: usize| run.rows(t)?.contiguous()?.reshape((run.count, run.len, columns));
        let all = of(dy, out)?.t()?.matmul(&of(x, inner)?)?;
        for i in 0..run.count {
            products.push(all.get(i)?);
        }
    }
    let mut products = products.into_iter();
    let zeros = || Tensor::zeros((out, inner), x.dtype(), x.device());
    let of_sequence = |span: &[usize]| {
        let product = if span[0] < span[1] { products.next() } else { None };
        product.map_or_else(zeros, Ok)
    };
    starts.windows(2).map(of_sequence).collect()
}

/// `x` times the factors of the adapter's dropout, where it has one.
fn masked(compute: Compute, lora: &Lora<'_>, x: &Tensor, starts: &[usize]) -> Result<Tensor> {
    lora.dropout.as_ref().map_or_else(|| Ok(x.clone()), |dropout| dropped(compute, x, dropout, starts))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Numbers of no pattern, `[rows, columns]`.
    fn some(rows: usize, columns: usize, step: f64) -> Result<Tensor> {
        (Tensor::arange(0f32, (rows * columns) as f32, &Device::Cpu)?.reshape((rows, columns))? * step)?.sin()
    }

    fn largest(of: &Tensor) -> Result<f32> {
        of.abs()?.max_all()?.to_scalar()
    }

    /// What a GPU does, on the CPU: the result is f32, and as far from f32's as the type's digits let it be.
    #[test]
    fn a_narrow_product_is_near_the_wide_one() -> Result<()> {
        let (x, weight) = (some(5, 64, 0.7)?, some(7, 64, 1.3)?);
        let dy = some(5, 7, 0.9)?;
        for (dtype, digits) in [(DType::BF16, 8), (DType::F16, 11)] {
            for (left, transposed) in [(&x, false), (&dy, true)] {
                let wide = product(Compute::reference(), left, &weight, transposed)?;
                let narrow = product_in(dtype, left, &weight, transposed)?;
                assert_eq!((narrow.dtype(), narrow.dims()), (DType::F32, wide.dims()));
                let error = largest(&(&narrow - &wide)?)?;
                let bound = largest(&wide)? * 0.5f32.powi(digits - 2);
                assert!(error > 0.0 && error < bound, "{dtype:?} {transposed}: {error} of {bound}");
            }
        }
        Ok(())
    }
}
