//! The same in plain candle operations, for every device. Where a GPU's kernels compute, the products are [`super::cuda`]'s;
//! the adapters are brought to the activations' type there, and their gradients are f32.

use candle_core::{DType, Result, Tensor};

use super::{Gradients, Linear, Lora, LoraGradient, Weight, cuda};
use crate::backend::{Backend, Compute};
use crate::dropout::dropped;
use crate::runs::runs;

/// The adapters as one pair: `A` `[Σr, in]`, and `B` `[out, Σr]` with each adapter's on the diagonal and zeros beside
/// them, its rows times the magnitudes' factors.
struct Stack {
    a: Tensor,
    b: Tensor,
    /// `[Σr]`, of each rank its adapter's factor.
    scaling: Tensor,
    /// Of each adapter its rows of `A`: the first and their number.
    ranks: Vec<(usize, usize)>,
}

impl Stack {
    /// None without adapters; its matrices are of type `dtype`.
    fn of(layer: &Linear<'_>, scales: &[Option<Scales>], dtype: DType) -> Result<Option<Self>> {
        let Some(first) = layer.lora.first() else { return Ok(None) };
        let (width, device) = (layer.width()?, first.a.device());
        let mut stack = Self { a: first.a.clone(), b: first.b.clone(), scaling: first.a.clone(), ranks: Vec::new() };
        let (mut a, mut b, mut scaling) = (Vec::new(), Vec::new(), Vec::new());
        for (lora, scales) in layer.lora.iter().zip(scales) {
            let (out, r) = lora.b.dims2()?;
            let own = match scales {
                Some(Scales { factor, .. }) => lora.b.broadcast_mul(&factor.unsqueeze(1)?)?,
                None => lora.b.clone(),
            };
            a.push(lora.a.clone());
            b.push(own.pad_with_zeros(0, lora.column, width - lora.column - out)?);
            stack.ranks.push((scaling.len(), r));
            scaling.extend(std::iter::repeat_n(lora.scaling, r));
        }
        stack.a = Tensor::cat(&a, 0)?.to_dtype(dtype)?;
        stack.b = Tensor::cat(&b, 1)?.to_dtype(dtype)?;
        let all = scaling.len();
        stack.scaling = Tensor::from_vec(scaling, all, device)?.to_dtype(dtype)?;
        Ok(Some(stack))
    }

    /// `s·x·Aᵀ`, `[tokens, Σr]`, of what each adapter sees of `x`, or, where all see the same, of that one.
    fn low(&self, compute: Compute, seen: &[Tensor], one_input: bool) -> Result<Tensor> {
        let low = if one_input {
            times(compute, &seen[0], &self.a.t()?)?
        } else {
            let own =
                |(x, &(first, r)): (&Tensor, &(usize, usize))| times(compute, x, &self.a.narrow(0, first, r)?.t()?);
            Tensor::cat(&seen.iter().zip(&self.ranks).map(own).collect::<Result<Vec<_>>>()?, 1)?
        };
        low.broadcast_mul(&self.scaling)
    }
}

/// What an adapter's columns are scaled by: of its learned numbers only the magnitude in the factors is one here.
struct Scales {
    /// The adapter's rows of the matrix.
    weight: Tensor,
    /// The norms of its adapted rows; 1 for 0.
    norm: Tensor,
    factor: Tensor,
}

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
    let weight = &layer.weight.numbers(compute, x.device(), compute.product_type(x.dtype()))?;
    let mut y = product(compute, x, weight, false)?;
    if let Some(bias) = layer.bias {
        y = y.broadcast_add(&bias.to_dtype(y.dtype())?)?;
    }
    if let Some(residual) = residual {
        y = (y + residual)?;
    }
    let scales = scales_of(compute, layer, weight)?;
    let Some(stack) = Stack::of(layer, &scales, x.dtype())? else { return Ok(y) };
    let width = y.dim(1)?;
    let seen = seen(compute, layer, x, starts)?;
    for ((lora, scales), x) in layer.lora.iter().zip(&scales).zip(&seen) {
        if let Some(Scales { weight, factor, .. }) = scales {
            let base = product(compute, x, weight, false)?.broadcast_mul(&(factor - 1.0)?.to_dtype(x.dtype())?)?;
            let right = width - lora.column - base.dim(1)?;
            y = (y + base.pad_with_zeros(1, lora.column, right)?)?;
        }
    }
    y + times(compute, &stack.low(compute, &seen, has_one_input(layer))?, &stack.b.t()?)?
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
    let weight = &layer.weight.numbers(compute, x.device(), compute.product_type(x.dtype()))?;
    let dx = want_x.then(|| product(compute, dy, weight, true)).transpose()?;
    let scales = scales_of(compute, layer, weight)?;
    let Some(stack) = Stack::of(layer, &scales, x.dtype())? else { return Ok(Gradients { x: dx, lora: Vec::new() }) };
    let dlow = times(compute, dy, &stack.b)?.broadcast_mul(&stack.scaling)?;
    let dx = dx.map(|dx| add_to_input(compute, layer, &stack, &scales, dx, dy, &dlow, starts)).transpose()?;
    let seen = seen(compute, layer, x, starts)?;
    let one_input = has_one_input(layer);
    let low = stack.low(compute, &seen, one_input)?;
    let of_all = one_input.then(|| row_products(compute, &dlow, x, starts)).transpose()?;
    let mut gradients = Vec::new();
    for (adapter, lora) in layer.lora.iter().enumerate() {
        let (first, r) = stack.ranks[adapter];
        let own = |t: &Tensor| t.narrow(1, first, r)?.contiguous();
        let dy = dy.narrow(1, lora.column, lora.b.dim(0)?)?.contiguous()?;
        let (through, along) = match &scales[adapter] {
            Some(Scales { weight, norm, factor }) => {
                let y = (product(compute, &seen[adapter], weight, false)?
                    + times(compute, &own(&low)?, &lora.b.to_dtype(dy.dtype())?.t()?)?)?;
                let along = (widest(&dy)? * widest(&y)?.broadcast_div(norm)?)?;
                (dy.broadcast_mul(&factor.to_dtype(dy.dtype())?)?, Some(along))
            }
            None => (dy, None),
        };
        let a = match &of_all {
            Some(all) => all.iter().map(|all| all.narrow(0, first, r)).collect::<Result<Vec<_>>>()?,
            None => row_products(compute, &own(&dlow)?, &seen[adapter], starts)?,
        };
        let b = row_products(compute, &through, &own(&low)?, starts)?;
        for (sequence, ((a, b), span)) in a.into_iter().zip(b).zip(starts.windows(2)).enumerate() {
            let rows = |t: &Tensor| t.narrow(0, span[0], span[1] - span[0])?.contiguous();
            let magnitude = along.as_ref().map(|along| rows(along)?.sum(0)).transpose()?;
            gradients.push(LoraGradient { adapter, sequence, a, b, magnitude });
        }
    }
    Ok(Gradients { x: dx, lora: gradients })
}

/// `dx` and what goes back through the adapters.
fn add_to_input(
    compute: Compute,
    layer: &Linear<'_>,
    stack: &Stack,
    scales: &[Option<Scales>],
    dx: Tensor,
    dy: &Tensor,
    dlow: &Tensor,
    starts: &[usize],
) -> Result<Tensor> {
    let one_input = has_one_input(layer);
    let mut dx = if one_input { (dx + times(compute, dlow, &stack.a)?)? } else { dx };
    for ((lora, scales), &(first, r)) in layer.lora.iter().zip(scales).zip(&stack.ranks) {
        let own = || times(compute, &dlow.narrow(1, first, r)?, &stack.a.narrow(0, first, r)?);
        let mut part = (!one_input).then(own).transpose()?;
        if let Some(Scales { weight, factor, .. }) = scales {
            let dy = dy.narrow(1, lora.column, lora.b.dim(0)?)?;
            let base = product(compute, &dy.broadcast_mul(&(factor - 1.0)?.to_dtype(dy.dtype())?)?, weight, true)?;
            part = Some(part.map_or_else(|| Ok(base.clone()), |part| part + &base)?);
        }
        if let Some(part) = part {
            dx = (dx + masked(compute, lora, &part, starts)?)?;
        }
    }
    Ok(dx)
}

/// [`product`] with a matrix that may have to be expanded, as a whole.
///
/// # Errors
/// As [`product`].
pub fn frozen(compute: Compute, x: &Tensor, weight: &Weight, transposed: bool) -> Result<Tensor> {
    product(compute, x, &weight.numbers(compute, x.device(), compute.product_type(x.dtype()))?, transposed)
}

/// See [`super::product`].
///
/// # Errors
/// If candle refuses the shapes or types.
pub fn product(compute: Compute, x: &Tensor, weight: &Tensor, transposed: bool) -> Result<Tensor> {
    product_in(compute, compute.product_type(x.dtype()), x, weight, transposed)
}

/// [`product`] with both sides brought to a type, and the result back to that of `x`.
fn product_in(compute: Compute, dtype: DType, x: &Tensor, weight: &Tensor, transposed: bool) -> Result<Tensor> {
    let (left, weight) = (x.to_dtype(dtype)?, weight.to_dtype(dtype)?);
    times(compute, &left, &if transposed { weight } else { weight.t()? })?.to_dtype(x.dtype())
}

/// `a·b`
fn times(compute: Compute, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if compute.backend == Backend::Cuda { cuda::times(a, b) } else { a.matmul(b) }
}

/// See [`super::weight_gradient`].
///
/// # Errors
/// If candle refuses the shapes or types.
pub fn weight_gradient(compute: Compute, dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    if compute.backend == Backend::Cuda { cuda::weight_gradient(dy, x) } else { dy.t()?.matmul(x) }
}

/// See [`super::dora_norm`].
///
/// # Errors
/// If candle refuses the shapes or types.
pub fn dora_norm(compute: Compute, weight: &Tensor, a: &Tensor, b: &Tensor, scaling: f32) -> Result<Tensor> {
    let delta = (times(compute, b, a)? * f64::from(scaling))?;
    (weight.to_dtype(delta.dtype())? + delta)?.sqr()?.sum(1)?.sqrt()
}

/// The scales of each adapter, where it has a magnitude.
fn scales_of(compute: Compute, layer: &Linear<'_>, weight: &Tensor) -> Result<Vec<Option<Scales>>> {
    let one = |lora: &Lora<'_>| {
        let Some(magnitude) = lora.magnitude else { return Ok(None) };
        let weight = weight.narrow(0, lora.column, lora.b.dim(0)?)?;
        let norm = dora_norm(compute, &weight, lora.a, lora.b, lora.scaling)?.detach();
        let norm = (&norm + norm.eq(0f64)?.to_dtype(norm.dtype())?)?;
        let factor = (magnitude / &norm)?;
        Ok(Some(Scales { weight, norm, factor }))
    };
    layer.lora.iter().map(one).collect()
}

/// What is summed for a gradient: f32 at the least.
fn widest(x: &Tensor) -> Result<Tensor> {
    if x.dtype().size_in_bytes() < 4 { x.to_dtype(DType::F32) } else { Ok(x.clone()) }
}

/// Whether all adapters see the same.
fn has_one_input(layer: &Linear<'_>) -> bool {
    layer.lora.iter().all(|lora| lora.dropout.is_none())
}

/// What each adapter sees of `x`.
fn seen(compute: Compute, layer: &Linear<'_>, x: &Tensor, starts: &[usize]) -> Result<Vec<Tensor>> {
    layer.lora.iter().map(|lora| masked(compute, lora, x, starts)).collect()
}

/// For each sequence `dyᵀ·x` of its rows, `[columns of dy, columns of x]`: one product for those of one length.
fn row_products(compute: Compute, dy: &Tensor, x: &Tensor, starts: &[usize]) -> Result<Vec<Tensor>> {
    if compute.backend == Backend::Cuda {
        return cuda::row_products(dy, x, starts);
    }
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
                let narrow = product_in(Compute::reference(), dtype, left, &weight, transposed)?;
                assert_eq!((narrow.dtype(), narrow.dims()), (DType::F32, wide.dims()));
                let error = largest(&(&narrow - &wide)?)?;
                let bound = largest(&wide)? * 0.5f32.powi(digits - 2);
                assert!(error > 0.0 && error < bound, "{dtype:?} {transposed}: {error} of {bound}");
            }
        }
        Ok(())
    }
}
