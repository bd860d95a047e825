//! Times every operator at the shapes of a training step of SmolLM2-135M: 4 sequences of 256 tokens.
//!
//! `cargo run --release -p ft-kernels --example operators`

use std::hint::black_box;
use std::time::{Duration, Instant};

use candle_core::Tensor;
use ft_kernels::activation::{Activation, gated, gated_backward_inplace};
use ft_kernels::attention::{AttentionSpec, KeyValue, attention, attention_backward, attention_decode};
use ft_kernels::backend::{Compute, Isa};
use ft_kernels::optim::{AdamW, adamw_step, squares_of_blocks};
use ft_kernels::philox::{Stream, dropout_scale};
use ft_kernels::rope::{Direction, RopeTables, rope};
use ft_kernels::{Result, loss, memory, norm, tensor};

const TOKENS: usize = 1024;
const HIDDEN: usize = 576;
const INTER: usize = 1536;
const VOCABULARY: usize = 49152;
const EPS: f64 = 1e-5;

fn main() -> Result<()> {
    memory::keep_freed_pages();
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let Ok(pool) = pool else { continue };
        println!("{threads} thread(s), {:?}", Isa::best());
        pool.install(measure)?;
    }
    Ok(())
}

fn measure() -> Result<()> {
    elementwise()?;
    attention_both_ways(&[0, 256, 512, 768, 1024])?;
    attention_both_ways(&[0, 1024])?;
    attention_both_ways(&(0..=16).map(|i| i * 64).collect::<Vec<_>>())?;
    decode()?;
    losses()?;
    flat()
}

fn elementwise() -> Result<()> {
    let (x, dy, w) = (random(TOKENS, HIDDEN)?, random(TOKENS, HIDDEN)?, tensor::from_vec(vec![1.0; HIDDEN], HIDDEN)?);
    time("rms_norm", || norm::rms_norm(Compute::cpu(), &x, &w, EPS))?;
    time("rms_norm_backward_add", || norm::rms_norm_backward_add(Compute::cpu(), &dy, &x, &w, EPS, &dy))?;
    let gate_up = random(TOKENS, 2 * INTER)?;
    let dh = random(TOKENS, INTER)?;
    for activation in [Activation::Silu, Activation::GeluTanh, Activation::Gelu] {
        time(&format!("gated, {activation:?}"), || gated(Compute::cpu(), &gate_up, activation))?;
        let backward = || gated_backward_inplace(Compute::cpu(), &dh, gate_up.clone(), activation);
        time(&format!("gated_backward_inplace, {activation:?}"), backward)?;
    }
    let qkv = random(TOKENS, 960)?;
    let frequencies: Vec<f64> = (0..32).map(|i| 1e5f64.powf(-f64::from(i) / 32.0)).collect();
    time("rope tables", || Ok(RopeTables::for_sequences(&[0, 256, 512, 768, 1024], &frequencies, 1.0)))?;
    let tables = RopeTables::for_sequences(&[0, 256, 512, 768, 1024], &frequencies, 1.0);
    time("rope", || rope(Compute::cpu(), qkv.clone(), &tables, 12, 64, Direction::Forward)).map(drop)
}

fn attention_both_ways(starts: &[usize]) -> Result<()> {
    let spec = spec();
    let (qkv, dout) = (random(TOKENS, 960)?, random(TOKENS, HIDDEN)?);
    let (out, lse) = attention(Compute::cpu(), &qkv, &spec, starts)?;
    // Multiply-adds of one product of queries and keys, the causal half alone.
    let pairs: usize = starts.windows(2).map(|w| (w[1] - w[0]) * (w[1] - w[0] + 1) / 2).sum();
    let flops = 2.0 * (pairs * HIDDEN) as f64;
    let name = format!("{} x {}", starts.len() - 1, starts[1]);
    let t = time(&format!("attention {name}"), || attention(Compute::cpu(), &qkv, &spec, starts))?;
    println!("{:>50.1} GFLOP/s", 2.0 * flops / t.as_secs_f64() / 1e9);
    let t = time(&format!("attention_backward {name}"), || {
        attention_backward(Compute::cpu(), &dout, &qkv, &out, &lse, &spec, starts)
    })?;
    println!("{:>50.1} GFLOP/s", 5.0 * flops / t.as_secs_f64() / 1e9);
    Ok(())
}

fn decode() -> Result<()> {
    let (sequences, tokens) = (8, 300);
    let q = random(sequences, HIDDEN)?;
    let (keys, values) = (numbers(tokens * 192), numbers(tokens * 192));
    let caches = vec![KeyValue { keys: &keys, values: &values }; sequences];
    time("attention_decode, 8 of 300 tokens", || attention_decode(Compute::cpu(), &q, &caches, &spec())).map(drop)
}

fn losses() -> Result<()> {
    let targets: Vec<u32> = (0..256).map(|i| i * 191).collect();
    let logits = random(256, VOCABULARY)?;
    let shape = loss::LogitShape::default();
    time("cross_entropy_forward, 256 rows", || loss::cross_entropy_forward(Compute::cpu(), &logits, &targets, shape))?;
    time("cross_entropy, 256 rows", || loss::cross_entropy(Compute::cpu(), logits.clone(), &targets, 1.0, shape))?;
    let shape = loss::LogitShape { scale: 1.0, softcap: Some(30.0) };
    time("cross_entropy with a softcap, 256 rows", || {
        loss::cross_entropy(Compute::cpu(), logits.clone(), &targets, 1.0, shape)
    })
    .map(drop)
}

fn flat() -> Result<()> {
    let len = 4_884_480;
    let (mut param, grad) = (numbers(len), numbers(len));
    let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
    let adamw = AdamW { lr: 1e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, step: 3 };
    time("adamw_step, 4.9 million", || {
        adamw_step(Isa::best(), &mut param, &grad, &mut m, &mut v, adamw);
        Ok(())
    })?;
    time("squares_of_blocks, 4.9 million", || Ok(squares_of_blocks(&grad)))?;
    let stream = Stream::new(1, 2, 3);
    let mut factors = vec![0.0; TOKENS * INTER];
    time("dropout_scale [1024, 1536]", || {
        dropout_scale(Isa::best(), &stream, 0, INTER, 0.05, &mut factors);
        Ok(())
    })?;
    time("fill_uniform [1024, 1536]", || {
        stream.fill_uniform(0, &mut factors);
        Ok(())
    })
    .map(drop)
}

fn spec() -> AttentionSpec {
    AttentionSpec { num_heads: 9, num_kv_heads: 3, head_dim: 64, scale: 0.125, sliding_window: None, softcap: None }
}

fn numbers(len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    Stream::new(7, 0, len as u64).fill_uniform(0, &mut values);
    values.iter().map(|x| 2.0 * x - 1.0).collect()
}

fn random(rows: usize, columns: usize) -> Result<Tensor> {
    Ok(tensor::from_vec(numbers(rows * columns), (rows, columns))?)
}

/// The shortest of several runs, printed.
fn time<R>(name: &str, mut work: impl FnMut() -> Result<R>) -> Result<Duration> {
    let mut best = Duration::MAX;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(200) {
        let start = Instant::now();
        black_box(work()?);
        best = best.min(start.elapsed());
    }
    println!("{name:<40} {:>9.3} ms", best.as_secs_f64() * 1e3);
    Ok(best)
}
