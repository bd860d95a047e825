//! The adapters to merge, and what they do to each tensor.

use std::collections::HashMap;
use std::io::Read;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Tensor};
use ft_cli::Usage;
use ft_io::{InputDigest, Source, sha256_file, sha256_hex};
use ft_kernels::Compute;
use ft_kernels::linear::dora_norm;
use ft_model::{Adapter, Checkpoint, LoraPair};
use ft_text::Form;
use ft_text::origin::{TEMPLATE_DIGEST_KEY, TEMPLATE_KEY};

use crate::args::Args;
use crate::combine::How;
use crate::given::Given;

/// All adapters, by the tensors that they change.
pub struct Adapters {
    /// By the name of the tensor; in the order of the command line.
    additions: HashMap<String, Vec<Addition>>,
    /// Tensors that were trained whole, which take the place of the base's.
    saved: HashMap<String, Tensor>,
    /// The weights' files.
    pub digests: Vec<InputDigest>,
    /// How a prompt must look for what was learned: as the last adapter says that names a template.
    pub form: Form,
}

/// What one adapter does to a tensor, in the layout in which the tensor is stored.
pub struct Addition {
    /// `[r, columns]`
    pub a: Tensor,
    /// `[rows, r]`
    pub b: Tensor,
    pub scaling: f32,
    /// DoRA's magnitude of each output by the norm that it has with the adapter.
    pub factors: Option<Factors>,
}

/// What the outputs of a matrix are multiplied by.
pub struct Factors {
    pub values: Vec<f32>,
    /// Whether outputs are columns of the tensor (GPT-2) and not rows.
    pub by_column: bool,
}

impl Adapters {
    /// Reads the adapters, holds each against the base, and makes one of them where that is asked for.
    pub fn load(args: &Args, base: &Checkpoint) -> Result<Self> {
        let Loaded { adapters, digests, form } = Loaded::read(args, base)?;
        let mut this = Self { additions: HashMap::new(), saved: HashMap::new(), digests, form };
        if let Some(by) = args.combining.by(None).filter(|_| !adapters.is_empty()) {
            let (all, names) = split(adapters);
            this.take(by.adapters(&all)?, base, &names.join("', '"))?;
            return Ok(this);
        }
        for (adapter, weight, name) in adapters {
            this.take(weighted(adapter, weight, &name)?, base, &name)?;
        }
        Ok(this)
    }

    /// What is done to the tensor `name`, one after the other.
    pub fn on(&self, name: &str) -> &[Addition] {
        self.additions.get(name).map_or(&[], Vec::as_slice)
    }

    /// What takes the place of the tensor `name`.
    pub fn saved(&self, name: &str) -> Option<&Tensor> {
        self.saved.get(name)
    }

    /// How many tensors are changed.
    pub fn changed(&self) -> usize {
        self.additions.len() + self.saved.len()
    }

    fn take(&mut self, adapter: Adapter, base: &Checkpoint, source: &str) -> Result<()> {
        let (_, modules, ends, saved) = adapter.into_parts();
        for pair in modules {
            for (name, a, b) in pair.on_tensors(base.architecture())? {
                let others = self.additions.entry(name.clone()).or_default();
                // A row's norm with one adapter is not its norm with both.
                if !others.is_empty() && (pair.magnitude.is_some() || others.iter().any(|o| o.factors.is_some())) {
                    bail!(
                        "'{source}' and another adapter change '{name}', and one of them is DoRA, which scales what is there: merge one, and the next into the result"
                    );
                }
                others.push(Addition::new(&pair, &name, a, b, base)?);
            }
        }
        for pair in ends {
            let (b, a) = pair.factors()?;
            let addition = Addition { a, b, scaling: pair.scaling as f32, factors: None };
            self.additions.entry(format!("{}.weight", pair.module)).or_default().push(addition);
        }
        for saved in saved {
            let name = saved.name.clone();
            if self.saved.insert(saved.name, saved.tensor).is_some() {
                bail!("'{source}' and another adapter both hold '{name}' whole; give one of them");
            }
        }
        Ok(())
    }
}

impl Addition {
    /// What `pair` adds to the tensor `name`: `b·a`.
    fn new(pair: &LoraPair, name: &str, a: Tensor, b: Tensor, base: &Checkpoint) -> Result<Self> {
        let transposed = base.architecture().family.is_transposed();
        let scaling = pair.scaling as f32;
        let factors = pair.magnitude.as_ref().map(|magnitude| -> Result<Factors> {
            let stored = base.tensor(name, DType::F32)?;
            let weight = if transposed { stored.t()?.contiguous()? } else { stored };
            let norms = dora_norm(Compute::cpu(), &weight, &a, &b, scaling)?.to_vec1::<f32>()?;
            let magnitudes = magnitude.to_vec1::<f32>()?;
            // A row of zeros stays one, whatever it is divided by.
            let factor = |(m, norm): (&f32, &f32)| if *norm == 0.0 { *m } else { m / norm };
            Ok(Factors { values: magnitudes.iter().zip(&norms).map(factor).collect(), by_column: transposed })
        });
        let factors = factors.transpose()?;
        let (a, b) = if transposed { (b.t()?.contiguous()?, a.t()?.contiguous()?) } else { (a, b) };
        Ok(Self { a, b, scaling, factors })
    }
}

/// Adapters as they were read.
struct Loaded {
    /// Each with its weight and its name.
    adapters: Vec<(Adapter, f64, String)>,
    digests: Vec<InputDigest>,
    form: Form,
}

impl Loaded {
    fn read(args: &Args, base: &Checkpoint) -> Result<Self> {
        let given: Vec<Given> = args.adapters.iter().map(Given::parse).collect();
        if given.iter().filter(|given| given.source == Source::Stdin).count() > 1 {
            return Err(Usage("--adapter - can be given once: there is one standard input".into()).into());
        }
        let mut this = Self { adapters: Vec::new(), digests: Vec::new(), form: Form::default() };
        for Given { source, weight } in given {
            let (adapter, sha256, form) = read(&source)?;
            let adapter = adapter
                .on_whole_base(|| Checkpoint::open(&args.model))
                .and_then(|adapter| adapter.fitted(base.architecture()))
                .with_context(|| format!("'{source}' does not fit '{}'", args.model.display()))?;
            this.take_form(form, &source);
            this.digests.push(InputDigest { name: named(&source, weight), sha256 });
            this.adapters.push((adapter, weight, source.to_string()));
        }
        Ok(this)
    }

    fn take_form(&mut self, form: Form, source: &Source) {
        if self.form.has_another_template(form.get(TEMPLATE_DIGEST_KEY)) {
            tracing::warn!(
                "'{source}' was trained with another chat template than the adapter before it; its template is written"
            );
        }
        if form.get(TEMPLATE_KEY).is_some() {
            self.form = form;
        }
    }
}

/// The adapter's name with its weight, for the result depends on it.
fn named(source: &Source, weight: f64) -> String {
    #[expect(clippy::float_cmp, reason = "1 is what stands for no weight")]
    if weight == 1.0 { source.file_name() } else { format!("{}={weight}", source.file_name()) }
}

fn split(adapters: Vec<(Adapter, f64, String)>) -> (Vec<(Adapter, f64)>, Vec<String>) {
    adapters.into_iter().map(|(adapter, weight, name)| ((adapter, weight), name)).unzip()
}

/// All adapters as one, with their digests and what they say of prompts: a single one as it is, several as `--combine`
/// says, or one behind the other.
///
/// # Errors
/// If there is none, or they cannot be combined.
pub fn one(args: &Args, base: &Checkpoint) -> Result<(Adapter, Vec<InputDigest>, Form)> {
    let Loaded { mut adapters, digests, form } = Loaded::read(args, base)?;
    if adapters.is_empty() {
        return Err(Usage("an adapter is to be written, and none is named; give --adapter".into()).into());
    }
    #[expect(clippy::float_cmp, reason = "1 is what stands for no weight")]
    let alone = adapters.len() == 1 && adapters[0].1 == 1.0 && args.combining.combine.is_none();
    if let Some((adapter, ..)) = adapters.pop_if(|_| alone) {
        return Ok((adapter, digests, form));
    }
    let (all, names) = split(adapters);
    let combine = args.combining.by(Some(How::Cat)).context("no way to combine adapters")?;
    let adapter = combine.adapters(&all).with_context(|| format!("combining '{}'", names.join("', '")))?;
    Ok((adapter, digests, form))
}

/// The adapter with its scale multiplied.
fn weighted(adapter: Adapter, weight: f64, name: &str) -> Result<Adapter> {
    #[expect(clippy::float_cmp, reason = "1 is what stands for no weight")]
    if weight == 1.0 {
        return Ok(adapter);
    }
    let (config, mut modules, mut ends, saved) = adapter.into_parts();
    let dora = modules.iter().find(|pair| pair.magnitude.is_some()).map(|pair| pair.module.clone());
    if let Some(whole) = dora.or_else(|| saved.first().map(|saved| saved.name.clone())) {
        bail!(
            "'{name}' has for '{whole}' DoRA's magnitudes or a tensor that was trained whole, which have no weight; give it without =WEIGHT"
        );
    }
    modules.iter_mut().for_each(|pair| pair.scaling *= weight);
    ends.iter_mut().for_each(|pair| pair.scaling *= weight);
    Ok(Adapter::new(config, modules, ends, saved))
}

/// An adapter, the SHA-256 of the file that holds its weights, and what it says of prompts.
fn read(source: &Source) -> Result<(Adapter, String, Form)> {
    let Some(path) = source.path().filter(|path| path.is_file() || path.is_dir() || !path.exists()) else {
        let mut bytes = Vec::new();
        source.open()?.read_to_end(&mut bytes).with_context(|| format!("cannot read an adapter from {source}"))?;
        let name = source.name();
        let form = Form::of(&Adapter::metadata_of(&name, &bytes)?);
        return Ok((Adapter::from_bytes(&name, &bytes)?, sha256_hex(&bytes), form));
    };
    let adapter = Adapter::load(path)?;
    let file = if path.is_dir() { path.join("adapter_model.safetensors") } else { path.to_path_buf() };
    let sha256 = sha256_file(&file).with_context(|| format!("cannot read '{}'", file.display()))?;
    let folder = Some(path).filter(|path| path.is_dir());
    let form = Form::of_adapter(&Adapter::metadata(path)?, folder)?;
    Ok((adapter, sha256, form))
}
