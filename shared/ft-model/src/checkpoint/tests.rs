use std::collections::BTreeMap;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::arch::gguf;
use crate::arch::{Rope, RopeScaling};

const EMBEDDING: &str = "model.embed_tokens.weight";
const FINAL_NORM: &str = "model.norm.weight";
const HEAD: &str = "lm_head.weight";
use crate::safetensors::Header;

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/reference").join(name).join("model")
}

fn reference(name: &str) -> Checkpoint {
    Checkpoint::open(&testdata(name)).unwrap()
}

fn values(model: &Checkpoint, name: &str) -> Vec<f32> {
    model.tensor(name, DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn message<T>(result: Result<T>) -> String {
    let Err(error) = result else { panic!("it was accepted") };
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// A tensor of a file that a test writes.
#[derive(Clone)]
struct Part {
    name: String,
    dtype: ::safetensors::Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The reference model's tensors, as they are.
fn parts(model: &Checkpoint) -> Vec<Part> {
    let part = |name: String| {
        let bytes = values(model, &name).iter().flat_map(|x| x.to_le_bytes()).collect();
        Part { shape: model.shape(&name).unwrap().to_vec(), name, dtype: ::safetensors::Dtype::F32, bytes }
    };
    model.names().into_iter().map(part).collect()
}

fn file(parts: &[Part]) -> Vec<u8> {
    let tensors: Vec<_> = parts.iter().map(|p| (p.name.clone(), p.dtype, p.shape.clone())).collect();
    let (_, mut bytes) = Header::build(&tensors, &BTreeMap::new());
    bytes.extend(parts.iter().flat_map(|part| &part.bytes));
    bytes
}

/// A folder with the reference's config, where tests put weights.
fn folder(reference: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::copy(testdata(reference).join(CONFIG_FILE), home.path().join(CONFIG_FILE)).unwrap();
    home
}

/// What opening the reference model says after `change` of its tensors.
fn changed(change: impl FnOnce(&mut Vec<Part>)) -> String {
    let mut all = parts(&reference("llama-s0"));
    change(&mut all);
    let home = folder("llama-s0");
    std::fs::write(home.path().join("model.safetensors"), file(&all)).unwrap();
    message(Checkpoint::open(home.path()))
}

#[test]
fn tensors_are_the_files() {
    let model = reference("llama-s0");
    let bytes = std::fs::read(testdata("llama-s0").join("model.safetensors")).unwrap();
    let theirs = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.len(), model.names().len());
    for name in model.names() {
        let expected: Vec<f32> =
            theirs.tensor(&name).unwrap().data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert_eq!(values(&model, &name), expected, "{name}");
    }
    assert_eq!(model.main_dtype().unwrap(), Format::F32);
    assert!(message(model.tensor("x.weight", DType::F32)).contains("no tensor 'x.weight'"));
    let mut short = vec![0.0; 5];
    assert!(message(model.read_f32(HEAD, &mut short)).contains("5 elements were asked for"));
}

#[test]
fn narrow_types_are_widened_and_wide_ones_rounded_once() {
    let model = reference("llama-s0");
    let mut all = parts(&model);
    for part in &mut all {
        let floats: Vec<f32> = part.bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        (part.dtype, part.bytes) = match part.name.len() % 3 {
            0 => (::safetensors::Dtype::BF16, floats.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect()),
            1 => (::safetensors::Dtype::F16, floats.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect()),
            _ => (::safetensors::Dtype::F64, floats.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect()),
        };
    }
    let home = folder("llama-s0");
    std::fs::write(home.path().join("model.safetensors"), file(&all)).unwrap();
    let narrow = Checkpoint::open(home.path()).unwrap();
    for name in model.names() {
        let full = values(&model, &name);
        let expected: Vec<f32> = match name.len() % 3 {
            0 => full.iter().map(|x| bf16::from_f32(*x).to_f32()).collect(),
            1 => full.iter().map(|x| f16::from_f32(*x).to_f32()).collect(),
            _ => full.clone(),
        };
        assert_eq!(values(&narrow, &name), expected, "{name}");
        for dtype in [DType::BF16, DType::F16] {
            let ours = narrow.tensor(&name, dtype).unwrap();
            let theirs = narrow.tensor(&name, DType::F32).unwrap().to_dtype(dtype).unwrap();
            let bits = |t: Tensor| t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(bits(ours), bits(theirs), "{name}");
        }
    }
    assert!(message(model.tensor(HEAD, DType::F64)).contains("F64"));
}

#[test]
fn shards_are_one_model() {
    let model = reference("llama-s0");
    let all = parts(&model);
    let home = folder("llama-s0");
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let (left, right) = all.split_at(7);
    let weight_map: BTreeMap<_, _> =
        left.iter().map(|p| (&p.name, names[0])).chain(right.iter().map(|p| (&p.name, names[1]))).collect();
    let index = home.path().join("model.safetensors.index.json");
    std::fs::write(&index, json!({"metadata": {"total_size": 1}, "weight_map": weight_map}).to_string()).unwrap();
    std::fs::write(home.path().join(names[0]), file(left)).unwrap();
    let missing = message(Checkpoint::open(home.path()));
    assert!(missing.contains("index.json") && missing.contains("'model-00002-of-00002.safetensors'"), "{missing}");

    std::fs::write(home.path().join(names[1]), file(right)).unwrap();
    let sharded = Checkpoint::open(home.path()).unwrap();
    assert_eq!(sharded.files().len(), 2);
    assert!(model.names().iter().all(|name| values(&sharded, name) == values(&model, name)));

    std::fs::write(home.path().join(names[1]), file(&right[1..])).unwrap();
    let lost = message(Checkpoint::open(home.path()));
    assert!(lost.contains(names[1]) && lost.contains(&format!("no tensor '{}'", right[0].name)), "{lost}");

    std::fs::write(&index, json!({"weight_map": {"a": "../a.safetensors"}}).to_string()).unwrap();
    assert!(message(Checkpoint::open(home.path())).contains("expected a file's name"));
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let missing = changed(|all| drop(all.remove(3)));
    assert!(
        missing.contains("no tensor 'model.layers.0.self_attn.v_proj.weight', expected one of shape [32, 64]"),
        "{missing}"
    );
    let shape = changed(|all| all[1].shape = vec![64 * 64]);
    assert!(
        shape.contains("'model.layers.0.self_attn.q_proj.weight' has the shape [4096], expected [64, 64]"),
        "{shape}"
    );
    let extra = changed(|all| {
        let norm = Part { name: "model.layers.0.self_attn.q_norm.weight".into(), ..all[8].clone() };
        all.push(norm);
    });
    assert!(
        extra.contains("'model.layers.0.self_attn.q_norm.weight' has no place in the architecture 'LlamaForCausalLM'"),
        "{extra}"
    );
    let integers = changed(|all| all[0].dtype = ::safetensors::Dtype::I32);
    assert!(integers.contains("stored as I32") && integers.contains("expected F32, BF16, F16 or F64"), "{integers}");
}

#[test]
fn what_transformers_ignores_is_ignored() {
    let mut all = parts(&reference("llama_tied_bias-s0"));
    let again = Part { name: HEAD.into(), ..all[0].clone() };
    let frequencies = Part { name: "model.layers.0.self_attn.rotary_emb.inv_freq".into(), ..all[9].clone() };
    all.extend([again, frequencies]);
    let home = folder("llama_tied_bias-s0");
    std::fs::write(home.path().join("model.safetensors"), file(&all)).unwrap();
    assert!(!Checkpoint::open(home.path()).unwrap().names().contains(&HEAD.to_owned()));
}

#[test]
fn hostile_files_are_refused_by_name() {
    let whole = file(&parts(&reference("llama-s0")));
    let home = folder("llama-s0");
    let path = home.path().join("model.safetensors");
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let text = message(Checkpoint::open(home.path()));
        assert!(text.contains("model.safetensors"), "{text}");
        text
    };
    assert!(refused(&whole[..whole.len() - 1]).contains("cut short"));
    assert!(refused(&whole[..300]).contains("cut short"));
    assert!(refused(b"").contains("too few"));
    let mut long = whole.clone();
    long[..8].copy_from_slice(&(1u64 << 40).to_le_bytes());
    assert!(refused(&long).contains("more than the 100000000"));
    let text = String::from_utf8_lossy(&whole[8..400]).into_owned();
    assert!(text.contains("[0,65536]"), "{text}");
    // Shift one tensor within the header, its length kept: an overlap at one end or a hole at the other.
    let swap = |from: &str, to: &str| {
        let header = String::from_utf8(whole[8..8 + header_of(&whole)].to_vec()).unwrap();
        let new = header.replacen(from, to, 1);
        assert_ne!(header, new);
        let mut bytes = (new.len() as u64).to_le_bytes().to_vec();
        bytes.extend(new.as_bytes());
        bytes.extend(&whole[8 + header_of(&whole)..]);
        bytes
    };
    assert!(
        refused(&swap("[65536,81920]", "[65532,81916]")).contains("'model.layers.0.self_attn.q_proj.weight' overlaps")
    );
    assert!(
        refused(&swap("[0,65536]", "[4,65540]"))
            .contains("a hole of 4 bytes before the tensor 'model.embed_tokens.weight'")
    );
    assert!(refused(&swap("[0,65536]", "[0,65532]")).contains("has 65532 bytes in the header"));
}

fn header_of(file: &[u8]) -> usize {
    u64::from_le_bytes(file[..8].try_into().unwrap()) as usize
}

#[test]
fn folders_without_a_model_say_what_is_missing() {
    let home = tempfile::tempdir().unwrap();
    assert!(message(Checkpoint::open(home.path())).contains("no config.json"));
    std::fs::write(home.path().join(CONFIG_FILE), "{").unwrap();
    assert!(message(Checkpoint::open(home.path())).contains("not whole JSON"));
    std::fs::copy(testdata("llama-s0").join(CONFIG_FILE), home.path().join(CONFIG_FILE)).unwrap();
    std::fs::write(home.path().join("pytorch_model.bin"), "").unwrap();
    let text = message(Checkpoint::open(home.path()));
    assert!(text.contains("neither model.safetensors nor") && text.contains("'pytorch_model.bin'"), "{text}");
    let absent = message(Checkpoint::open(&home.path().join("nothing")));
    assert!(absent.contains("cannot read") && absent.contains("nothing"), "{absent}");
    let text = home.path().join("notes.txt");
    std::fs::write(&text, "hello, these are notes").unwrap();
    assert!(message(Checkpoint::open(&text)).contains("does not begin as a GGUF file"));
}

/// Writes the model as a GGUF file, as llama.cpp's converter would: queries and keys interleaved.
fn write_gguf(model: &Checkpoint, path: &Path, kind: GgmlDType, more: &[(&str, Value)]) {
    let arch = model.architecture();
    let mut metadata = vec![
        ("general.architecture", Value::String("llama".into())),
        ("llama.block_count", Value::U32(arch.num_layers as u32)),
        ("llama.context_length", Value::U32(arch.max_position_embeddings as u32)),
        ("llama.embedding_length", Value::U32(arch.hidden_size as u32)),
        ("llama.feed_forward_length", Value::U32(arch.intermediate_size as u32)),
        ("llama.attention.head_count", Value::U32(arch.num_heads as u32)),
        ("llama.attention.head_count_kv", Value::U32(arch.num_kv_heads as u32)),
        ("llama.attention.key_length", Value::U32(arch.head_dim as u32)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(arch.norm_eps as f32)),
        ("llama.rope.freq_base", Value::F32(arch.ropes[0].theta as f32)),
        ("tokenizer.ggml.bos_token_id", Value::U32(1)),
        ("tokenizer.ggml.eos_token_id", Value::U32(2)),
        ("tokenizer.ggml.padding_token_id", Value::U32(0)),
    ];
    metadata.retain(|(key, _)| more.iter().all(|(other, _)| other != key));
    metadata.extend(more.iter().map(|(key, value)| (*key, value.clone())));
    let mut tensors = Vec::new();
    for name in model.names() {
        let mut tensor = model.tensor(&name, DType::F32).unwrap();
        if gguf::layout(arch, &name) == gguf::Layout::Interleaved {
            let columns = tensor.elem_count() / tensor.dims()[0];
            let heads = tensor.dims()[0] / arch.head_dim;
            let apart = tensor.reshape((heads, 2, arch.head_dim / 2, columns)).unwrap();
            tensor = apart.transpose(1, 2).unwrap().contiguous().unwrap().reshape(tensor.shape()).unwrap();
        }
        let kind = if tensor.rank() == 1 { GgmlDType::F32 } else { kind };
        tensors.push((gguf::name(arch, &name).unwrap(), QTensor::quantize(&tensor, kind).unwrap()));
    }
    if let RopeScaling::Llama3 { .. } = arch.ropes[0].scaling {
        let plain = Rope { scaling: RopeScaling::None, ..arch.ropes[0].clone() }.frequencies(1);
        let factors = plain.iter().zip(arch.ropes[0].frequencies(1)).map(|(p, s)| (p / s) as f32);
        let factors = Tensor::from_iter(factors, &Device::Cpu).unwrap();
        tensors.push(("rope_freqs.weight".into(), QTensor::quantize(&factors, GgmlDType::F32).unwrap()));
    }
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut out = std::fs::File::create(path).unwrap();
    gguf_file::write(&mut out, &metadata, &tensors).unwrap();
}

#[test]
fn a_gguf_file_is_the_folder_it_was_made_from() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("model.gguf");
    for name in ["llama-s0", "llama_tied_bias-s0", "llama3_rope-s0"] {
        let model = reference(name);
        write_gguf(&model, &path, GgmlDType::F32, &[]);
        let gguf = Checkpoint::open(&path).unwrap();
        let (mut ours, mut theirs) = (gguf.architecture().clone(), model.architecture().clone());
        (ours.raw, theirs.raw) = (serde_json::Value::Null, serde_json::Value::Null);
        assert_eq!(ours, theirs, "{name}");
        assert_eq!(gguf.names(), model.names());
        assert!(gguf.is_gguf() && gguf.metadata("general.architecture") == Some("llama"));
        for tensor in model.names() {
            assert_eq!(values(&gguf, &tensor), values(&model, &tensor), "{name} {tensor}");
        }
    }
    let linear =
        [("llama.rope.scaling.type", Value::String("linear".into())), ("llama.rope.scaling.factor", Value::F32(4.0))];
    write_gguf(&reference("llama-s0"), &path, GgmlDType::F16, &linear);
    let gguf = Checkpoint::open(&path).unwrap();
    assert_eq!(gguf.architecture().ropes, reference("llama_linear_rope-s0").architecture().ropes);
}

#[test]
fn blocks_expand_as_candle_expands_them_whole_or_by_rows() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("model.gguf");
    let model = reference("llama-s0");
    let names = ["model.layers.1.self_attn.k_proj.weight", "model.layers.0.mlp.down_proj.weight", EMBEDDING];
    let kinds = [GgmlDType::Q4_0, GgmlDType::Q4_1, GgmlDType::Q5_0, GgmlDType::Q5_1, GgmlDType::Q8_0, GgmlDType::BF16];
    for kind in kinds {
        write_gguf(&model, &path, kind, &[]);
        let gguf = Checkpoint::open(&path).unwrap();
        for name in names {
            let original = model.tensor(name, DType::F32).unwrap();
            // Rows keep their values wherever they stand, so quantising before or after reordering is the same.
            let expected = QTensor::quantize(&original, kind).unwrap().dequantize(&Device::Cpu).unwrap();
            let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(values(&gguf, name), expected, "{kind:?} {name}");
            let stored = gguf.stored(name).unwrap();
            let granule = stored.granule();
            assert_eq!(granule, if name.contains("k_proj") { 16 } else { 1 });
            let mut rows = vec![bf16::ZERO; granule * stored.columns()];
            stored.read_rows(granule, &mut rows).unwrap();
            let narrow = expected[rows.len()..2 * rows.len()].iter().map(|x| bf16::from_f32(*x));
            assert!(narrow.eq(rows), "{kind:?} {name}");
        }
    }
}

#[test]
fn damaged_gguf_files_are_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("model.gguf");
    let model = reference("llama-s0");
    write_gguf(&model, &path, GgmlDType::Q8_0, &[]);
    let whole = std::fs::read(&path).unwrap();
    for (len, expected) in
        [(whole.len() - 64, "ends outside the file"), (900, "not a whole GGUF file"), (20, "not a whole GGUF file")]
    {
        std::fs::write(&path, &whole[..len]).unwrap();
        let text = message(Checkpoint::open(&path));
        assert!(text.contains("model.gguf") && text.contains(expected), "{len}: {text}");
    }
    for (key, value, expected) in [
        ("general.architecture", Value::String("rwkv6".into()), "'rwkv6' is not known"),
        ("llama.expert_count", Value::U32(8), "llama.expert_used_count"),
        ("llama.expert_shared_count", Value::U32(1), "llama.expert_shared_count"),
        ("llama.rope.dimension_count", Value::U32(8), "llama.rope.dimension_count"),
        ("llama.rope.scaling.type", Value::String("su".into()), "su"),
        ("llama.feed_forward_length", Value::U32(256), "expected [256, 64]"),
        ("llama.attention.head_count", Value::String("x".into()), "llama.attention.head_count"),
    ] {
        write_gguf(&model, &path, GgmlDType::Q8_0, &[(key, value)]);
        let text = message(Checkpoint::open(&path));
        assert!(text.contains("model.gguf") && text.contains(expected), "{key}: {text}");
    }
}

#[test]
fn smollm2_is_read_as_candle_reads_it() {
    let folder = std::env::var_os("FT_TEST_MODEL_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/models"), PathBuf::from);
    let path = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(path.is_file(), "the tests need '{}': run 'make fetch'", path.display());
    let model = Checkpoint::open(&path).unwrap();
    let arch = model.architecture();
    assert_eq!((arch.num_layers, arch.hidden_size, arch.num_heads, arch.num_kv_heads), (30, 576, 9, 3));
    assert_eq!((arch.parameters(), arch.norm_eps), (134_515_008, 1e-5));
    assert!(arch.tie_word_embeddings && model.names().len() == 272);

    let mut source = std::fs::File::open(&path).unwrap();
    let content = gguf_file::Content::read(&mut source).unwrap();
    let mut candle = |name: &str| {
        let tensor = content.tensor(&mut source, name, &Device::Cpu).unwrap();
        tensor.dequantize(&Device::Cpu).unwrap()
    };
    let flat = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(values(&model, EMBEDDING), flat(candle("token_embd.weight")));
    assert_eq!(values(&model, FINAL_NORM), flat(candle("output_norm.weight")));
    assert_eq!(values(&model, "model.layers.29.mlp.down_proj.weight"), flat(candle("blk.29.ffn_down.weight")));
    let apart = candle("blk.7.attn_k.weight").reshape((3, 32, 2, 576)).unwrap().transpose(1, 2).unwrap();
    assert_eq!(values(&model, "model.layers.7.self_attn.k_proj.weight"), flat(apart.contiguous().unwrap()));
}
