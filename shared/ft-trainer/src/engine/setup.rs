//! Everything that is decided before the first step.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use candle_core::Device;
use ft_dist::Communicator;
use ft_kernels::backend::{Compute, is_host};
use ft_model::arch::Architecture;
use ft_model::checkpoint::Checkpoint;
use ft_model::decoder::Decoder;
use ft_model::layers::{
    self, FourBitOptions, Held, LayerSource, LoadAs, Mapped, Opened, Placed, Sharded, ShardedOptions, Without, bits,
    dtype,
};
use ft_model::lora::{Adapter, LoraConfig, pissa};
use ft_model::optimizer::Cut;

use crate::args::{Args, LoraArgs, Offload, Precision, Sharding};
use crate::data::dataset::{Dataset, Limit, model_tokenizer};
use crate::output::digest;

/// A run that is ready to start.
pub struct Setup {
    pub arch: Architecture,
    pub source: Box<dyn LayerSource>,
    pub adapter: Adapter,
    /// What PiSSA has taken out of the base: the adapter that the run begins with.
    pub taken: Option<Adapter>,
    pub train: Dataset,
    pub eval: Option<Dataset>,
    /// The fingerprint of the model's tokenizer, where it has one.
    pub tokenizer: Option<String>,
    pub activation_memory: u64,
    /// A digest of parts of the model's files.
    pub model_sample: String,
    /// This rank and the others.
    pub ranks: Arc<dyn Communicator>,
    /// What products are made in; never `Auto`.
    pub precision: Precision,
    /// Which operators compute, and in what.
    pub compute: Compute,
    pub sharding: Sharding,
    /// Who gets which part of the gradients, where they are shared out.
    pub cut: Option<Cut>,
}

impl Setup {
    /// Reads model, adapter and data, and holds them against each other.
    pub fn new(args: &Args, ranks: Arc<dyn Communicator>) -> Result<Self> {
        let device = ft_model::device::named(args.device.device)?;
        let precision = args.precision.begin(&device)?;
        let compute =
            ft_model::device::compute(&device, args.device.reference_operators, args.precision.of_operators(precision));
        let checkpoint = Checkpoint::open(&args.model)?;
        let arch = checkpoint.architecture().clone();
        // What cannot be is said before the weights are read.
        let lora = args.lora.config(&args.model);
        lora.modules(&arch)?;
        if args.lora.init_adapter.is_none() {
            check_new(&lora, &arch)?;
        }
        if let (true, [first, ..]) = (arch.tie_word_embeddings, &lora.ends(&arch)?[..]) {
            tracing::warn!(
                "embedding and head are one matrix in '{}': an adapter of '{}' changes that one alone, and ft-merge will write two",
                args.model.display(),
                first.module(arch.family)
            );
        }
        refuse_base_dropout(&arch, &args.model)?;
        refuse_auxiliary_loss(&arch, args.training.router_aux_loss_coef.unwrap_or(0.0))?;
        let tokenizer = model_tokenizer(&args.model)?;
        let read = |path: &Path| -> Result<Dataset> {
            let data = Dataset::read(path, &arch, Limit::of(&args.data), &*ranks)?;
            data.check_tokenizer(&args.model, tokenizer.as_deref())?;
            Ok(data)
        };
        let train = read(&args.train)?;
        let eval = args.eval.as_deref().map(read).transpose()?;
        let sharding = if ranks.world() > 1 { args.ranks.sharding } else { Sharding::None };
        let model_sample = if ranks.world() > 1 { digest::sample(checkpoint.files())? } else { String::new() };
        let mut source = frozen(checkpoint, args, (precision, sharding), &*ranks, (&device, compute))?;
        let adapter = initial_adapter(&args.lora, &arch, &*source, &args.model, args.training.seed)?;
        let begins_with_pissa = args.lora.init_adapter.is_none() && args.lora.config(&args.model).pissa().is_some();
        let taken = begins_with_pissa.then(|| adapter.copied()).transpose()?;
        if let Some(taken) = &taken {
            source = Box::new(Without::new(source, arch.clone(), taken.clone()));
        }
        let activation_memory = activation_memory(args, &device);
        let lengths = adapter.trainable().map(|trained| trained.tensor.elem_count());
        let cut = (sharding >= Sharding::Zero2).then(|| Cut::new(lengths, ranks.world()));
        Ok(Self {
            arch,
            source,
            adapter,
            taken,
            train,
            eval,
            tokenizer,
            activation_memory,
            model_sample,
            ranks,
            precision,
            compute,
            sharding,
            cut,
        })
    }

    /// The adapter as other programs read it, on the whole base.
    pub fn plain_adapter(&self) -> Result<Adapter> {
        Ok(match &self.taken {
            Some(taken) => pissa::plain(&self.adapter, taken)?,
            None => self.adapter.clone(),
        })
    }

    /// Says what will happen.
    pub fn announce(&self, steps: u64, sequences: usize) {
        let device = self.source.device();
        if !is_host(device) {
            tracing::info!("computing on {}", ft_model::device::describe(device));
        }
        let trainable = self.adapter.parameters();
        let all = self.arch.parameters();
        tracing::info!(
            "{} rows, {} tokens, {} labels; {steps} steps of {sequences} sequences",
            self.train.sequences.len(),
            self.train.tokens(),
            self.train.labels(),
        );
        tracing::info!(
            "{trainable} trainable of {all} parameters ({:.2} %), r {}, {} modules; initial adapter {}",
            100.0 * trainable as f64 / (all + trainable) as f64,
            self.adapter.config.r,
            self.adapter.modules().len() + self.adapter.ends().len(),
            self.adapter.sha256().map_or_else(|_| "unknown".into(), |hash| hash[..12].to_owned()),
        );
        let longest = self.train.sequences.iter().map(|s| s.input_ids.len()).max().unwrap_or(0);
        let decoder =
            Decoder { compute: self.compute, arch: &self.arch, source: &*self.source, adapter: Some(&self.adapter) };
        let recomputed = decoder.recomputed_layers(longest, self.activation_memory);
        tracing::info!(
            "{} MB for activations; for the longest row of {longest} tokens, {recomputed} of {} layers are computed twice",
            self.activation_memory / 1_000_000,
            self.arch.num_layers
        );
    }
}

/// The peers drop elements inside the base while it trains, if its configuration says so.
fn refuse_base_dropout(arch: &Architecture, model: &Path) -> Result<()> {
    if let Some((key, share)) = arch.base_dropout.first() {
        bail!(
            "'{}' asks for {key} {share}, dropout inside the frozen base, which is not implemented; set it to 0 in config.json",
            model.display()
        );
    }
    Ok(())
}

/// The peers add the routers' auxiliary loss where there are routers.
fn refuse_auxiliary_loss(arch: &Architecture, weight: f64) -> Result<()> {
    if arch.experts.is_some() && weight.to_bits() != 0 {
        bail!("--router-aux-loss-coef is {weight}, but the routers' auxiliary loss is not implemented; give 0");
    }
    Ok(())
}

/// Refuses a new adapter that names what the model has not, or is larger than memory; says what else has no effect.
fn check_new(lora: &LoraConfig, arch: &Architecture) -> Result<()> {
    lora.refuse_unknown_targets(arch)?;
    for warning in lora.warnings(arch)? {
        tracing::warn!("the adapter {warning}");
    }
    // However it begins, it has the same size.
    Ok(LoraConfig { init_lora_weights: true.into(), ..lora.clone() }.check_size(arch)?)
}

fn initial_adapter(
    args: &LoraArgs,
    arch: &Architecture,
    source: &dyn LayerSource,
    model: &Path,
    seed: u64,
) -> Result<Adapter> {
    let Some(path) = &args.init_adapter else {
        let config = args.config(model);
        return Ok(match config.pissa() {
            Some(_) => Adapter::init_pissa(arch, source, config, seed)?,
            None => Adapter::init_on(arch, source, config, seed)?,
        });
    };
    let mut adapter = Adapter::load(path)?.fitted(arch)?;
    if let [name, ..] = adapter.unnamed(arch)?[..] {
        bail!(
            "'{}' has '{name}' beside its adapter, which nothing in its configuration names: it is not trained; make it part of the base with ft-merge, or name it in modules_to_save",
            path.display()
        );
    }
    if let Some(dropout) = args.lora_dropout {
        adapter.config.lora_dropout = dropout;
    }
    adapter.config.base_model_name_or_path = Some(model.display().to_string());
    Ok(adapter)
}

fn frozen(
    checkpoint: Checkpoint,
    all: &Args,
    (precision, sharding): (Precision, Sharding),
    ranks: &dyn Communicator,
    (device, compute): (&Device, Compute),
) -> Result<Box<dyn LayerSource>> {
    let products = compute.precision.products;
    let args = &all.memory;
    let load_in = args.load_in(precision);
    let on_host = args.offload_param_device == Offload::Cpu;
    if on_host && (is_host(device) || sharding == Sharding::Zero3) {
        tracing::info!("--offload-param-device cpu is without effect: the frozen weights are in the host's memory");
    }
    if sharding == Sharding::Zero3 {
        return Ok(Placed::on(sharded(&checkpoint, all, load_in, ranks)?, device, products)?);
    }
    if args.offload_param_device == Offload::Disk {
        let float = load_in.float().with_context(|| {
            format!(
                "--offload-param-device disk reads floats from the file; --load-in {} holds the weights in memory",
                load_in.name()
            )
        })?;
        return Ok(Placed::on(Box::new(Mapped::open(checkpoint, dtype(float))?), device, products)?);
    }
    let place = if on_host { &Device::Cpu } else { device };
    let bar = ft_cli::progress(Some(checkpoint.architecture().num_layers as u64), "loading");
    let opened = layers::open(
        &checkpoint,
        load_in,
        FourBitOptions { kind: args.four_bit.bnb_4bit_quant_type, double: args.four_bit.bnb_4bit_use_double_quant },
        (place, products),
        |_| bar.inc(1),
    );
    bar.finish();
    let Opened { source, packed } = opened?;
    if let Some(packed) = packed {
        tracing::info!("{packed}");
    }
    Ok(Placed::on(source, device, products)?)
}

/// Each rank's part of the frozen weights, in memory or on disk.
fn sharded(
    checkpoint: &Checkpoint,
    args: &Args,
    load_in: LoadAs,
    ranks: &dyn Communicator,
) -> Result<Box<dyn LayerSource>> {
    let held = match bits(
        load_in,
        FourBitOptions {
            kind: args.memory.four_bit.bnb_4bit_quant_type,
            double: args.memory.four_bit.bnb_4bit_use_double_quant,
        },
    ) {
        Some(bits) => Held::Packed(bits),
        None => Held::Float(dtype(load_in.float().unwrap_or_default())),
    };
    let on_disk = args.memory.offload_param_device == Offload::Disk;
    let options = ShardedOptions {
        held,
        reshard_after_forward: args.ranks.fsdp_reshard_after_forward,
        folder: on_disk.then(|| pages(args)),
    };
    let bar = ft_cli::progress(Some(checkpoint.architecture().num_layers as u64), "loading");
    let sharded = Sharded::load(checkpoint, &options, ranks, |_| bar.inc(1));
    bar.finish();
    let sharded = sharded?;
    tracing::info!(
        "frozen weights {}: {:.3} MB in memory and {:.3} MB on disk on each of {} ranks; the largest part that is \
         together at a time {:.3} MB",
        load_in.name(),
        sharded.held_bytes() as f64 / 1e6,
        sharded.bytes_on_disk() as f64 / 1e6,
        ranks.world(),
        sharded.largest_unit_bytes() as f64 / 1e6
    );
    Ok(Box::new(sharded))
}

/// Where files without a name go: the output folder, or where there is none, where temporary files are.
fn pages(args: &Args) -> PathBuf {
    if args.output_dir.is_dir() { args.output_dir.clone() } else { std::env::temp_dir() }
}

/// What this rank may keep between forward and backward. Ranks on one machine share its memory; ranks that have a GPU
/// each share nothing of that, and what a process is told is shared by its threads alone.
fn activation_memory(args: &Args, device: &Device) -> u64 {
    if args.memory.gradient_checkpointing {
        return 0;
    }
    let each = |ranks: u32| if is_host(device) { u64::from(ranks.max(1)) } else { 1 };
    match args.memory.activation_memory {
        Some(told) => told / each(args.ranks.nproc_per_node),
        None => ft_model::device::activation_memory(device) / each(args.ranks.sharing),
    }
}
