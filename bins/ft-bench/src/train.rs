//! Real training steps on random tokens.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::Device;
use ft_cli::Usage;
use ft_kernels::backend::{Compute, Precision, is_host};
use ft_kernels::philox::Stream;
use ft_model::batch::Sequence;
use ft_model::decoder::Decoder;
use ft_model::layers::{self, LayerSource, Resident};
use ft_model::lora::{Adapter, LoraConfig};
use ft_model::step::StepResult;
use ft_model::{Architecture, Checkpoint};
use ft_plot::{Bar, Panel, figure};
use ft_trainer::data::dataset::Dataset;
use ft_trainer::engine::setup::Setup;
use ft_trainer::json::Entry;
use ft_trainer::options::{
    EvaluationOptions, Interval, LogOptions, MemoryOptions, Options, RowOptions, SaveStrategy, SchedulerType,
    TrainingOptions,
};
use ft_trainer::run::Observer;
use ft_trainer::run::trainer::{Outlets, Trainer};
use ft_trainer::run::trainer_state::TrainerState;
use serde_json::{Map, json};

use crate::args::TrainArgs;
use crate::bounds::{self, product};
use crate::flops::StepFlops;
use crate::machine;
use crate::matmul;
use crate::profile::{Floors, Key, Listener, Profile, Spent, copy_rate};
use crate::report::{Report, median};
use crate::table::Table;

/// The random stream of the tokens; the adapter's own have other numbers.
const TOKENS: u32 = 0x100;
const LEARNING_RATE: f64 = 1e-4;
const MAX_GRAD_NORM: f64 = 1.0;
/// Of a token and its label.
const BYTES_A_TOKEN: usize = 8;
/// Measurements of each product that the steps are held against.
const REPEATS: usize = 3;
const MEGABYTE: f64 = 1e6;

/// What the steps took.
struct Measured {
    /// From the program's start to the first step's.
    to_first_step: f64,
    /// Of each step.
    seconds: Vec<f64>,
    losses: Vec<f64>,
    flops: StepFlops,
    recomputed_layers: usize,
    activation_memory: u64,
    frozen_bytes: u64,
    peak_bytes: Option<u64>,
    /// What `--profile` heard.
    heard: Option<Vec<(Key, Spent)>>,
    adapter: Adapter,
}

/// `ft-bench train`
pub fn run(args: &TrainArgs, threads: usize, started: Instant) -> Result<Report> {
    let device = ft_model::device::named(args.device.device)?;
    let precision = Precision { tf32: args.tf32, ..Precision::F32 };
    let compute = ft_model::device::compute(args.device.device, &device, args.device.reference_operators, precision);
    let model = Model::open(args)?;
    let arch = model.architecture();
    if args.seq_len > arch.max_position_embeddings {
        bail!(Usage(format!(
            "--seq-len {} is longer than the {} tokens that '{}' takes",
            args.seq_len,
            arch.max_position_embeddings,
            args.model.display()
        )));
    }
    require_memory(args, &arch, &device)?;
    options(args)?;
    let measured = steps(args, compute, &arch, model.load(args, &device)?, started)?;
    let best = if args.no_best_product { None } else { Some(best_product(args, &arch, &device)?) };
    let mut report = report(args, threads, &arch, &measured, best);
    if let Some(heard) = &measured.heard {
        let profile = Profile::new(heard.clone(), measured.seconds.iter().sum(), measured.seconds.len(), threads);
        let floors = best.filter(|_| is_host(&device)).map(|(_, gflops)| Floors {
            arch: &arch,
            adapter: &measured.adapter,
            sequences: args.batch_size,
            length: args.seq_len,
            flops: gflops * 1e9,
            bytes: copy_rate(),
        });
        report.tables.push(profile.table(floors.as_ref()));
        report.figures.insert("profile".into(), profile.figures(floors.as_ref()));
    }
    report.figures.insert("device".into(), ft_model::device::describe(&device).into());
    report.notes.push(format!("computed on {}", ft_model::device::describe(&device)));
    Ok(report)
}

/// The rows of a step, and the products that it is held against, have room.
fn require_memory(args: &TrainArgs, arch: &Architecture, device: &Device) -> Result<()> {
    let asked = format!("--batch-size {} × --seq-len {}", args.batch_size, args.seq_len);
    // An id and a label a token.
    bounds::require_memory(&asked, product(&[args.batch_size, args.seq_len, 8]))?;
    if args.no_best_product || !device.is_cpu() {
        return Ok(());
    }
    matmul::require_memory(arch, args.batch_size * args.seq_len, &asked)
}

/// The product that the steps are held against, and its GFLOP/s.
fn best_product(args: &TrainArgs, arch: &Architecture, device: &Device) -> Result<(&'static str, f64)> {
    let bar = ft_cli::progress(None, "the best product");
    let found = if is_host(device) {
        let (product, best) = matmul::best(arch, args.batch_size * args.seq_len, REPEATS)?;
        (product.name, best)
    } else {
        ("4096 × 4096 × 4096", matmul::best_on(device, REPEATS)?)
    };
    bar.finish();
    Ok(found)
}

/// Where weights come from.
enum Model {
    Stored(Checkpoint),
    /// `config.json` alone.
    Random(Architecture),
}

impl Model {
    fn open(args: &TrainArgs) -> Result<Self> {
        if !args.random_weights {
            return Ok(Self::Stored(Checkpoint::open(&args.model)?));
        }
        let path = args.model.join("config.json");
        let text = std::fs::read(&path).with_context(|| format!("cannot read '{}'", path.display()))?;
        let config = serde_json::from_slice(&text).with_context(|| format!("'{}' is no JSON", path.display()))?;
        Ok(Self::Random(Architecture::from_config(&config).with_context(|| format!("'{}'", path.display()))?))
    }

    fn architecture(&self) -> Architecture {
        match self {
            Self::Stored(checkpoint) => checkpoint.architecture().clone(),
            Self::Random(arch) => arch.clone(),
        }
    }

    fn load(&self, args: &TrainArgs, device: &Device) -> Result<Box<dyn LayerSource>> {
        let bar = ft_cli::progress(Some(self.architecture().num_layers as u64), "loading");
        let loaded: Box<dyn LayerSource> = match self {
            Self::Stored(checkpoint) => {
                layers::open(
                    checkpoint,
                    args.load_in
                        .with_four_bit(args.four_bit.bnb_4bit_quant_type, args.four_bit.bnb_4bit_use_double_quant),
                    (device, None),
                    |_| bar.inc(1),
                )?
                .source
            }
            Self::Random(arch) => {
                let float = args.load_in.float().ok_or_else(|| {
                    Usage(format!("--random-weights are floats; --load-in {} takes a model's own", args.load_in.name()))
                })?;
                Box::new(Resident::random(device, arch, float, args.seed)?)
            }
        };
        bar.finish();
        Ok(loaded)
    }
}

/// Takes the steps, and notes the memory before anything else is measured.
fn steps(
    args: &TrainArgs,
    compute: Compute,
    arch: &Architecture,
    source: Box<dyn LayerSource>,
    started: Instant,
) -> Result<Measured> {
    let options = options(args)?;
    let adapter = Adapter::init(arch, options.lora.clone(), args.seed)?;
    let rows = (0..args.max_steps).flat_map(|step| rows(args, arch.vocab_size, step)).collect();
    let mut setup = Setup::of_parts(&options, arch.clone(), source, adapter, Dataset::of("random tokens", rows));
    setup.progress = Arc::new(ft_cli::Bars);
    setup.compute = compute;
    // A step is cut to the budget; a layer is computed twice only where one row does not fit it.
    let decoder = Decoder { compute, arch, source: &*setup.source, adapter: Some(&setup.adapter) };
    let recomputed_layers = decoder.recomputed_layers(args.seq_len, setup.activation_memory);
    let flops = StepFlops::new(arch, &setup.adapter, args.batch_size, args.seq_len);
    let (activation_memory, frozen_bytes) = (setup.activation_memory, setup.source.held_bytes());
    let tokens = args.batch_size * args.seq_len;
    let mut watch = Stopwatch { tokens, started, to_first_step: 0.0, step: started, seconds: vec![], losses: vec![] };
    let mut trainer = Trainer::new(&options, setup, &mut (), started)?;
    let outlets = &mut Outlets { observer: &mut watch, checkpoints: &mut () };
    let heard = if args.profile {
        let listener = Arc::new(Listener::new());
        tracing::dispatcher::with_default(&Arc::clone(&listener).into(), || trainer.take_steps(outlets))?;
        Some(listener.take(rayon::current_num_threads()))
    } else {
        trainer.take_steps(outlets)?;
        None
    };
    Ok(Measured {
        to_first_step: watch.to_first_step,
        seconds: watch.seconds,
        losses: watch.losses,
        flops,
        recomputed_layers,
        activation_memory,
        frozen_bytes,
        peak_bytes: ft_model::device::peak_bytes(trainer.setup.source.device()),
        heard,
        adapter: trainer.setup.adapter,
    })
}

/// What the trainer is asked for: as many steps over as many rows, each row once.
fn options(args: &TrainArgs) -> Result<Options> {
    let rows = args.batch_size.checked_mul(args.max_steps);
    let bytes = rows.and_then(|rows| rows.checked_mul(args.seq_len)?.checked_mul(BYTES_A_TOKEN));
    let room = ft_kernels::memory::available_bytes().unwrap_or(u64::MAX);
    let (Ok(batch_size), Some(_)) = (u32::try_from(args.batch_size), bytes.filter(|&bytes| bytes as u64 <= room))
    else {
        bail!(Usage(format!(
            "--batch-size {} × --seq-len {} × --max-steps {} are more tokens than this machine's memory holds; take fewer",
            args.batch_size, args.seq_len, args.max_steps
        )));
    };
    Ok(Options {
        lora: LoraConfig::new(args.lora_r, 2.0 * args.lora_r as f64, "all-linear"),
        training: TrainingOptions {
            learning_rate: LEARNING_RATE,
            lr_scheduler_type: SchedulerType::Constant,
            max_steps: Some(args.max_steps as u64),
            per_device_train_batch_size: batch_size,
            max_grad_norm: MAX_GRAD_NORM,
            seed: args.seed,
            ..TrainingOptions::default()
        },
        rows: RowOptions { shuffle: false, ..RowOptions::default() },
        log: LogOptions { logging_strategy: Interval::No, ..LogOptions::default() },
        evaluation: EvaluationOptions { save_strategy: SaveStrategy::No, ..EvaluationOptions::default() },
        memory: MemoryOptions { activation_memory: args.activation_memory, ..MemoryOptions::default() },
        ..Options::default()
    })
}

/// Measures each step.
struct Stopwatch {
    tokens: usize,
    /// When the program began, and when the step did.
    started: Instant,
    step: Instant,
    to_first_step: f64,
    seconds: Vec<f64>,
    losses: Vec<f64>,
}

impl Observer for Stopwatch {
    fn started(&mut self, _: &TrainerState, _: &Entry) -> ft_trainer::Result<()> {
        self.to_first_step = self.started.elapsed().as_secs_f64();
        self.step = Instant::now();
        Ok(())
    }

    fn computed(&mut self, _: u64, found: &StepResult) -> ft_trainer::Result<()> {
        self.losses.push(found.loss);
        Ok(())
    }

    fn stepped(&mut self, step: u64, _: &Adapter) -> ft_trainer::Result<()> {
        let seconds = self.step.elapsed().as_secs_f64();
        let loss = self.losses.last().copied().unwrap_or(f64::NAN);
        tracing::info!("step {step}: loss {loss:.4}, {:.0} tokens/s", self.tokens as f64 / seconds);
        self.seconds.push(seconds);
        self.step = Instant::now();
        Ok(())
    }
}

/// The rows of step `number`: random tokens, each with a label.
fn rows(args: &TrainArgs, vocabulary: usize, number: usize) -> Vec<Sequence> {
    let row = |row: usize| {
        let stream = Stream::new(args.seed, TOKENS, (number * args.batch_size + row) as u64);
        let input_ids: Vec<u32> = (0..args.seq_len as u64).map(|i| stream.below(i, vocabulary as u64) as u32).collect();
        let labels = input_ids.iter().map(|&id| id as i32).collect();
        Sequence { input_ids, labels }
    };
    (0..args.batch_size).map(row).collect()
}

fn report(args: &TrainArgs, threads: usize, arch: &Architecture, m: &Measured, best: Option<(&str, f64)>) -> Report {
    let tokens = (args.batch_size * args.seq_len) as f64;
    let seconds = median(&m.seconds);
    let gflops = m.flops.total() / seconds / 1e9;
    let peak = m.peak_bytes.map_or_else(|| "unknown".into(), |bytes| format!("{:.0} MB", bytes as f64 / MEGABYTE));
    let mut table = Table::new(&["training", ""]);
    let mut row = |name: &str, value: String| table.row(&[name.to_owned(), value]);
    row("tokens in a step", format!("{} × {} = {tokens}", args.batch_size, args.seq_len));
    row("frozen weights", format!("{} in {}", arch.parameters(), args.load_in.name()));
    row("layers computed twice", format!("{} of {}", m.recomputed_layers, arch.num_layers));
    row("seconds a step (median)", format!("{seconds:.3}"));
    row("tokens/s", figure(tokens / seconds));
    row("GFLOP a token", figure(m.flops.total() / tokens / 1e9));
    row("GFLOP/s", figure(gflops));
    if let Some((product, best)) = best {
        row(&format!("best product ({product}), GFLOP/s"), figure(best));
        row("share of the best product", format!("{:.1} %", 100.0 * gflops / best));
    }
    row("time to the first step", format!("{:.2} s", m.to_first_step));
    row("peak memory", peak);
    Report {
        benchmark: "train",
        machine: machine::describe(threads),
        figures: figures(args, arch, m, best),
        tables: vec![table],
        notes: Vec::new(),
        panels: panels(m, tokens, gflops, best.map(|(_, best)| best)),
        scatter: None,
    }
}

fn figures(
    args: &TrainArgs,
    arch: &Architecture,
    m: &Measured,
    best: Option<(&str, f64)>,
) -> Map<String, serde_json::Value> {
    let tokens = (args.batch_size * args.seq_len) as f64;
    let seconds = median(&m.seconds);
    let gflops = m.flops.total() / seconds / 1e9;
    let all = json!({
        "model": ft_io::model_name(&args.model),
        "parameters": arch.parameters(),
        "load_in": args.load_in.name(),
        "tf32": args.tf32,
        "lora_r": args.lora_r,
        "batch_size": args.batch_size,
        "seq_len": args.seq_len,
        "max_steps": args.max_steps,
        "activation_memory": m.activation_memory,
        "recomputed_layers": m.recomputed_layers,
        "step_seconds": m.seconds,
        "losses": m.losses,
        "median_step_seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "flops_per_step": m.flops,
        "gflop_per_token": m.flops.total() / tokens / 1e9,
        "gflops": gflops,
        "best_product": best.map(|(product, _)| product),
        "best_product_gflops": best.map(|(_, best)| best),
        "share_of_best_product": best.map(|(_, best)| gflops / best),
        "frozen_bytes": m.frozen_bytes,
        "peak_memory_bytes": m.peak_bytes,
        "seconds_to_first_step": m.to_first_step,
    });
    all.as_object().cloned().unwrap_or_default()
}

fn panels(m: &Measured, tokens: f64, gflops: f64, best: Option<f64>) -> Vec<Panel> {
    let panel = |title: &str, bars: Vec<(String, f64)>| Panel {
        title: title.into(),
        bars: bars.into_iter().map(|(label, value)| Bar { label, series: String::new(), value }).collect(),
    };
    let steps = m.seconds.iter().enumerate().map(|(i, s)| (format!("step {}", i + 1), tokens / s)).collect();
    let StepFlops { layers, adapters, attention, head } = m.flops;
    let rates = [("training step", Some(gflops)), ("best matrix product", best)];
    let rates = rates.into_iter().filter_map(|(name, rate)| Some((name.to_owned(), rate?))).collect();
    let parts = [("layers", layers), ("head", head), ("adapters", adapters), ("attention", attention)];
    vec![
        panel("training, tokens/s", steps),
        panel("GFLOP/s", rates),
        panel("GFLOP a token", parts.map(|(name, flops)| (name.to_owned(), flops / tokens / 1e9)).to_vec()),
    ]
}
