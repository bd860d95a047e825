use std::path::Path;

use candle_core::DType;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::projection::Site;

const EMBEDDING: &str = "model.embed_tokens.weight";

fn open(name: &str) -> Checkpoint {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/reference").join(name).join("model");
    Checkpoint::open(&path).unwrap()
}

fn values(matrix: impl Into<Weight>) -> Vec<f32> {
    matrix.into().widened().unwrap().to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The named tensors of layer 1 one after the other.
fn stacked(model: &Checkpoint, dtype: DType, names: &[&str]) -> Vec<f32> {
    let tensor = |name: &&str| values(model.tensor(&format!("model.layers.1.{name}"), dtype).unwrap());
    names.iter().flat_map(tensor).collect()
}

#[test]
fn projections_of_one_input_stand_below_each_other() {
    let model = open("llama_tied_bias-s0");
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let layer = Resident::load(&model, dtype, |_| {}).unwrap().layer(1).unwrap();
        assert_eq!(layer.qkv.weight.dims2().unwrap(), ((4 + 2 * 2) * 24, 64));
        assert_eq!((layer.qkv.weight.dtype(), layer.input_norm.as_ref().unwrap().weight.dtype()), (dtype, DType::F32));
        let weights = ["self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"];
        assert_eq!(values(&layer.qkv.weight), stacked(&model, dtype, &weights));
        assert_eq!(
            values(&layer.gate_up.weight),
            stacked(&model, dtype, &["mlp.gate_proj.weight", "mlp.up_proj.weight"])
        );
        let biases = ["self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"];
        let bias = layer.qkv.bias.as_ref().unwrap();
        assert_eq!((values(bias), bias.dtype()), (stacked(&model, DType::F32, &biases), DType::F32));
        assert_eq!(values(&layer.down.weight), stacked(&model, dtype, &["mlp.down_proj.weight"]));
        assert_eq!(values(layer.down.bias.as_ref().unwrap()), stacked(&model, DType::F32, &["mlp.down_proj.bias"]));
        assert_eq!(
            values(&layer.mlp_norm.as_ref().unwrap().weight),
            stacked(&model, DType::F32, &["post_attention_layernorm.weight"])
        );
    }
}

#[test]
fn resident_and_mapped_are_the_same_stream() {
    for name in ["llama-s0", "llama_tied_bias-s0"] {
        let model = open(name);
        let seen = std::cell::RefCell::new(Vec::new());
        let resident = Resident::load(&model, DType::F32, |i| seen.borrow_mut().push(i)).unwrap();
        assert_eq!(seen.into_inner(), [1, 2]);
        let mapped = Mapped::open(open(name), DType::F32).unwrap();
        for i in 0..2 {
            let (x, y) = (resident.layer(i).unwrap(), mapped.layer(i).unwrap());
            assert_eq!(x.qkv.bias.is_some(), name.contains("bias"));
            for site in Site::ALL {
                assert_eq!(values(&x.product(site).weight), values(&y.product(site).weight));
            }
        }
        let tensor = |name| values(model.tensor(name, DType::F32).unwrap());
        for source in [&resident as &dyn LayerSource, &mapped] {
            let ends = source.ends();
            assert_eq!(values(source.embedding().unwrap().widened().unwrap()), tensor(EMBEDDING));
            assert_eq!(values(&ends.final_norm.weight), tensor("model.norm.weight"));
            let head = if name.contains("tied") { EMBEDDING } else { "lm_head.weight" };
            assert_eq!(values(source.head().unwrap().widened().unwrap()), tensor(head));
            assert!(matches!(source.layer(2), Err(Error::Layer { index: 2, layers: 2 })));
        }
    }
}

#[test]
fn frozen_weights_have_a_type_of_three() {
    let error = Resident::load(&open("llama-s0"), DType::F64, |_| {}).unwrap_err();
    assert!(error.to_string().contains("f32, bf16 or f16"), "{error}");
}
