//! The matrix products that training is made of, each measured alone.

use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use ft_kernels::backend::Isa;
use ft_kernels::gemm::{Mat, MatMut, Rhs, matmul};
use ft_kernels::philox::Stream;
use ft_model::{Architecture, Checkpoint};
use ft_plot::{Bar, Panel, figure};
use half::{bf16, f16};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::args::MatmulArgs;
use crate::bounds::{self, product};
use crate::machine;
use crate::report::{Report, median};
use crate::table::Table;

/// The random stream of the operands.
const OPERANDS: u32 = 1;
/// A measurement takes at least this long; small products are repeated within it.
const SECONDS: f64 = 0.005;
/// Tokens of a sequence in the products that are formed a sequence at a time.
const SEQUENCE: usize = 256;

/// The type of a product's right side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    F32,
    Bf16,
    F16,
}

impl Element {
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

/// A product `[m, k]·[k, n]` as the engine calls it.
#[derive(Debug, Clone, Serialize)]
pub struct TimedProduct {
    /// What it computes.
    pub name: &'static str,
    pub m: usize,
    pub k: usize,
    pub n: usize,
    /// How the right side is stored.
    pub rhs: Element,
    /// The left side is stored as `[k, m]`.
    lhs_transposed: bool,
    /// The right side is stored as `[n, k]`.
    rhs_transposed: bool,
}

impl TimedProduct {
    /// `x·Wᵀ`, a forward.
    fn forward(name: &'static str, m: usize, k: usize, n: usize) -> Self {
        Self { name, m, k, n, rhs: Element::F32, lhs_transposed: false, rhs_transposed: true }
    }

    /// `dy·W`, a backward.
    fn backward(name: &'static str, m: usize, k: usize, n: usize) -> Self {
        Self { rhs_transposed: false, ..Self::forward(name, m, k, n) }
    }

    /// `dyᵀ·x`, the gradient of a matrix.
    fn gradient(name: &'static str, m: usize, k: usize, n: usize) -> Self {
        Self { lhs_transposed: true, ..Self::backward(name, m, k, n) }
    }

    fn of(self, rhs: Element) -> Self {
        Self { rhs, ..self }
    }

    fn label(&self) -> String {
        format!("{} {}×{}×{} {}", self.name, self.m, self.k, self.n, self.rhs.name())
    }

    fn flops(&self) -> f64 {
        2.0 * (self.m * self.k) as f64 * self.n as f64
    }

    /// Bytes of its operands and its result.
    fn bytes(&self) -> Option<u64> {
        let sides = [[self.m, self.k], [self.k, self.n], [self.m, self.n]];
        let elements = sides.iter().try_fold(0u64, |all, side| all.checked_add(product(side)?))?;
        elements.checked_mul(size_of::<f32>() as u64)
    }

    /// GFLOP/s of `repeats` measurements on the threads of the current pool.
    fn measure(&self, repeats: usize) -> Result<Vec<f64>> {
        let random = |index: u64, len: usize| {
            let mut values = vec![0.0; len];
            Stream::new(0, OPERANDS, index).fill_uniform(0, &mut values);
            values
        };
        let (lhs, rhs) = (random(0, self.m * self.k), random(1, self.k * self.n));
        match self.rhs {
            Element::F32 => self.time(&lhs, |rows, cols| Rhs::F32(Mat::new(&rhs, rows, cols)), repeats),
            Element::Bf16 => {
                let narrow: Vec<bf16> = rhs.iter().map(|&x| bf16::from_f32(x)).collect();
                self.time(&lhs, |rows, cols| Rhs::Bf16(Mat::new(&narrow, rows, cols)), repeats)
            }
            Element::F16 => {
                let narrow: Vec<f16> = rhs.iter().map(|&x| f16::from_f32(x)).collect();
                self.time(&lhs, |rows, cols| Rhs::F16(Mat::new(&narrow, rows, cols)), repeats)
            }
        }
    }

    fn time<'b>(&self, lhs: &[f32], rhs: impl Fn(usize, usize) -> Rhs<'b>, repeats: usize) -> Result<Vec<f64>> {
        let Self { m, k, n, .. } = *self;
        let lhs = if self.lhs_transposed { Mat::new(lhs, k, m).t() } else { Mat::new(lhs, m, k) };
        let rhs = if self.rhs_transposed { rhs(n, k).t() } else { rhs(k, n) };
        let mut out = vec![0.0; m * n];
        let mut once = || {
            let started = Instant::now();
            matmul(Isa::best(), lhs, rhs, &mut MatMut::new(&mut out, m, n), false);
            started.elapsed().as_secs_f64()
        };
        // Not measured: it finds the buffers cold, and tells how often to call.
        let calls = (SECONDS / once().max(1e-9)).ceil().max(1.0);
        let mut gflops = Vec::new();
        for _ in 0..repeats {
            ft_io::interrupt::check()?;
            let seconds = (0..calls as usize).map(|_| once()).sum::<f64>() / calls;
            gflops.push(self.flops() / seconds / 1e9);
        }
        Ok(gflops)
    }
}

/// The sizes that products take from a model.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    hidden: usize,
    intermediate: usize,
    vocabulary: usize,
}

/// SmolLM2-135M.
const SMOLLM2: Sizes = Sizes { hidden: 576, intermediate: 1536, vocabulary: 49152 };

impl From<&Architecture> for Sizes {
    fn from(arch: &Architecture) -> Self {
        Self { hidden: arch.hidden_size, intermediate: arch.intermediate_size, vocabulary: arch.vocab_size }
    }
}

/// The wide products, in f32: one of them is this machine's best.
fn wide(sizes: Sizes, tokens: usize) -> Vec<TimedProduct> {
    let Sizes { hidden, intermediate, vocabulary } = sizes;
    vec![
        TimedProduct::forward("up, x·Wᵀ", tokens, hidden, intermediate),
        TimedProduct::forward("down, x·Wᵀ", tokens, intermediate, hidden),
        TimedProduct::backward("up, dy·W", tokens, intermediate, hidden),
        TimedProduct::forward("head, x·Wᵀ", tokens, hidden, vocabulary),
        TimedProduct::forward("square", 2048, 2048, 2048),
    ]
}

/// All of them, narrow types and adapters too.
fn products(sizes: Sizes, tokens: usize, r: usize) -> Vec<TimedProduct> {
    let Sizes { hidden, intermediate, vocabulary } = sizes;
    let mut all = wide(sizes, tokens);
    for element in [Element::Bf16, Element::F16] {
        all.push(TimedProduct::forward("up, x·Wᵀ", tokens, hidden, intermediate).of(element));
        all.push(TimedProduct::backward("up, dy·W", tokens, intermediate, hidden).of(element));
        all.push(TimedProduct::forward("head, x·Wᵀ", tokens, hidden, vocabulary).of(element));
    }
    let sequence = tokens.min(SEQUENCE);
    all.extend([
        TimedProduct::forward("adapter, x·Aᵀ", tokens, hidden, r),
        TimedProduct::forward("adapter, u·Bᵀ", tokens, r, intermediate),
        TimedProduct::gradient("adapter, dA", r, sequence, hidden),
        TimedProduct::gradient("adapter, dB", intermediate, sequence, r),
    ]);
    all
}

/// The fastest run of the wide products at this model's sizes, on the threads of the current pool: what a share of
/// this machine is a share of.
pub fn best(arch: &Architecture, tokens: usize, repeats: usize) -> Result<(TimedProduct, f64)> {
    let mut found: Option<(TimedProduct, f64)> = None;
    for product in wide(arch.into(), tokens) {
        let gflops = product.measure(repeats)?.into_iter().fold(0.0, f64::max);
        if found.as_ref().is_none_or(|(_, best)| gflops > *best) {
            found = Some((product, gflops));
        }
    }
    found.context("no product was measured")
}

/// Refuses the products of so many tokens where the machine could not hold them.
pub fn require_memory(arch: &Architecture, tokens: usize, asked: &str) -> Result<()> {
    require_each(&wide(arch.into(), tokens), asked)
}

fn require_each(products: &[TimedProduct], asked: &str) -> Result<()> {
    products.iter().try_for_each(|product| bounds::require_memory(asked, product.bytes()))
}

/// The fastest run, in GFLOP/s, of a large square product of f32 on a device.
pub fn best_on(device: &Device, repeats: usize) -> Result<f64> {
    const N: usize = 4096;
    let side = Tensor::ones((N, N), DType::F32, device)?;
    let mut best = 0.0f64;
    // The first one also waits for the device to start.
    for _ in 0..=repeats {
        device.synchronize()?;
        let started = Instant::now();
        let product = side.matmul(&side)?;
        device.synchronize()?;
        best = best.max(2.0 * (N as f64).powi(3) / started.elapsed().as_secs_f64() / 1e9);
        drop(product);
    }
    Ok(best)
}

/// `ft-bench matmul`
pub fn run(args: &MatmulArgs, threads: usize) -> Result<Report> {
    let sizes = match &args.model {
        Some(path) => Sizes::from(Checkpoint::open(path)?.architecture()),
        None => SMOLLM2,
    };
    let products = products(sizes, args.tokens, args.lora_r);
    require_each(&products, &format!("--tokens {} with --lora-r {}", args.tokens, args.lora_r))?;
    let counts = if threads > 1 { vec![1, threads] } else { vec![1] };
    let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().context("cannot start a thread")?;
    let bar = ft_cli::progress(Some((products.len() * counts.len()) as u64), "products");
    let mut found = Vec::new();
    for product in &products {
        let mut gflops = Vec::new();
        for &count in &counts {
            bar.set_message(format!("{}, {}", product.label(), plural(count)));
            // With more than one thread it is the program's own pool, which `--threads` has sized.
            let measured = if count == 1 {
                single.install(|| product.measure(args.repeats))?
            } else {
                product.measure(args.repeats)?
            };
            gflops.push(median(&measured));
            bar.inc(1);
        }
        tracing::debug!("{}: {gflops:?} GFLOP/s", product.label());
        found.push((product, gflops));
    }
    bar.finish();
    Ok(report(args, threads, &counts, &found))
}

fn report(args: &MatmulArgs, threads: usize, counts: &[usize], found: &[(&TimedProduct, Vec<f64>)]) -> Report {
    let names: Vec<String> = counts.iter().map(|&count| plural(count)).collect();
    let head: Vec<&str> = ["product m×k×n", "right side"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let mut table = Table::new(&head);
    let (mut bars, mut rows) = (Vec::new(), Vec::new());
    for (product, gflops) in found {
        let shape = format!("{} {}×{}×{}", product.name, product.m, product.k, product.n);
        let cells = gflops.iter().map(|g| figure(*g));
        table.row(&[shape, product.rhs.name().to_owned()].into_iter().chain(cells).collect::<Vec<_>>());
        for ((value, name), count) in gflops.iter().zip(&names).zip(counts) {
            bars.push(Bar { label: product.label(), series: name.clone(), value: *value });
            let mut row = json!(product);
            row["threads"] = json!(count);
            row["gflops"] = json!(value);
            rows.push(row);
        }
    }
    let best = counts.iter().enumerate().filter_map(|(i, &count)| {
        let f32s = found.iter().filter(|(product, _)| product.rhs == Element::F32);
        let (product, gflops) = f32s.max_by(|a, b| a.1[i].total_cmp(&b.1[i]))?;
        Some(json!({"threads": count, "gflops": gflops[i], "product": product.label()}))
    });
    let best: Vec<Value> = best.collect();
    let notes = best.iter().map(|best| {
        let gflops = best["gflops"].as_f64().unwrap_or(f64::NAN);
        let count = best["threads"].as_u64().unwrap_or_default() as usize;
        format!(
            "best on {}: {} GFLOP/s ({})",
            plural(count),
            figure(gflops),
            best["product"].as_str().unwrap_or_default()
        )
    });
    Report {
        benchmark: "matmul",
        machine: machine::describe(threads),
        notes: std::iter::once("GFLOP/s, the median of the measurements".to_owned()).chain(notes).collect(),
        figures: Map::from_iter([
            ("tokens".to_owned(), json!(args.tokens)),
            ("lora_r".to_owned(), json!(args.lora_r)),
            ("repeats".to_owned(), json!(args.repeats)),
            ("products".to_owned(), json!(rows)),
            ("best".to_owned(), json!(best)),
        ]),
        tables: vec![table],
        panels: vec![Panel { title: "matrix products, GFLOP/s".into(), bars }],
        scatter: None,
    }
}

fn plural(threads: usize) -> String {
    if threads == 1 { "1 thread".into() } else { format!("{threads} threads") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_of_a_tiny_model_can_be_measured() {
        let sizes = Sizes { hidden: 24, intermediate: 40, vocabulary: 50 };
        for product in products(sizes, 33, 3) {
            let product = if product.name == "square" { TimedProduct::forward("square", 64, 64, 64) } else { product };
            let gflops = median(&product.measure(1).unwrap());
            assert!(gflops.is_finite() && gflops > 0.0, "{}: {gflops}", product.label());
        }
    }
}
