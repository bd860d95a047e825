//! Whether what is written is read as the same model.

use std::fmt::Debug;

use ft_io::gguf::{Content, NewTensor, Typed, header};

use super::loads;
use super::refused::refused;
use super::rope::Tensors;
use super::tensors::GgufTensor;
use crate::arch::gguf::{self, RopeTensors};
use crate::arch::{Architecture, Family, LayerKind, Rope};
use crate::error::{Error, Result};

/// How far numbers of 32 bits may be from those of 64 that they stand for.
const CLOSE: f64 = 1e-6;

/// Reads again what would be written, as this program reads a GGUF file, which is as llama.cpp does. What differs but for
/// long texts comes back as remarks.
///
/// # Errors
/// [`Error::NotInGguf`] naming the key of `config.json` that would be lost.
pub(super) fn check(
    arch: &Architecture,
    metadata: &[(String, Typed)],
    tensors: &[GgufTensor],
    rope: &Tensors,
) -> Result<Vec<String>> {
    let all: Vec<NewTensor> = tensors.iter().map(GgufTensor::header).collect::<Result<_>>()?;
    let bytes = header(metadata, &all);
    let unread = |reason: String| refused("the metadata", "what is written", reason);
    let content = Content::read(bytes.as_slice(), bytes.len() as u64).map_err(unread)?;
    let rope: RopeTensors = rope.iter().cloned().collect();
    let read = Architecture::from_gguf(&content, &rope).map_err(|error| match error {
        Error::Unsupported { key, value, expected } | Error::Key { key, found: value, expected } => {
            refused(&key, value, expected)
        }
        other => other,
    })?;
    match difference(arch, &read, arch.tie_word_embeddings && loads::needs_head(gguf::architecture_name(arch.family))) {
        Some(Point { key, own, read, .. }) => {
            Err(refused(key, own, format!("{read}, which llama.cpp takes for granted")))
        }
        None => Ok(remarks(arch, &read)),
    }
}

/// One thing that `config.json` says, as the model has it and as it is read again.
struct Point {
    key: &'static str,
    same: bool,
    own: String,
    read: String,
}

impl Point {
    fn new<T: Debug + PartialEq>(key: &'static str, own: &T, read: &T) -> Self {
        Self { key, same: own == read, own: format!("{own:?}"), read: format!("{read:?}") }
    }

    fn number(key: &'static str, own: f64, read: f64) -> Self {
        Self { same: close(own, read), ..Self::new(key, &own, &read) }
    }

    fn cap(key: &'static str, own: Option<f64>, read: Option<f64>) -> Self {
        let same = own == read || own.zip(read).is_some_and(|(own, read)| close(own, read));
        Self { same, ..Self::new(key, &own, &read) }
    }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= CLOSE * a.abs().max(b.abs())
}

/// The first thing in which they differ. A head that is the embedding may be read as one of its own.
fn difference(own: &Architecture, read: &Architecture, twice: bool) -> Option<Point> {
    let all = sizes(own, read).into_iter().chain(constants(own, read)).chain(structure(own, read, twice));
    all.into_iter().find(|point| !point.same)
}

fn sizes(own: &Architecture, read: &Architecture) -> [Point; 8] {
    [
        Point::new("hidden_size", &own.hidden_size, &read.hidden_size),
        Point::new("intermediate_size", &own.intermediate_size, &read.intermediate_size),
        Point::new("num_hidden_layers", &own.num_layers, &read.num_layers),
        Point::new("num_attention_heads", &own.num_heads, &read.num_heads),
        Point::new("num_key_value_heads", &own.num_kv_heads, &read.num_kv_heads),
        Point::new("head_dim", &own.head_dim, &read.head_dim),
        Point::new("vocab_size", &own.vocab_size, &read.vocab_size),
        Point::new("max_position_embeddings", &own.max_position_embeddings, &read.max_position_embeddings),
    ]
}

fn constants(own: &Architecture, read: &Architecture) -> [Point; 8] {
    let scale = Point::number("attention_multiplier", own.attention_scale, read.attention_scale);
    // Configurations say the square of what scores are divided by.
    let square = |arch: &Architecture| format!("{}", arch.attention_scale.powi(-2).round());
    let scale = match own.family {
        Family::Gemma2 | Family::Gemma3 => {
            Point { key: "query_pre_attn_scalar", own: square(own), read: square(read), ..scale }
        }
        _ => scale,
    };
    [
        Point::number("rms_norm_eps", own.norm_eps, read.norm_eps),
        scale,
        Point::new("scale_attn_by_inverse_layer_idx", &own.scales_by_layer, &read.scales_by_layer),
        Point::cap("attn_logit_softcapping", own.attention_softcap, read.attention_softcap),
        Point::cap("final_logit_softcapping", own.logit_softcap, read.logit_softcap),
        Point::number("embedding_multiplier", own.embedding_scale, read.embedding_scale),
        Point::number("residual_multiplier", own.residual_scale, read.residual_scale),
        Point::number("logits_scaling", 1.0 / own.logit_scale, 1.0 / read.logit_scale),
    ]
}

fn structure(own: &Architecture, read: &Architecture, twice: bool) -> Vec<Point> {
    let norms = |arch: &Architecture| (arch.norm, arch.norm_plus_one, arch.qk_norm);
    let mut all = vec![
        Point::new("hidden_act", &(own.activation, own.gated), &(read.activation, read.gated)),
        Point::new("use_parallel_residual", &own.parallel, &read.parallel),
        Point::new("norms", &norms(own), &norms(read)),
    ];
    if let Some((own, read)) = own.experts.zip(read.experts) {
        all.push(Point::new("norm_topk_prob", &own.normalised, &read.normalised));
    }
    all.push(Point::new("num_experts, num_experts_per_tok, moe_intermediate_size", &own.experts, &read.experts));
    if !twice {
        all.push(Point::new("tie_word_embeddings", &own.tie_word_embeddings, &read.tie_word_embeddings));
    }
    let (turning, mixtures) = (layers(own, |kind| kind.rope.is_some()), layers(own, |kind| kind.is_mixture));
    all.push(Point::new("no_rope_layers", &turning, &layers(read, |kind| kind.rope.is_some())));
    all.push(Point::new("mlp_only_layers", &mixtures, &layers(read, |kind| kind.is_mixture)));
    all.push(Point { same: turns_alike(own, read), ..Point::new("rope_scaling", &own.ropes, &read.ropes) });
    all
}

/// The layers of which something holds.
fn layers(arch: &Architecture, holds: impl Fn(&LayerKind) -> bool) -> Vec<usize> {
    arch.layers.iter().enumerate().filter(|(_, kind)| holds(kind)).map(|(i, _)| i).collect()
}

/// Whether all layers turn alike, in short sequences and in the longest ones.
fn turns_alike(own: &Architecture, read: &Architecture) -> bool {
    let longest = own.reach().unwrap_or(own.max_position_embeddings).max(own.max_position_embeddings);
    let same = |a: &Rope, b: &Rope| {
        [1, longest, 4 * longest].into_iter().all(|length| {
            let (a, b) = (a.frequencies(length), b.frequencies(length));
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= CLOSE * a.abs())
        }) && (a.magnitude() - b.magnitude()).abs() <= CLOSE * a.magnitude()
    };
    own.layers.iter().zip(&read.layers).all(|(a, b)| match (a.rope, b.rope) {
        (Some(a), Some(b)) => own.ropes.get(a).zip(read.ropes.get(b)).is_some_and(|(a, b)| same(a, b)),
        (a, b) => a.is_none() && b.is_none(),
    })
}

/// What llama.cpp computes otherwise for long texts alone.
fn remarks(own: &Architecture, read: &Architecture) -> Vec<String> {
    let window = |arch: &Architecture, i: usize| arch.layers.get(i).and_then(|layer| layer.sliding_window);
    // llama.cpp reads the window of Phi-3's files and takes no notice of it.
    let ignored = own.family == Family::Phi3;
    let lost = (0..own.num_layers).find_map(|i| window(own, i).filter(|own| ignored || window(read, i) != Some(*own)));
    let lost = lost.filter(|size| *size < own.max_position_embeddings);
    let told = |size: usize| {
        format!(
            "sliding_window is {size}, and llama.cpp gives this family none: texts of more tokens are answered otherwise than here"
        )
    };
    lost.map(told).into_iter().collect()
}
