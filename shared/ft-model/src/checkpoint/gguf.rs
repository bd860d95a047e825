//! GGUF files: tensors of any type that candle reads, under Hugging Face's names and in its layout.

use std::io::Cursor;
use std::path::Path;

use candle_core::Device;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::quantized::gguf_file::{Content, TensorInfo};
use rayon::prelude::*;

use super::mapped::MappedFile;
use crate::arch::Architecture;
use crate::error::{Error, Result};

/// Rows widened at a time, where they need not be reordered.
const ROWS: usize = 64;

/// An opened GGUF file.
pub struct Gguf {
    file: MappedFile,
    content: Content,
    heads: usize,
    kv_heads: usize,
}

impl Gguf {
    /// Reads the header and checks that the file holds the tensors that it lists.
    ///
    /// # Errors
    /// If the file is no GGUF, cut short, or of an architecture that is not known.
    pub fn open(path: &Path) -> Result<(Self, Architecture)> {
        let file = MappedFile::open(path)?;
        if !file.bytes().starts_with(b"GGUF") {
            return Err(Error::format(path, "is neither a Hugging Face folder nor a GGUF file"));
        }
        let content = Content::read(&mut Cursor::new(file.bytes()))
            .map_err(|e| Error::format(path, format!("is damaged or cut short ({e}); copy or download it again")))?;
        let mut gguf = Self { file, content, heads: 0, kv_heads: 0 };
        gguf.check()?;
        let divisors = gguf.rope_divisors()?;
        let arch = Architecture::from_gguf(&gguf.content, divisors, path)?;
        (gguf.heads, gguf.kv_heads) = (arch.num_heads, arch.num_kv_heads);
        Ok((gguf, arch))
    }

    fn check(&self) -> Result<()> {
        for (name, info) in &self.content.tensor_infos {
            let found = self.file.bytes().len();
            let end = self.bytes_of(info).end;
            if end > found {
                let message = format!("is cut short: tensor {name} ends at byte {end}, the file at {found}; copy or download it again");
                return Err(Error::format(self.file.path(), message));
            }
        }
        Ok(())
    }

    /// Per-frequency divisors of the rotary embedding, which llama.cpp stores for Llama 3.1.
    fn rope_divisors(&self) -> Result<Option<Vec<f64>>> {
        let Some(info) = self.content.tensor_infos.get("rope_freqs.weight") else { return Ok(None) };
        let mut divisors = vec![0.0; info.shape.elem_count()];
        self.dequantise(info, 0, &mut divisors)?;
        Ok(Some(divisors.into_iter().map(f64::from).collect()))
    }

    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.info(name).map(|info| info.shape.dims().to_vec())
    }

    pub fn dtype(&self, name: &str) -> Option<String> {
        self.info(name).map(|info| format!("{:?}", info.ggml_dtype).to_uppercase())
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.content.tensor_infos.get(&stored_name(name)?)
    }

    /// Reads a tensor, in Hugging Face's order of rows, and gives its pages back.
    ///
    /// # Errors
    /// If candle cannot widen its type.
    pub fn read_f32(&self, name: &str, out: &mut [f32]) -> Result<()> {
        let Some(info) = self.info(name) else {
            return Err(Error::format(self.file.path(), format!("tensor {name} is missing")));
        };
        let columns = *info.shape.dims().last().unwrap_or(&1);
        let rows = out.len() / columns.max(1);
        let turned = match name.rsplit_once("self_attn.").map(|(_, module)| module) {
            Some("q_proj.weight" | "q_proj.bias") => Some(self.heads),
            Some("k_proj.weight" | "k_proj.bias") => Some(self.kv_heads),
            _ => None,
        };
        match turned {
            // A bias has one row; its elements are what stands for rows.
            Some(heads) if info.shape.rank() == 1 => {
                let mut stored = vec![0.0; columns];
                self.dequantise(info, 0, &mut stored)?;
                unturn(&stored, 1, columns / heads, out);
            }
            Some(heads) => {
                let head = rows / heads;
                out.par_chunks_mut(head * columns).enumerate().try_for_each(|(h, out)| {
                    let mut stored = vec![0.0; out.len()];
                    self.dequantise(info, h * head * columns, &mut stored)?;
                    unturn(&stored, columns, head, out);
                    Ok::<_, Error>(())
                })?;
            }
            None => {
                let piece = ROWS * columns;
                out.par_chunks_mut(piece).enumerate().try_for_each(|(i, out)| self.dequantise(info, i * piece, out))?;
            }
        }
        self.file.release(self.bytes_of(info));
        Ok(())
    }

    /// Widens the elements from `first` on; both ends lie at the ends of rows.
    fn dequantise(&self, info: &TensorInfo, first: usize, out: &mut [f32]) -> Result<()> {
        let bytes = |elements: usize| elements / info.ggml_dtype.block_size() * info.ggml_dtype.type_size();
        let start = self.bytes_of(info).start + bytes(first);
        let stored = &self.file.bytes()[start..start + bytes(out.len())];
        if info.ggml_dtype == GgmlDType::F32 {
            super::widen::widen("F32", stored, out);
            return Ok(());
        }
        let quantised = qtensor_from_ggml(info.ggml_dtype, stored, vec![out.len()], &Device::Cpu)?;
        let widened = quantised.dequantize(&Device::Cpu)?;
        Ok(ft_kernels::tensor::with_slice(&widened, |widened| out.copy_from_slice(widened))?)
    }

    fn bytes_of(&self, info: &TensorInfo) -> std::ops::Range<usize> {
        let start = self.content.tensor_data_offset.saturating_add(info.offset) as usize;
        let blocks = info.shape.elem_count() / info.ggml_dtype.block_size();
        start..start.saturating_add(blocks * info.ggml_dtype.type_size())
    }
}

/// llama.cpp stores the rows of a head of queries and keys so that pairs that turn together are
/// neighbours: row `2·i + j` is Hugging Face's row `j·head/2 + i`.
fn unturn(stored: &[f32], columns: usize, head: usize, out: &mut [f32]) {
    for (r, row) in stored.chunks_exact(columns).enumerate() {
        let (first, r) = (r / head * head, r % head);
        let to = first + r % 2 * (head / 2) + r / 2;
        out[to * columns..][..columns].copy_from_slice(row);
    }
}

/// llama.cpp's name for a tensor.
fn stored_name(name: &str) -> Option<String> {
    let fixed = match name {
        "model.embed_tokens.weight" => Some("token_embd.weight"),
        "model.norm.weight" => Some("output_norm.weight"),
        "lm_head.weight" => Some("output.weight"),
        _ => None,
    };
    if let Some(fixed) = fixed {
        return Some(fixed.to_owned());
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (module, kind) = rest.rsplit_once('.')?;
    let module = match module {
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" => "ffn_norm",
        _ => return None,
    };
    Some(format!("blk.{layer}.{module}.{kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_llama_cpps() {
        assert_eq!(stored_name("model.layers.3.self_attn.o_proj.weight").as_deref(), Some("blk.3.attn_output.weight"));
        assert_eq!(stored_name("lm_head.weight").as_deref(), Some("output.weight"));
        assert_eq!(stored_name("model.layers.3.self_attn.rotary_emb.inv_freq"), None);
    }

    #[test]
    fn rows_of_a_head_come_back_in_their_halves() {
        // A head of 6 rows of 1: Hugging Face's 0..6 are stored as 0 3 1 4 2 5.
        let mut out = [0.0; 12];
        unturn(&[0., 3., 1., 4., 2., 5., 10., 13., 11., 14., 12., 15.], 1, 6, &mut out);
        assert_eq!(out, [0., 1., 2., 3., 4., 5., 10., 11., 12., 13., 14., 15.]);
    }
}
