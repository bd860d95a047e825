//! From a checkpoint's tensors to the matrices of a block, without a copy between.

use candle_core::DType;

use super::matrices::joined;
use super::table;
use super::weights::{Ends, Layer, LayerWeights, LinearWeights, NormWeights, Vocabulary};
use crate::arch::{Activation, Expected, Xielu};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::projection::Site;
use ft_kernels::linear::Weight;
use ft_kernels::math::{exp, log};

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
    let of_heads = |(parts, _): &(Vec<String>, usize)| -> Result<NormWeights> {
        let parts: Vec<String> = parts.iter().map(|part| full(part)).collect();
        norm_of(checkpoint, &parts, arch.qk_norm_has_bias())
    };
    let qk_norm = match &arch.qk_norms()[..] {
        [q, k] => Some([of_heads(q)?, of_heads(k)?]),
        _ => None,
    };
    Ok(Layer {
        input_norm: norm(names.input_norm)?,
        attention_norm: norm(names.attention_norm)?,
        mlp_norm: norm(names.mlp_norm)?,
        output_norm: norm(names.output_norm)?,
        qk_norm,
        activation: activation(checkpoint, i)?,
        qkv: product(Site::Qkv)?,
        o: product(Site::O)?,
        gate_up: product(Site::GateUp)?,
        down: product(Site::Down)?,
    })
}

/// Reads the norm of the residual stream that is called `name`.
fn norm(checkpoint: &Checkpoint, name: &str) -> Result<NormWeights> {
    norm_of(checkpoint, &[name.to_owned()], checkpoint.architecture().norm.has_bias())
}

/// Reads a norm whose parts are called `names`. Gemma's files hold what is added to 1.
fn norm_of(checkpoint: &Checkpoint, names: &[String], has_bias: bool) -> Result<NormWeights> {
    let read = |kind: &str| {
        let names: Vec<String> = names.iter().map(|name| format!("{name}.{kind}")).collect();
        joined(checkpoint, &names, DType::F32)
    };
    let weight = read("weight")?;
    let weight = if checkpoint.architecture().norm_plus_one { (weight + 1.0)? } else { weight };
    Ok(NormWeights { weight, bias: has_bias.then(|| read("bias")).transpose()? })
}

/// Reads the numbers of a layer's activation, where it has some. Two of xIELU's stand in the file as what softplus makes
/// them of, so that they stay above 0 and `beta`.
fn activation(checkpoint: &Checkpoint, layer: usize) -> Result<Option<Activation>> {
    let arch = checkpoint.architecture();
    let mut numbers = Vec::new();
    for Expected { name, .. } in arch.activation_numbers() {
        let name = arch.names().in_layer(layer, &name);
        numbers.push(joined(checkpoint, &[name], DType::F32)?.flatten_all()?.to_vec1::<f32>()?[0]);
    }
    let [positive, negative, beta, eps] = numbers[..] else { return Ok(None) };
    let softplus = |x: f32| if x > 20.0 { x } else { log(1.0 + exp(f64::from(x))) as f32 };
    let (positive, negative) = (softplus(positive), beta + softplus(negative));
    Ok(Some(Activation::Xielu(Xielu { positive, negative, beta, eps })))
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
