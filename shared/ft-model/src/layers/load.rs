//! From a checkpoint's tensors to the matrices of a block, without a copy between.

use candle_core::DType;

use super::matrices::joined;
use super::table;
use super::weights::{Ends, Layer, LayerWeights, LinearWeights, NormWeights, Vocabulary};
use crate::arch::{NormKind, QkNorm};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::projection::Site;
use ft_kernels::linear::Weight;

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
    let product = |site: Site| -> Result<LinearWeights<M>> {
        let parts: Vec<String> = site.stored(arch, i).iter().map(|(path, _)| full(path)).collect();
        let named = |kind: &str| parts.iter().map(|part| format!("{part}.{kind}")).collect::<Vec<_>>();
        let bias = arch.has_bias(site).then(|| joined(checkpoint, &named("bias"), DType::F32)).transpose()?;
        Ok(LinearWeights { weight: matrix(&named("weight"))?, bias })
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
