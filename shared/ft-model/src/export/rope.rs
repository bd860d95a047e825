//! The rotary embedding as metadata and small tensors.

use std::f32::consts::PI;

use ft_io::gguf::{Metadata, Typed};
use ft_kernels::math::{log, powf};

use crate::arch::gguf::{LONG_FACTORS, ROPE_FACTORS, SHORT_FACTORS};
use crate::arch::{Architecture, Family, Rope, RopeScaling};

/// Tensors that are no weights.
pub(super) type Tensors = Vec<(&'static str, Vec<f32>)>;

/// The metadata under the architecture's name, and the tensors.
pub(super) fn metadata(arch: &Architecture, name: &str) -> (Metadata, Tensors) {
    let (mut keys, mut tensors) = (Vec::new(), Vec::new());
    // Where layers with a window turn otherwise, the others are what the file begins with.
    let of = |slides: bool| {
        let mut layers = arch.layers.iter().filter(|layer| layer.sliding_window.is_some() == slides);
        layers.find_map(|layer| arch.ropes.get(layer.rope?))
    };
    if let Some(rope) = of(false).or_else(|| of(true)) {
        keys.push(("rope.dimension_count", Typed::U32(rope.dims as u32)));
        keys.push(("rope.freq_base", Typed::F32(rope.theta as f32)));
        scaling(arch, rope, &mut keys, &mut tensors);
    }
    if let Some(local) = of(true).filter(|_| arch.family == Family::Gemma3) {
        keys.push(("rope.freq_base_swa", Typed::F32(local.theta as f32)));
    }
    (keys.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)).collect(), tensors)
}

fn scaling(arch: &Architecture, rope: &Rope, keys: &mut Vec<(&'static str, Typed)>, tensors: &mut Tensors) {
    let word = |word: &str| ("rope.scaling.type", Typed::Text(word.into()));
    let number = |key: &'static str, x: f64| (key, Typed::F32(x as f32));
    let original =
        |n: usize| ("rope.scaling.original_context_length", Typed::U32(u32::try_from(n).unwrap_or(u32::MAX)));
    match &rope.scaling {
        RopeScaling::None => {
            if arch.family == Family::Phi3 {
                keys.push(original(arch.max_position_embeddings));
            }
        }
        // A file has no word for it; what is read again differs.
        RopeScaling::Dynamic { .. } => {}
        RopeScaling::Linear { factor } => keys.extend([word("linear"), number("rope.scaling.factor", *factor)]),
        RopeScaling::Yarn {
            factor, beta_fast, beta_slow, original_max_position_embeddings, attention_factor, ..
        } => {
            keys.extend([
                word("yarn"),
                number("rope.scaling.factor", *factor),
                original(*original_max_position_embeddings),
                number("rope.scaling.yarn_beta_fast", *beta_fast),
                number("rope.scaling.yarn_beta_slow", *beta_slow),
            ]);
            // What comes on top of YaRN's own factor of cosines and sines.
            let usual = if *factor <= 1.0 { 1.0 } else { 0.1 * log(*factor) + 1.0 };
            let more = attention_factor / usual;
            if (more - 1.0).abs() > 1e-6 {
                keys.push(number("rope.scaling.attn_factor", more));
            }
        }
        RopeScaling::Llama3 { .. } => tensors.push((ROPE_FACTORS, llama3(rope))),
        RopeScaling::LongRope { short_factor, long_factor, original_max_position_embeddings, attention_factor } => {
            if arch.family != Family::Phi3 {
                keys.push(word("longrope"));
            }
            keys.push(original(*original_max_position_embeddings));
            keys.push(number("rope.scaling.attn_factor", *attention_factor));
            let narrow = |factors: &[f64]| factors.iter().map(|f| *f as f32).collect();
            tensors.push((LONG_FACTORS, narrow(long_factor)));
            tensors.push((SHORT_FACTORS, narrow(short_factor)));
        }
    }
}

/// What Llama 3 divides each frequency by, computed as llama.cpp's converter does (`conversion/llama.py`).
fn llama3(rope: &Rope) -> Vec<f32> {
    let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } =
        rope.scaling
    else {
        return Vec::new();
    };
    let original = original_max_position_embeddings as f64;
    let (longest, shortest) = ((original / low_freq_factor) as f32, (original / high_freq_factor) as f32);
    let one = |i: usize| {
        let frequency = 1.0 / powf(rope.theta as f32, i as f32 / rope.dims as f32);
        let wavelength = 2.0 * PI / frequency;
        if wavelength < shortest {
            1.0
        } else if wavelength > longest {
            factor as f32
        } else {
            let smooth =
                (original as f32 / wavelength - low_freq_factor as f32) / (high_freq_factor - low_freq_factor) as f32;
            1.0 / ((1.0 - smooth) / factor as f32 + smooth)
        }
    };
    (0..rope.dims).step_by(2).map(one).collect()
}
