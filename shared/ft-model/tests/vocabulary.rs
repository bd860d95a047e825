//! Embedding and head in a file's own blocks: what they take in memory, and that no bit of what is computed differs from
//! that of the same numbers in f32.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use common::testdata;
use ft_kernels::Compute;
use ft_kernels::philox::Stream;
use ft_kernels::quant::Kind;
use ft_model::Result;
use ft_model::batch::{Batch, Sequence};
use ft_model::checkpoint::Checkpoint;
use ft_model::decoder::{Decoder, DropoutKey, NeftuneKey};
use ft_model::generate::{Generator, Options};
use ft_model::layers::{Ends, LayerSource, LayerWeights, PackedFormat, Quantised, Weight};
use ft_model::lora::{Adapter, LoraConfig};
use ft_model::optimizer::{Optimizer, OptimizerConfig};
use ft_model::step::Step;

/// As many tokens as take more than one part to multiply with.
const TOKENS: usize = 9000;
const HIDDEN: usize = 256;
const EVERY: [PackedFormat; 3] =
    [PackedFormat::EightBit, PackedFormat::FourBit { kind: Kind::Nf4, double: true }, PackedFormat::AsIs];

/// Random numbers in a tensor of these blocks.
fn tensor(rows: usize, columns: usize, kind: GgmlDType, what: u64) -> QTensor {
    let mut values = vec![0.0; rows * columns];
    Stream::new(11, 0x77, what).fill_uniform(0, &mut values);
    values.iter_mut().for_each(|x| *x = (*x - 0.5) * 0.2);
    let shape = if columns == 1 { vec![rows] } else { vec![rows, columns] };
    QTensor::quantize(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap(), kind).unwrap()
}

/// A Llama of one layer with embedding and head in these blocks; without a head it is the embedding.
fn model(folder: &Path, embedding: GgmlDType, head: Option<GgmlDType>) -> PathBuf {
    let whole = |key: &'static str, value: usize| (key, Value::U32(value as u32));
    let metadata = [
        ("general.architecture", Value::String("llama".into())),
        whole("llama.block_count", 1),
        whole("llama.context_length", 64),
        whole("llama.embedding_length", HIDDEN),
        whole("llama.feed_forward_length", HIDDEN),
        whole("llama.attention.head_count", 4),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.freq_base", Value::F32(1e4)),
        whole("tokenizer.ggml.bos_token_id", 1),
        whole("tokenizer.ggml.eos_token_id", 2),
    ];
    let mut tensors = vec![("token_embd.weight".to_owned(), tensor(TOKENS, HIDDEN, embedding, 0))];
    tensors.extend(head.map(|kind| ("output.weight".to_owned(), tensor(TOKENS, HIDDEN, kind, 1))));
    let matrices = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    for (part, i) in matrices.iter().zip(2..) {
        tensors.push((format!("blk.0.{part}.weight"), tensor(HIDDEN, HIDDEN, GgmlDType::Q8_0, i)));
    }
    for (name, i) in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"].iter().zip(20..) {
        tensors.push((format!("{name}.weight"), tensor(HIDDEN, 1, GgmlDType::F32, i)));
    }
    let path = folder.join(format!("{embedding:?}-{head:?}.gguf"));
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    gguf_file::write(&mut std::fs::File::create(&path).unwrap(), &metadata, &tensors).unwrap();
    path
}

/// A source with its embedding and head in f32.
struct Widened {
    source: Quantised,
    embedding: Weight,
    head: Weight,
}

impl Widened {
    fn new(source: Quantised) -> Self {
        let widened = |table: &Weight| Weight::Float(table.widened().unwrap().to_dtype(DType::F32).unwrap());
        let (embedding, head) = (source.embedding().unwrap(), source.head().unwrap());
        let wide = widened(&embedding);
        Self { head: if head.is(&embedding) { wide.clone() } else { widened(&head) }, embedding: wide, source }
    }
}

impl LayerSource for Widened {
    fn layer(&self, i: usize) -> Result<Arc<LayerWeights>> {
        self.source.layer(i)
    }

    fn embedding(&self) -> Result<Weight> {
        Ok(self.embedding.clone())
    }

    fn head(&self) -> Result<Weight> {
        Ok(self.head.clone())
    }

    fn ends(&self) -> &Ends {
        self.source.ends()
    }

    fn held_bytes(&self) -> u64 {
        let tables = if self.head.is(&self.embedding) { 0 } else { self.head.bytes() };
        self.source.held_bytes() - self.source.vocabulary_bytes() + self.embedding.bytes() + tables
    }
}

/// The bits of all that two steps of training, an evaluation and some generation give.
#[derive(PartialEq)]
struct Found {
    losses: Vec<u64>,
    gradients: Vec<Vec<u32>>,
    adapter: Vec<Vec<u32>>,
    evaluated: Vec<u64>,
    answers: Vec<Vec<u32>>,
}

fn sequences(vocabulary: usize) -> Vec<Sequence> {
    let sequence = |i: usize| {
        let ids: Vec<u32> = (0..9 + 3 * i).map(|t| ((i * 7919 + t * 104_729) % vocabulary) as u32).collect();
        let labels = ids.iter().enumerate().map(|(t, &id)| if t % 3 == 0 { -100 } else { id as i32 });
        Sequence { labels: labels.collect(), input_ids: ids }
    };
    (0..3).map(sequence).collect()
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

fn run(checkpoint: &Checkpoint, source: &dyn LayerSource, save: &[&str]) -> Found {
    let arch = checkpoint.architecture();
    let mut config = LoraConfig::new(4, 8.0, "all-linear");
    if !save.is_empty() {
        config.other.insert("modules_to_save".into(), save.into());
    }
    let mut adapter = Adapter::init_on(arch, source, config, 5).unwrap();
    let mut optimizer = Optimizer::new(&adapter, OptimizerConfig::default()).unwrap();
    let sequences = sequences(arch.vocab_size);
    let (mut losses, mut gradients) = (Vec::new(), Vec::new());
    for number in 0..2 {
        let step = Step {
            dropout: Some(DropoutKey { p: 0.1, seed: 3, step: number }),
            neftune: Some(NeftuneKey { alpha: 5.0, seed: 3, step: number }),
            ..Step::alone(arch, source, u64::MAX)
        };
        let found = step.run(&adapter, &[Batch::new(&sequences)]).unwrap();
        losses.push(found.loss.to_bits());
        gradients.extend(found.gradients.iter().map(bits));
        optimizer.update(&mut adapter, &found.gradients, 1e-2, 1.0, step.ranks).unwrap();
    }
    let decoder = || Decoder { compute: Compute::cpu(), arch, source, adapter: Some(&adapter) };
    let evaluated = decoder().losses(&Batch::new(&sequences)).unwrap();
    let prompts: Vec<Vec<u32>> = sequences.iter().map(|s| s.input_ids[..5].to_vec()).collect();
    let options = Options { max_new_tokens: 4, batch_size: 2, end_ids: Vec::new() };
    let mut generator = Generator::new(decoder(), &prompts, options).unwrap();
    let mut answers = vec![Vec::new(); prompts.len()];
    let mut seen = Vec::new();
    while !generator.is_done() {
        let mut likeliest = |_: usize, logits: &Tensor| {
            seen.push(bits(logits));
            Ok(logits.argmax(0)?.to_scalar::<u32>()?)
        };
        for answer in generator.step(&mut likeliest).unwrap() {
            answers[answer.prompt] = answer.tokens;
        }
    }
    answers.extend(seen);
    Found {
        losses,
        gradients,
        adapter: adapter.trainable().map(|trained| bits(trained.tensor)).collect(),
        evaluated: evaluated.iter().map(|loss| loss.sum.to_bits()).collect(),
        answers,
    }
}

/// Holds the model as its file has it against the same widened.
fn compare(path: &Path, bits: PackedFormat, save: &[&str]) {
    let what = format!("{} {bits:?} {save:?}", path.display());
    let checkpoint = Checkpoint::open(path).unwrap();
    let load = || Quantised::load(&checkpoint, bits, |_| {}).unwrap();
    let (packed, widened) = (load(), Widened::new(load()));
    let (found, expected) = (run(&checkpoint, &packed, save), run(&checkpoint, &widened, save));
    assert!(found.losses == expected.losses && found.evaluated == expected.evaluated, "{what}: losses");
    assert!(found.gradients.iter().flatten().any(|&x| f32::from_bits(x) != 0.0));
    assert!(found.gradients == expected.gradients && found.adapter == expected.adapter, "{what}: gradients");
    assert!(found.answers == expected.answers, "{what}: answers");
    // What is saved is exactly what the blocks are smaller by.
    let names = checkpoint.architecture().names();
    let mut saved = 0;
    for name in [names.embedding, names.head] {
        let Ok(stored) = checkpoint.stored(&format!("{name}.weight")) else { continue };
        saved += 4 * stored.elements() - stored.bytes();
    }
    assert!(saved > 0, "{what}");
    assert_eq!(widened.held_bytes() - packed.held_bytes(), saved as u64, "{what}");
}

#[test]
fn blocks_of_every_kind_change_no_bit() {
    use GgmlDType::{F16, Q4_0, Q4_1, Q4K, Q5_0, Q5K, Q6K, Q8_0};
    let folder = tempfile::tempdir().unwrap();
    for (embedding, head) in
        [(Q4K, Some(Q6K)), (Q6K, None), (Q8_0, Some(Q5K)), (F16, Some(Q4_1)), (Q5_0, Some(F16)), (Q4_0, None)]
    {
        compare(&model(folder.path(), embedding, head), PackedFormat::AsIs, &[]);
    }
}

#[test]
fn the_layers_may_be_held_in_any_bits() {
    for name in ["llama3_rope-s5.q8_0.gguf", "phi3_longrope-s16.q8_0.gguf"] {
        for bits in EVERY {
            compare(&testdata().join("gguf").join(name), bits, &[]);
        }
    }
}

#[test]
fn modules_that_are_saved_begin_with_the_blocks_numbers() {
    let path = testdata().join("gguf/llama3_rope-s5.q8_0.gguf");
    for save in [&["lm_head"][..], &["embed_tokens"], &["lm_head", "embed_tokens"]] {
        compare(&path, PackedFormat::AsIs, save);
    }
    let folder = tempfile::tempdir().unwrap();
    compare(&model(folder.path(), GgmlDType::Q6K, None), PackedFormat::AsIs, &["lm_head"]);
}

/// The bits of a step's gradients with its sequences cut into batches at these places.
fn gradients(checkpoint: &Checkpoint, source: &dyn LayerSource, adapter: &Adapter, cuts: &[usize]) -> Vec<Vec<u32>> {
    let sequences = sequences(checkpoint.architecture().vocab_size);
    let batches: Vec<Batch> = cuts.windows(2).map(|cut| Batch::new(&sequences[cut[0]..cut[1]])).collect();
    let step = Step {
        dropout: Some(DropoutKey { p: 0.3, seed: 3, step: 1 }),
        ..Step::alone(checkpoint.architecture(), source, 0)
    };
    step.run(adapter, &batches).unwrap().gradients.iter().map(bits).collect()
}

#[test]
fn adapters_of_embedding_and_head_do_not_depend_on_how_a_step_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path(), GgmlDType::Q4K, Some(GgmlDType::Q6K));
    let checkpoint = Checkpoint::open(&path).unwrap();
    let arch = checkpoint.architecture();
    let source = Quantised::load(&checkpoint, PackedFormat::AsIs, |_| {}).unwrap();
    let widened = Widened::new(Quantised::load(&checkpoint, PackedFormat::AsIs, |_| {}).unwrap());
    for targets in ["embed_tokens,q_proj", "lm_head", "lm_head,embed_tokens,down_proj"] {
        let mut config = LoraConfig::new(4, 8.0, targets);
        config.init_lora_weights = false.into();
        let adapter = Adapter::init(arch, config, 5).unwrap();
        let whole = gradients(&checkpoint, &source, &adapter, &[0, 3]);
        assert!(whole.iter().all(|gradient| gradient.iter().any(|&x| f32::from_bits(x) != 0.0)), "{targets}");
        assert!(gradients(&checkpoint, &source, &adapter, &[0, 1, 2, 3]) == whole, "{targets}");
        assert!(gradients(&checkpoint, &widened, &adapter, &[0, 2, 3]) == whole, "{targets}");
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(pool.install(|| gradients(&checkpoint, &source, &adapter, &[0, 1, 3])) == whole, "{targets}");
        }
    }
}

#[test]
fn tied_ones_are_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(&model(folder.path(), GgmlDType::Q6K, None)).unwrap();
    let source = Quantised::load(&checkpoint, PackedFormat::AsIs, |_| {}).unwrap();
    let (embedding, head) = (source.embedding().unwrap(), source.head().unwrap());
    assert!(head.is(&embedding));
    assert_eq!(source.vocabulary_bytes(), embedding.bytes());
    assert_eq!(embedding.bytes() as usize, TOKENS * HIDDEN / 256 * 210, "a block of Q6_K has 210 bytes");
}

#[test]
fn a_look_up_is_the_rows_of_the_whole_matrix() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(&model(folder.path(), GgmlDType::Q4K, None)).unwrap();
    let table = Quantised::load(&checkpoint, PackedFormat::AsIs, |_| {}).unwrap().embedding().unwrap();
    let ids = [TOKENS as u32 - 1, 0, 17, 17, 4096];
    let rows = table.look_up(&ids).unwrap();
    let whole = table.widened().unwrap().index_select(&Tensor::new(&ids, &Device::Cpu).unwrap(), 0).unwrap();
    assert_eq!(bits(&rows), bits(&whole));
    assert!(table.look_up(&[TOKENS as u32]).is_err());
}
