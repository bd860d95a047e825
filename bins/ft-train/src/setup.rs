//! Everything that is decided before the first step.

use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::Device;
use ft_cli::LoadAs;
use ft_kernels::quant::Kind;
use ft_model::arch::Architecture;
use ft_model::checkpoint::Checkpoint;
use ft_model::decoder::Decoder;
use ft_model::layers::{Bits, LayerSource, Mapped, Placed, Quantised, Resident, Without, dtype};
use ft_model::lora::{Adapter, pissa};

use crate::args::{Args, LoraArgs, MemoryArgs, Offload};
use crate::data::{Dataset, Limit, model_tokenizer};

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
}

impl Setup {
    /// Reads model, adapter and data, and holds them against each other.
    pub fn new(args: &Args) -> Result<Self> {
        let device = ft_model::device::open(args.device)?;
        ft_kernels::device::allow_tf32(args.memory.tf32 == Some(true));
        let checkpoint = Checkpoint::open(&args.model)?;
        let arch = checkpoint.architecture().clone();
        // What cannot be is said before the weights are read.
        args.lora.config(&args.model).modules(&arch)?;
        refuse_base_dropout(&arch, &args.model)?;
        let tokenizer = model_tokenizer(&args.model)?;
        let read = |path: &Path| -> Result<Dataset> {
            let data = Dataset::read(path, &arch, Limit::of(&args.data))?;
            data.check_tokenizer(&args.model, tokenizer.as_deref())?;
            Ok(data)
        };
        let train = read(&args.train)?;
        let eval = args.eval.as_deref().map(read).transpose()?;
        let mut source = frozen(checkpoint, &args.memory, &device)?;
        let adapter = initial_adapter(&args.lora, &arch, &*source, &args.model, args.training.seed)?;
        let begins_with_pissa = args.lora.init_adapter.is_none() && args.lora.config(&args.model).pissa().is_some();
        let taken = begins_with_pissa.then(|| adapter.copied()).transpose()?;
        if let Some(taken) = &taken {
            source = Box::new(Without::new(source, arch.clone(), taken.clone()));
        }
        let activation_memory = activation_memory(&args.memory, &device);
        Ok(Self { arch, source, adapter, taken, train, eval, tokenizer, activation_memory })
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
        if !device.is_cpu() {
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
            self.adapter.modules.len(),
            self.adapter.sha256().map_or_else(|_| "unknown".into(), |hash| hash[..12].to_owned()),
        );
        let longest = self.train.sequences.iter().map(|s| s.input_ids.len()).max().unwrap_or(0);
        let decoder = Decoder { arch: &self.arch, source: &*self.source, adapter: Some(&self.adapter) };
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
    let mut adapter = Adapter::load(path)?;
    adapter.check(arch)?;
    adapter.config.lora_dropout = args.lora_dropout;
    adapter.config.base_model_name_or_path = Some(model.display().to_string());
    Ok(adapter)
}

fn frozen(checkpoint: Checkpoint, args: &MemoryArgs, device: &Device) -> Result<Box<dyn LayerSource>> {
    let load_in = args.load_in();
    if args.offload_param_device == Offload::Disk {
        let float = load_in.float().with_context(|| {
            format!(
                "--offload-param-device disk reads floats from the file; --load-in {} holds the weights in memory",
                load_in.name()
            )
        })?;
        return Ok(Placed::on(Box::new(Mapped::open(checkpoint, dtype(float))?), device)?);
    }
    let bar = ft_cli::progress(Some(checkpoint.architecture().num_layers as u64), "loading");
    let Some(bits) = bits(args) else {
        let float = load_in.float().unwrap_or_default();
        let resident = Resident::load_on(device, &checkpoint, dtype(float), |_| bar.inc(1));
        bar.finish();
        return Ok(Box::new(resident?));
    };
    let quantised = Quantised::load(&checkpoint, bits, |_| bar.inc(1));
    bar.finish();
    let quantised = quantised?;
    let (bytes, parameters) = (quantised.frozen_bytes(), quantised.frozen_parameters());
    tracing::info!(
        "frozen matrices {}: {:.1} MB, {:.3} bytes a parameter; one layer at a time is {:.1} MB in f32",
        load_in.name(),
        bytes as f64 / 1e6,
        bytes as f64 / parameters as f64,
        quantised.layer_bytes() as f64 / 1e6
    );
    Ok(Placed::on(Box::new(quantised), device)?)
}

/// How the frozen matrices are packed, if they are.
fn bits(args: &MemoryArgs) -> Option<Bits> {
    match args.load_in() {
        LoadAs::F32 | LoadAs::Bf16 | LoadAs::F16 => None,
        LoadAs::EightBit => Some(Bits::EightBit),
        LoadAs::FourBit => {
            let kind = match args.bnb_4bit_quant_type.as_str() {
                "fp4" => Kind::Fp4,
                _ => Kind::Nf4,
            };
            Some(Bits::FourBit { kind, double: args.bnb_4bit_use_double_quant })
        }
        LoadAs::AsIs => Some(Bits::AsIs),
    }
}

/// What may be kept between forward and backward.
fn activation_memory(args: &MemoryArgs, device: &Device) -> u64 {
    if args.gradient_checkpointing {
        return 0;
    }
    args.activation_memory.unwrap_or_else(|| ft_model::device::activation_memory(device))
}
