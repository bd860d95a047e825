//! PiSSA (Meng et al., "PiSSA: Principal Singular Values and Singular Vectors Adaptation of Large Language Models",
//! 2024): `A` and `B` begin as the principal part of the weight, and what is left of the weight is frozen.
//!
//! With `W ≈ U·S·Vᵀ` cut to the rank, `A = √(S/scaling)·Vᵀ` and `B = U·√(S/scaling)`, so that `scaling · B·A` is the
//! weight's best approximation of that rank. The frozen rest is `W - scaling · B·A`; a layer may as well keep `W` and
//! subtract the initial pair.
//!
//! All sums are in f64 and in one order: the result depends on nothing but the weight, the rank and the seed.

mod eigen;

use candle_core::Tensor;
use ft_kernels::philox::Stream;
use ft_kernels::tensor::{from_vec, with_slice};
use serde_json::{Map, Value};

use super::adapter::{Adapter, LoraPair};
use super::config::LoraConfig;
use super::dense::{gram, norm, orthonormal, times, transposed, transposed_times};
use crate::error::{Error, Result};

/// The rounds of subspace iteration behind `init_lora_weights`: `pissa` takes the exact decomposition,
/// `pissa_niter_N` the fast one in `N` rounds. `None` for every other name.
pub fn parse(init: &str) -> Option<Option<usize>> {
    match init.strip_prefix("pissa")? {
        "" => Some(None),
        rest => rest.strip_prefix("_niter_")?.parse().ok().map(Some),
    }
}

/// The initial `A` `[rank, in]` and `B` `[out, rank]` for a weight `[out, in]` in f32.
///
/// `niter` is as [`parse`] gives it. The fast decomposition (Halko et al., "Finding structure with randomness", 2009,
/// algorithms 4.4 and 5.1) begins with random directions from `stream`, as many as the rank, as peft does.
///
/// # Errors
/// [`Error::Adapter`] if the rank is larger than the weight's sides or the scaling is not above 0.
pub fn pissa(
    weight: &Tensor,
    rank: usize,
    scaling: f64,
    niter: Option<usize>,
    stream: Stream,
) -> Result<(Tensor, Tensor)> {
    let (out, inner) = weight.dims2()?;
    if rank > out.min(inner) {
        let told =
            format!("asks for PiSSA of rank {rank} of a weight of shape [{out}, {inner}], expected a smaller rank");
        return Err(Error::Adapter(told));
    }
    if scaling <= 0.0 {
        return Err(Error::Adapter(format!("asks for PiSSA with a scaling of {scaling}, expected one above 0")));
    }
    let values: Vec<f64> = with_slice(weight, |values| values.iter().map(|&x| f64::from(x)).collect())?;
    // The side with fewer rows is decomposed: its vectors are the short ones.
    let wide = out <= inner;
    let (values, rows, columns) =
        if wide { (values, out, inner) } else { (transposed(&values, out, inner), inner, out) };
    let (short, long) = match niter {
        None => exact(&values, rows, columns, rank),
        Some(rounds) => fast(&values, rows, columns, rank, rounds, stream),
    };
    let (left, right) = if wide { (short, long) } else { (long, short) };
    let root = scaling.sqrt();
    let a: Vec<f32> = right.iter().map(|x| (x / root) as f32).collect();
    let b: Vec<f32> = transposed(&left, rank, out).iter().map(|x| (x / root) as f32).collect();
    Ok((from_vec(a, (rank, inner))?, from_vec(b, (out, rank))?))
}

/// The best pair of rank `rank` for the product of `b` `[out, r]` and `a` `[r, in]`: `A` `[rank, in]`, `B` `[out, rank]`.
/// What the rank has room for beyond `r` is zeros.
///
/// # Errors
/// If candle refuses the shapes.
pub(super) fn product(a: &Tensor, b: &Tensor, rank: usize) -> Result<(Tensor, Tensor)> {
    let ((count, inner), out) = (a.dims2()?, b.dim(0)?);
    let wide = |tensor: &Tensor| -> Result<Vec<f64>> {
        Ok(with_slice(tensor, |values| values.iter().map(|&x| f64::from(x)).collect())?)
    };
    let (rows, left) = (wide(a)?, wide(b)?);
    // B·A = (B·C)·Q with orthonormal rows Q, so that the small B·C has the product's singular values.
    let mut basis = rows.clone();
    orthonormal(&mut basis, inner);
    let mixture = transposed_times(&rows, &basis, count, count, inner);
    let small = transposed(&times(&left, &mixture, out, count, count), out, count);
    let kept = rank.min(count).min(out);
    let (short, long) = exact(&small, count, out, kept);
    let right = times(&short, &basis, kept, count, inner);
    let filled = |mut rows: Vec<f64>, len: usize| {
        rows.resize(len, 0.0);
        rows
    };
    let narrow = |values: Vec<f64>| values.into_iter().map(|x| x as f32).collect::<Vec<_>>();
    let (a, b) = (filled(right, rank * inner), transposed(&filled(long, rank * out), rank, out));
    Ok((from_vec(narrow(a), (rank, inner))?, from_vec(narrow(b), (out, rank))?))
}

/// A plain adapter of twice the rank that does to the whole base what the trained pairs do to the rest that
/// [`pissa`] leaves: `[A; A₀]` and `[B, -B₀]` with the same scaling, as peft converts with
/// `path_initial_model_for_weight_conversion`. Any reader of LoRA adds it to the untouched weight; an adapter saved
/// with `init_lora_weights: pissa` is right only where the reader makes the very same decomposition again.
///
/// `initial` is the adapter as it was before the first step.
///
/// # Errors
/// [`Error::Adapter`] if the two have other modules, or magnitudes, whose meaning would change.
pub fn plain(trained: &Adapter, initial: &Adapter) -> Result<Adapter> {
    let same = trained.modules.len() == initial.modules.len()
        && trained.modules.iter().zip(&initial.modules).all(|(x, y)| x.module == y.module);
    if !same {
        return Err(Error::Adapter("has other modules than its initial state".into()));
    }
    if trained.modules.iter().any(|pair| pair.magnitude.is_some()) {
        return Err(Error::Adapter("has DoRA's magnitudes, with which PiSSA cannot be made a plain adapter".into()));
    }
    doubled(trained, initial)
}

/// [`plain`] of two adapters of the same modules. A magnitude is that of the sum, and stays.
pub(super) fn doubled(trained: &Adapter, initial: &Adapter) -> Result<Adapter> {
    let doubled = |(pair, first): (&LoraPair, &LoraPair)| {
        let a = Tensor::cat(&[&pair.a, &first.a], 0)?;
        let b = Tensor::cat(&[&pair.b, &first.b.neg()?], 1)?.contiguous()?;
        Ok(LoraPair { a, b, ..pair.clone() })
    };
    let modules = trained.modules.iter().zip(&initial.modules).map(doubled).collect::<Result<_>>()?;
    Ok(Adapter::new(plain_config(&trained.config), modules, trained.ends.clone(), trained.saved.clone()))
}

/// Ranks doubled, alphas raised so that the scaling stays, and an init that leaves the base alone.
fn plain_config(config: &LoraConfig) -> LoraConfig {
    let factor = if config.use_rslora { std::f64::consts::SQRT_2 } else { 2.0 };
    let times = |patterns: &Map<String, Value>, double: &dyn Fn(&Value) -> Value| {
        patterns.iter().map(|(pattern, value)| (pattern.clone(), double(value))).collect()
    };
    let alpha = |value: &Value| value.as_f64().map_or(value.clone(), |alpha| Value::from(alpha * factor));
    let rank = |value: &Value| value.as_u64().map_or(value.clone(), |rank| Value::from(rank * 2));
    LoraConfig {
        r: 2 * config.r,
        lora_alpha: factor * config.lora_alpha,
        init_lora_weights: Value::Bool(true),
        rank_pattern: times(&config.rank_pattern, &rank),
        alpha_pattern: times(&config.alpha_pattern, &alpha),
        ..config.clone()
    }
}

/// The principal left and right singular vectors of a matrix `[rows, columns]`, `rank` rows each, all times the root
/// of their singular values.
fn exact(matrix: &[f64], rows: usize, columns: usize, rank: usize) -> (Vec<f64>, Vec<f64>) {
    let left = eigen::largest(gram(matrix, rows, columns), rows, rank);
    let right = times(&left, matrix, rank, rows, columns);
    weighed(left, right, rank)
}

/// [`exact`] within the space that `rounds` of subspace iteration find.
fn fast(
    matrix: &[f64],
    rows: usize,
    columns: usize,
    rank: usize,
    rounds: usize,
    stream: Stream,
) -> (Vec<f64>, Vec<f64>) {
    // As torch's svd_lowrank, which takes the long side first: its basis spans the long vectors.
    let start: Vec<f64> = (0..(rank * rows) as u64).map(|i| f64::from(stream.normal_f32(i))).collect();
    let mut basis = times(&start, matrix, rank, rows, columns);
    orthonormal(&mut basis, columns);
    for _ in 0..rounds {
        let mut short = transposed_times(&basis, matrix, rank, rows, columns);
        orthonormal(&mut short, rows);
        basis = times(&short, matrix, rank, rows, columns);
        orthonormal(&mut basis, columns);
    }
    let within = transposed_times(&basis, matrix, rank, rows, columns);
    let mixture = eigen::largest(gram(&within, rank, rows), rank, rank);
    let left = times(&mixture, &within, rank, rank, rows);
    let right = times(&mixture, &basis, rank, rank, columns);
    let (right, left) = weighed(right, left, rank);
    (left, right)
}

/// Unit vectors, and the others' images of them under the matrix, whose lengths are the singular values: both come
/// to the root of these.
fn weighed(mut units: Vec<f64>, mut images: Vec<f64>, rank: usize) -> (Vec<f64>, Vec<f64>) {
    let (unit, image) = (units.len() / rank, images.len() / rank);
    for (unit, image) in units.chunks_mut(unit).zip(images.chunks_mut(image)) {
        let root = norm(image).sqrt();
        unit.iter_mut().for_each(|x| *x *= root);
        // Of no length is what the matrix loses: it stays zero.
        image.iter_mut().for_each(|x| *x /= if root > 0.0 { root } else { 1.0 });
    }
    (units, images)
}

#[cfg(test)]
mod tests;
