//! From a checkpoint's tensors to the matrices of a block, without a copy between.

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};

use super::LayerWeights;
use crate::arch::{EMBEDDING, FINAL_NORM, HEAD};
use crate::checkpoint::{Checkpoint, Element};
use crate::error::{Error, Result};

/// Reads block `i` of `checkpoint` with matrices of type `dtype`.
pub(super) fn layer(checkpoint: &Checkpoint, i: usize, dtype: DType) -> Result<LayerWeights> {
    let arch = checkpoint.architecture();
    if i >= arch.num_layers {
        return Err(Error::Layer { index: i, layers: arch.num_layers });
    }
    let reader = Reader { checkpoint, layer: i, dtype };
    let bias = |wanted: bool, modules: &[&str]| if wanted { reader.bias(modules).map(Some) } else { Ok(None) };
    let qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
    let gate_up = ["mlp.gate_proj", "mlp.up_proj"];
    Ok(LayerWeights {
        input_norm: reader.norm("input_layernorm")?,
        qkv: reader.matrix(&qkv)?,
        qkv_bias: bias(arch.attention_bias, &qkv)?,
        o: reader.matrix(&["self_attn.o_proj"])?,
        o_bias: bias(arch.attention_bias, &["self_attn.o_proj"])?,
        post_norm: reader.norm("post_attention_layernorm")?,
        gate_up: reader.matrix(&gate_up)?,
        gate_up_bias: bias(arch.mlp_bias, &gate_up)?,
        down: reader.matrix(&["mlp.down_proj"])?,
        down_bias: bias(arch.mlp_bias, &["mlp.down_proj"])?,
    })
}

/// What a model has beside its blocks.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    /// `[vocabulary, hidden]`
    pub embedding: Tensor,
    /// `[vocabulary, hidden]`
    pub head: Tensor,
    /// `[hidden]`, f32
    pub final_norm: Tensor,
}

/// Reads embedding, final norm and head.
pub(super) fn ends(checkpoint: &Checkpoint, dtype: DType) -> Result<Ends> {
    let tied = checkpoint.architecture().tie_word_embeddings;
    let embedding = joined(checkpoint, &[EMBEDDING.into()], dtype)?;
    let head = if tied { embedding.clone() } else { joined(checkpoint, &[HEAD.into()], dtype)? };
    let final_norm = joined(checkpoint, &[FINAL_NORM.into()], DType::F32)?;
    Ok(Ends { embedding, head, final_norm })
}

struct Reader<'a> {
    checkpoint: &'a Checkpoint,
    layer: usize,
    dtype: DType,
}

impl Reader<'_> {
    fn names(&self, modules: &[&str], kind: &str) -> Vec<String> {
        modules.iter().map(|module| format!("model.layers.{}.{module}.{kind}", self.layer)).collect()
    }

    fn matrix(&self, modules: &[&str]) -> Result<Tensor> {
        joined(self.checkpoint, &self.names(modules, "weight"), self.dtype)
    }

    fn bias(&self, modules: &[&str]) -> Result<Tensor> {
        joined(self.checkpoint, &self.names(modules, "bias"), DType::F32)
    }

    fn norm(&self, module: &str) -> Result<Tensor> {
        joined(self.checkpoint, &self.names(&[module], "weight"), DType::F32)
    }
}

/// The named tensors below each other, as one tensor of type `dtype`.
fn joined(checkpoint: &Checkpoint, names: &[String], dtype: DType) -> Result<Tensor> {
    let mut shape: Vec<usize> = Vec::new();
    for name in names {
        let part = checkpoint.shape(name)?;
        match shape.first_mut() {
            Some(rows) => *rows += part[0],
            None => shape = part.to_vec(),
        }
    }
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
        let len = checkpoint.shape(name)?.iter().product();
        let (part, after) = rest.split_at_mut(len);
        checkpoint.read(name, part)?;
        rest = after;
    }
    Ok(out)
}
