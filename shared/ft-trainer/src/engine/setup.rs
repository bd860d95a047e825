//! Everything that is decided before the first step.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use ft_dist::{Communicator, Solo};
use ft_kernels::backend::{Compute, Precision, is_host};
use ft_model::arch::Architecture;
use ft_model::checkpoint::Checkpoint;
use ft_model::decoder::Decoder;
use ft_model::layers::{self, LayerSource, Mapped, Opened, Placed, Sharded, ShardedOptions, WeightFormat, Without};
use ft_model::lora::{Adapter, LoraConfig, pissa};
use ft_model::optimizer::Cut;

use crate::data::dataset::{Dataset, Limit, model_tokenizer};
use crate::data::model_sample;
use crate::engine::precision;
use crate::error::{Error, Result};
use crate::options::{Offload, Options, Sharding};
use ft_io::progress::{NoProgress, Progress};

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
    /// Which operators compute, and in what.
    pub compute: Compute,
    pub sharding: Sharding,
    /// Who gets which part of the gradients, where they are shared out.
    pub cut: Option<Cut>,
    /// Who draws progress bars.
    pub progress: Arc<dyn Progress>,
}

impl Setup {
    /// Reads model, adapter and data, and holds them against each other.
    ///
    /// # Errors
    /// What is wrong with the model, the adapter that is asked for, or the rows.
    pub fn new(options: &Options, ranks: Arc<dyn Communicator>, progress: Arc<dyn Progress>) -> Result<Self> {
        let device = ft_model::device::named(options.device)?;
        let precision = precision::begin(options.precision, options.tf32, options.device, &device)?;
        let compute = ft_model::device::compute(options.device, &device, options.reference_operators, precision);
        let checkpoint = Checkpoint::open(&options.model)?;
        let arch = checkpoint.architecture().clone();
        // What cannot be is said before the weights are read.
        let lora = options.lora_config();
        lora.modules(&arch)?;
        if options.init_adapter.is_none() {
            check_new(&lora, &arch)?;
        }
        if let (true, [first, ..]) = (arch.tie_word_embeddings, &lora.ends(&arch)?[..]) {
            tracing::warn!(
                "embedding and head are one matrix in '{}': an adapter of '{}' changes that one alone, and ft-merge will write two",
                options.model.display(),
                first.module(arch.family)
            );
        }
        refuse_base_dropout(&arch, &options.model)?;
        refuse_auxiliary_loss(&arch, options.training.router_aux_loss_coef)?;
        let tokenizer = model_tokenizer(&options.model)?;
        let read = |path: &Path| -> Result<Dataset> {
            let data = Dataset::read(path, &arch, Limit::of(&options.rows), &*ranks)?;
            data.check_tokenizer(&options.model, tokenizer.as_deref())?;
            Ok(data)
        };
        let train = read(&options.train)?;
        let eval = options.eval.as_deref().map(read).transpose()?;
        let sharding = if ranks.world() > 1 { options.ranks.sharding } else { Sharding::None };
        let model_sample = if ranks.world() > 1 { model_sample(checkpoint.files())? } else { String::new() };
        let mut source = frozen(checkpoint, options, sharding, &*ranks, (&device, compute), &*progress)?;
        let adapter = initial_adapter(options, &arch, &*source)?;
        let begins_with_pissa = options.init_adapter.is_none() && options.lora.pissa().is_some();
        let taken = begins_with_pissa.then(|| adapter.copied()).transpose()?;
        if let Some(taken) = &taken {
            source = Box::new(Without::new(source, arch.clone(), taken.clone()));
        }
        let activation_memory = activation_memory(options, &device);
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
            compute,
            sharding,
            cut,
            progress,
        })
    }

    /// Of a model and rows that are in memory already: one rank, nothing shared out.
    pub fn of_parts(
        options: &Options,
        arch: Architecture,
        source: Box<dyn LayerSource>,
        adapter: Adapter,
        train: Dataset,
    ) -> Self {
        let (device, precision) = (source.device(), Precision { tf32: options.tf32, ..Precision::F32 });
        Self {
            activation_memory: activation_memory(options, device),
            arch,
            adapter,
            taken: None,
            train,
            eval: None,
            tokenizer: None,
            model_sample: String::new(),
            ranks: Arc::new(Solo),
            compute: ft_model::device::compute(options.device, device, options.reference_operators, precision),
            sharding: Sharding::None,
            cut: None,
            progress: Arc::new(NoProgress),
            source,
        }
    }

    /// The adapter as other programs read it, on the whole base.
    ///
    /// # Errors
    /// If the adapter cannot be rewritten for the whole base.
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
        return Err(Error::Options(format!(
            "'{}' asks for {key} {share}, dropout inside the frozen base, which is not implemented; set it to 0 in config.json",
            model.display()
        )));
    }
    Ok(())
}

/// The peers add the routers' auxiliary loss where there are routers.
fn refuse_auxiliary_loss(arch: &Architecture, weight: f64) -> Result<()> {
    if arch.experts.is_some() && weight.to_bits() != 0 {
        return Err(Error::Options(format!(
            "--router-aux-loss-coef is {weight}, but the routers' auxiliary loss is not implemented; give 0"
        )));
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

fn initial_adapter(options: &Options, arch: &Architecture, source: &dyn LayerSource) -> Result<Adapter> {
    let Some(path) = &options.init_adapter else {
        let (config, seed) = (options.lora_config(), options.training.seed);
        return Ok(match config.pissa() {
            Some(_) => Adapter::init_pissa(arch, source, config, seed)?,
            None => Adapter::init_on(arch, source, config, seed)?,
        });
    };
    let mut adapter = Adapter::load(path)?.fitted(arch)?;
    if let [name, ..] = adapter.unnamed(arch)?[..] {
        return Err(Error::Options(format!(
            "'{}' has '{name}' beside its adapter, which nothing in its configuration names: it is not trained; make it part of the base with ft-merge, or name it in modules_to_save",
            path.display()
        )));
    }
    if let Some(dropout) = options.init_adapter_dropout {
        adapter.config.lora_dropout = dropout;
    }
    adapter.config.base_model_name_or_path = Some(options.base_model_name());
    Ok(adapter)
}

fn frozen(
    checkpoint: Checkpoint,
    options: &Options,
    sharding: Sharding,
    ranks: &dyn Communicator,
    (device, compute): (&Device, Compute),
    progress: &dyn Progress,
) -> Result<Box<dyn LayerSource>> {
    let products = compute.precision.products;
    let memory = &options.memory;
    let load_in = memory.load_in.unwrap_or(WeightFormat::of(compute.precision));
    let on_host = memory.offload_param_device == Offload::Cpu;
    if on_host && (is_host(device) || sharding == Sharding::Zero3) {
        tracing::info!("--offload-param-device cpu is without effect: the frozen weights are in the host's memory");
    }
    if sharding == Sharding::Zero3 {
        return Ok(Placed::on(sharded(&checkpoint, options, load_in, ranks, progress)?, device, products)?);
    }
    if memory.offload_param_device == Offload::Disk {
        let float = load_in.float().ok_or_else(|| {
            Error::Options(format!(
                "--offload-param-device disk reads floats from the file; --load-in {} holds the weights in memory",
                load_in.name()
            ))
        })?;
        return Ok(Placed::on(Box::new(Mapped::open(checkpoint, float)?), device, products)?);
    }
    let place = if on_host { &Device::Cpu } else { device };
    let bar = progress.begin("loading", checkpoint.architecture().num_layers as u64);
    let opened = layers::open(&checkpoint, load_in, (place, products), |_| bar.advance(1));
    drop(bar);
    let Opened { source, packed } = opened?;
    if let Some(packed) = packed {
        tracing::info!("{packed}");
    }
    Ok(Placed::on(source, device, products)?)
}

/// Each rank's part of the frozen weights, in memory or on disk.
fn sharded(
    checkpoint: &Checkpoint,
    options: &Options,
    load_in: WeightFormat,
    ranks: &dyn Communicator,
    progress: &dyn Progress,
) -> Result<Box<dyn LayerSource>> {
    let on_disk = options.memory.offload_param_device == Offload::Disk;
    let sharded = ShardedOptions {
        format: load_in,
        reshard_after_forward: options.ranks.fsdp_reshard_after_forward,
        folder: on_disk.then(|| pages(options)),
    };
    let bar = progress.begin("loading", checkpoint.architecture().num_layers as u64);
    let sharded = Sharded::load(checkpoint, &sharded, ranks, |_| bar.advance(1));
    drop(bar);
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

/// Where files without a name go: the output folder, or where there is none, that of temporary files.
fn pages(options: &Options) -> PathBuf {
    if options.output_dir.is_dir() { options.output_dir.clone() } else { options.temporary_folder.clone() }
}

/// What this rank may keep between forward and backward. Ranks on one machine share its memory; ranks that have a GPU
/// each share nothing of that, and what a process is told is shared by its threads alone.
fn activation_memory(options: &Options, device: &Device) -> u64 {
    let each = |ranks: u32| if is_host(device) { u64::from(ranks.max(1)) } else { 1 };
    match options.memory.activation_memory {
        Some(told) => told / each(options.ranks.nproc_per_node),
        None => ft_model::device::activation_memory(device) / each(options.ranks.sharing),
    }
}
