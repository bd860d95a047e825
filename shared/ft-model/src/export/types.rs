//! In which type each tensor is stored: llama.cpp's mixtures (`src/llama-quant.cpp`, `llama_tensor_get_type_impl`,
//! without an importance matrix).

use candle_core::quantized::GgmlDType;

use super::tensors::GgufTensor;
use crate::arch::Architecture;
use crate::arch::gguf::architecture_name;
use crate::checkpoint::Format;

/// The types of whole files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    /// All of 32 bits.
    F32,
    /// Matrices of 16 bits.
    F16,
    /// Matrices of the upper halves of 32 bits.
    Bf16,
    /// Blocks of eight bits.
    Q8_0,
    /// Blocks of four bits with a scale; the head in Q6_K.
    Q4_0,
    /// Blocks of four bits with scale and least value; the head in Q6_K.
    Q4_1,
    /// Large blocks of five bits, some matrices in Q6_K.
    Q5KM,
    /// Large blocks of four bits, some matrices in Q6_K.
    Q4KM,
    /// Large blocks of six bits.
    Q6K,
}

impl FileType {
    /// Its number in `general.file_type` (`llama_ftype`).
    pub fn number(self) -> u32 {
        match self {
            FileType::F32 => 0,
            FileType::F16 => 1,
            FileType::Q4_0 => 2,
            FileType::Q4_1 => 3,
            FileType::Q8_0 => 7,
            FileType::Q4KM => 15,
            FileType::Q5KM => 17,
            FileType::Q6K => 18,
            FileType::Bf16 => 32,
        }
    }

    /// The type of a matrix that nothing is said of.
    fn main(self) -> Format {
        match self {
            FileType::F32 => Format::F32,
            FileType::F16 => Format::F16,
            FileType::Bf16 => Format::Bf16,
            FileType::Q8_0 => Format::Blocks(GgmlDType::Q8_0),
            FileType::Q4_0 => Format::Blocks(GgmlDType::Q4_0),
            FileType::Q4_1 => Format::Blocks(GgmlDType::Q4_1),
            FileType::Q5KM => Format::Blocks(GgmlDType::Q5K),
            FileType::Q4KM => Format::Blocks(GgmlDType::Q4K),
            FileType::Q6K => Format::Blocks(GgmlDType::Q6K),
        }
    }
}

/// Gives each tensor its type.
pub(super) fn assign(mut tensors: Vec<GgufTensor>, arch: &Architecture, to: FileType) -> Vec<GgufTensor> {
    let tied = tensors.iter().all(|tensor| tensor.name != "output.weight");
    for tensor in &mut tensors {
        tensor.format = match to.main() {
            _ if stays_wide(tensor) => Format::F32,
            Format::Blocks(main) => blocks(tensor, main, arch, to, tied),
            float => float,
        };
    }
    tensors
}

/// Vectors, norms, what chooses experts, and learned positions are always of 32 bits.
fn stays_wide(tensor: &GgufTensor) -> bool {
    let name = &tensor.name;
    tensor.shape.len() < 2
        || !name.ends_with(".weight")
        || name.ends_with("_norm.weight")
        || name.ends_with("ffn_gate_inp.weight")
        || name == "position_embd.weight"
}

fn blocks(tensor: &GgufTensor, main: GgmlDType, arch: &Architecture, to: FileType, tied: bool) -> Format {
    let columns = tensor.shape.last().copied().unwrap_or(0);
    let (layer, part) = match tensor.name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((layer, part)) => (layer.parse().unwrap_or(0), part),
        None => (0, tensor.name.as_str()),
    };
    let experts = arch.experts.map_or(1, |of| of.count);
    let mixed = matches!(to, FileType::Q4KM | FileType::Q5KM);
    let chosen = match part.trim_end_matches(".weight") {
        "output" => head(main, columns),
        "token_embd" if tied => head(main, columns),
        "attn_v" | "attn_qkv" | "attn_k" if experts == 8 => GgmlDType::Q8_0,
        "attn_v" | "attn_qkv" | "ffn_down" | "ffn_down_exps" if mixed && more_bits(layer, arch.num_layers) => {
            GgmlDType::Q6K
        }
        "attn_v" | "attn_qkv" if main == GgmlDType::Q4K && shares_values(arch) => GgmlDType::Q5K,
        "attn_output" if experts == 8 && to == FileType::Q4KM => GgmlDType::Q5K,
        _ => main,
    };
    fitting(chosen, columns)
}

/// The head, or the embedding that is the head too.
fn head(main: GgmlDType, columns: usize) -> GgmlDType {
    if main == GgmlDType::Q8_0 || !columns.is_multiple_of(main.block_size()) { GgmlDType::Q8_0 } else { GgmlDType::Q6K }
}

/// The first and the last eighth of the layers, and every third between them.
fn more_bits(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// llama.cpp's "70B": Llama 2 and 3, and Qwen2, of 80 layers.
fn shares_values(arch: &Architecture) -> bool {
    arch.num_layers == 80
        && match architecture_name(arch.family) {
            "llama" => arch.num_heads != arch.num_kv_heads,
            "qwen2" => true,
            _ => false,
        }
}

/// The type, or the one that llama.cpp takes where a row is no whole number of its blocks.
fn fitting(kind: GgmlDType, columns: usize) -> Format {
    let fits = |kind: GgmlDType| columns.is_multiple_of(kind.block_size());
    let other = match kind {
        GgmlDType::Q4K => GgmlDType::Q5_0,
        GgmlDType::Q5K => GgmlDType::Q5_1,
        GgmlDType::Q6K => GgmlDType::Q8_0,
        small => small,
    };
    match [kind, other].into_iter().find(|kind| fits(*kind)) {
        Some(kind) => Format::Blocks(kind),
        None => Format::F16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_with_more_bits_are_llama_cpps() {
        // `use_more_bits` for 30 layers: below 3, from 26 on, and 5, 8, 11 and so on between.
        let layers: Vec<usize> = (0..30).filter(|i| more_bits(*i, 30)).collect();
        assert_eq!(layers, [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29]);
    }

    #[test]
    fn rows_that_are_no_large_blocks_get_small_ones() {
        assert_eq!(fitting(GgmlDType::Q4K, 576), Format::Blocks(GgmlDType::Q5_0));
        assert_eq!(fitting(GgmlDType::Q6K, 576), Format::Blocks(GgmlDType::Q8_0));
        assert_eq!(fitting(GgmlDType::Q4K, 1536), Format::Blocks(GgmlDType::Q4K));
        assert_eq!(fitting(GgmlDType::Q4_0, 40), Format::F16);
    }
}
