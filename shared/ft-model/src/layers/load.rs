//! From a checkpoint's tensors to the matrices of a block, without a copy between.

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};

use super::{Ends, Layer, LayerWeights, NormWeights, Product, Vocabulary, Weight, table};
use crate::arch::{Architecture, NormKind, QkNorm};
use crate::checkpoint::{Checkpoint, Element};
use crate::error::{Error, Result};
use crate::projection::Site;

/// Reads block `i` of `checkpoint` with matrices of type `dtype`.
pub(super) fn layer(checkpoint: &Checkpoint, i: usize, dtype: DType) -> Result<LayerWeights> {
    layer_of(checkpoint, i, &|names| Ok(joined(checkpoint, names, dtype)?.into()))
}

/// Reads block `i` of `checkpoint` with matrices of any kind: `matrix` makes one of the tensors with these names, laid
/// below each other.
pub(super) fn layer_of<M>(
    checkpoint: &Checkpoint,
    i: usize,
    matrix: &dyn Fn(&[String]) -> Result<M>,
) -> Result<Layer<M>> {
    let arch = checkpoint.architecture();
    if i >= arch.num_layers {
        return Err(Error::Layer { index: i, layers: arch.num_layers });
    }
    let names = arch.names();
    let full = |part: &str| names.in_layer(i, part);
    let norm = |part: Option<&str>| part.map(|part| norm(checkpoint, &full(part))).transpose();
    let product = |site: Site| -> Result<Product<M>> {
        let parts: Vec<String> = site.stored(arch, i).iter().map(|(path, _)| full(path)).collect();
        let named = |kind: &str| parts.iter().map(|part| format!("{part}.{kind}")).collect::<Vec<_>>();
        let bias = arch.has_bias(site).then(|| joined(checkpoint, &named("bias"), DType::F32)).transpose()?;
        Ok(Product { weight: matrix(&named("weight"))?, bias })
    };
    let head_norm = |part: &str| self::norm(checkpoint, &full(part));
    let [q_norm, k_norm] = arch.qk_norm_names();
    let qk_norm = match arch.qk_norm {
        QkNorm::None => None,
        QkNorm::Head | QkNorm::Whole => Some([head_norm(q_norm)?, head_norm(k_norm)?]),
    };
    Ok(Layer {
        input_norm: norm(names.input_norm)?,
        attention_norm: norm(names.attention_norm)?,
        mlp_norm: norm(names.mlp_norm)?,
        output_norm: norm(names.output_norm)?,
        qk_norm,
        qkv: product(Site::Qkv)?,
        o: product(Site::O)?,
        gate_up: product(Site::GateUp)?,
        down: product(Site::Down)?,
    })
}

/// Reads the norm that is called `name`. Gemma's files hold what is added to 1.
fn norm(checkpoint: &Checkpoint, name: &str) -> Result<NormWeights> {
    let arch = checkpoint.architecture();
    let read = |kind: &str| joined(checkpoint, &[format!("{name}.{kind}")], DType::F32);
    let weight = read("weight")?;
    let weight = if arch.norm_plus_one { (weight + 1.0)? } else { weight };
    let is_layer_norm = arch.norm == NormKind::Layer;
    Ok(NormWeights { weight, bias: is_layer_norm.then(|| read("bias")).transpose()? })
}

/// Reads embedding and head as matrices of type `dtype`, or, without one, as the file has them.
pub(super) fn vocabulary(checkpoint: &Checkpoint, dtype: Option<DType>) -> Result<Vocabulary> {
    let arch = checkpoint.architecture();
    let read = |name: &str| {
        let name = format!("{name}.weight");
        match dtype {
            Some(dtype) => Ok(Weight::Float(joined(checkpoint, &[name], dtype)?)),
            None => table::read(checkpoint, &name),
        }
    };
    let embedding = read(arch.names().embedding)?;
    let head = if arch.tie_word_embeddings { embedding.clone() } else { read(arch.names().head)? };
    Ok(Vocabulary { embedding, head })
}

/// Reads the final norm, and learned positions and the head's bias where there are some.
pub(super) fn ends(checkpoint: &Checkpoint) -> Result<Ends> {
    let arch = checkpoint.architecture();
    let names = arch.names();
    let read = |name: &str, kind: &str| joined(checkpoint, &[format!("{name}.{kind}")], DType::F32);
    Ok(Ends {
        head_bias: arch.head_bias.then(|| read(names.head, "bias")).transpose()?,
        positions: names.positions.map(|name| read(name, "weight")).transpose()?,
        final_norm: norm(checkpoint, names.final_norm)?,
    })
}

/// The shape of the named tensors below each other, `[out, in]` for matrices.
pub(super) fn joined_shape(checkpoint: &Checkpoint, names: &[String]) -> Result<Vec<usize>> {
    let arch = checkpoint.architecture();
    let mut shape: Vec<usize> = Vec::new();
    for name in names {
        let mut part = checkpoint.shape(name)?.to_vec();
        if is_transposed(arch, name) {
            part.reverse();
        }
        match shape.first_mut() {
            Some(rows) => *rows += part[0],
            None => shape = part,
        }
    }
    Ok(shape)
}

/// Whether this matrix chooses experts.
pub(super) fn is_router(arch: &Architecture, name: &str) -> bool {
    let part = name.strip_prefix(arch.names().layers).and_then(|rest| rest.strip_prefix('.')?.split_once('.'));
    part.and_then(|(_, part)| part.strip_suffix(".weight")).is_some_and(|path| arch.is_router(path))
}

/// Whether the checkpoint stores this matrix `[in, out]`.
pub(super) fn is_transposed(arch: &Architecture, name: &str) -> bool {
    let module = name.strip_suffix(".weight");
    arch.family.is_transposed()
        && module.is_some_and(|m| crate::projection::Projection::parse_in(arch.family, m).is_some())
}

/// The named tensors below each other, as one tensor of type `dtype`.
pub(super) fn joined(checkpoint: &Checkpoint, names: &[String], dtype: DType) -> Result<Tensor> {
    let shape = joined_shape(checkpoint, names)?;
    let len: usize = shape.iter().product();
    Ok(match dtype {
        // Every element is written, or the reading fails and the buffer is dropped.
        DType::F32 => {
            let values = read(checkpoint, names, ft_kernels::tensor::uninit(len))?;
            Tensor::from_vec(values, shape, &Device::Cpu)?
        }
        DType::BF16 => Tensor::from_vec(read(checkpoint, names, vec![bf16::ZERO; len])?, shape, &Device::Cpu)?,
        DType::F16 => Tensor::from_vec(read(checkpoint, names, vec![f16::ZERO; len])?, shape, &Device::Cpu)?,
        other => return Err(Error::FrozenType(other)),
    })
}

/// Fills `out` with the named tensors, one after the other.
fn read<T: Element>(checkpoint: &Checkpoint, names: &[String], mut out: Vec<T>) -> Result<Vec<T>> {
    ft_kernels::memory::prefer_large_pages(&out);
    let mut rest = out.as_mut_slice();
    for name in names {
        let shape = checkpoint.shape(name)?;
        let (part, after) = rest.split_at_mut(shape.iter().product());
        checkpoint.read(name, part)?;
        if is_transposed(checkpoint.architecture(), name) {
            transpose(part, shape[1]);
        }
        rest = after;
    }
    Ok(out)
}

/// Rows become columns; there are `columns` of them before.
pub(super) fn transpose<T: Copy>(matrix: &mut [T], columns: usize) {
    let old = matrix.to_vec();
    let rows = old.len() / columns.max(1);
    for (i, x) in matrix.iter_mut().enumerate() {
        *x = old[i % rows * columns + i / rows];
    }
}
