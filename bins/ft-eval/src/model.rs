//! The model under test.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use ft_io::Source;
use ft_kernels::{Compute, Precision};
use ft_model::decoder::Decoder;
use ft_model::layers::{self, LayerSource, Opened};
use ft_model::{Adapter, Architecture, Checkpoint};
use ft_text::{Form, TextModel};
use serde_json::{Map, Value, json};

use crate::args::{HeldArgs, ModelArgs};

/// A model, and the adapter on it if there is one.
pub struct Model {
    compute: Compute,
    pub arch: Architecture,
    source: Box<dyn LayerSource>,
    adapter: Option<Adapter>,
    adapter_sha256: Option<String>,
    /// How a prompt must look for what the adapter learned.
    form: Form,
    name: String,
}

impl Model {
    /// The model that was typed.
    pub fn open_typed(args: &ModelArgs) -> Result<Self> {
        Self::open(&args.model, args.adapter.as_deref(), &args.held)
    }

    /// Reads weights and adapter, and holds one against the other.
    pub fn open(path: &Path, lora: Option<&OsStr>, held: &HeldArgs) -> Result<Self> {
        let device = ft_model::device::named(held.device.device)?;
        let compute =
            ft_model::device::compute(held.device.device, &device, held.device.reference_operators, Precision::F32);
        let checkpoint = Checkpoint::open(path)?;
        let arch = checkpoint.architecture().clone();
        let read = lora.map(|text| adapter(&Source::parse(text), &arch, path)).transpose()?;
        let (adapter, form) = read.map_or_else(Default::default, |(adapter, form)| (Some(adapter), form));
        let bar = ft_cli::progress(Some(arch.num_layers as u64), "loading");
        let Opened { source, packed } = layers::open(
            &checkpoint,
            held.load_in.with_four_bit(held.four_bit.bnb_4bit_quant_type, held.four_bit.bnb_4bit_use_double_quant),
            (&device, None),
            |_| bar.inc(1),
        )?;
        bar.finish();
        if let Some(packed) = packed {
            tracing::info!("{packed}");
        }
        let name = ft_io::model_name(path);
        let adapter_sha256 = adapter.as_ref().map(Adapter::sha256).transpose()?;
        let adapter = adapter.map(|adapter| adapter.on(&device).map(Cow::into_owned)).transpose()?;
        Ok(Self { compute, arch, source, adapter, adapter_sha256, form, name })
    }

    pub fn decoder(&self) -> Decoder<'_> {
        Decoder { compute: self.compute, arch: &self.arch, source: &*self.source, adapter: self.adapter.as_ref() }
    }

    /// How a prompt must look for what the adapter learned; empty without one.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// The tokens that end an answer: the model's, and those that the adapter learned.
    pub fn end_ids(&self, text: &TextModel) -> Vec<u32> {
        let own = text.end_ids.iter().copied();
        own.chain(self.form.end_ids().into_iter().filter(|id| !text.end_ids.contains(id))).collect()
    }

    /// Warns where `prompts` were made with another chat template, of this digest, than the adapter was trained with.
    pub fn check_template(&self, prompts: &str, digest: Option<&str>) {
        if self.form.has_another_template(digest) {
            tracing::warn!(
                "{prompts}: made with another chat template than the adapter was trained with; give ft-template \
                 --chat-template the adapter's chat_template.jinja"
            );
        }
    }

    /// What a report says of it.
    pub fn describe(&self, held: &HeldArgs) -> Map<String, Value> {
        let described = json!({
            "model": self.name,
            "adapter_sha256": self.adapter_sha256,
            "load_in": held.load_in.name(),
            "device": ft_model::device::describe(self.source.device()),
        });
        described.as_object().cloned().unwrap_or_default()
    }
}

fn adapter(source: &Source, arch: &Architecture, model: &Path) -> Result<(Adapter, Form)> {
    let (adapter, form) = if let Some(path) = source.path() {
        let adapter = Adapter::load(path)?;
        let folder = Some(path).filter(|path| path.is_dir());
        (adapter, Form::of_adapter(&Adapter::metadata(path)?, folder)?)
    } else {
        let mut bytes = Vec::new();
        source.open()?.read_to_end(&mut bytes).context("cannot read an adapter from standard input")?;
        let form = Form::of(&Adapter::metadata_of("standard input", &bytes)?);
        (Adapter::from_bytes("standard input", &bytes)?, form)
    };
    let fitted = adapter.on_whole_base(|| Checkpoint::open(model)).and_then(|adapter| adapter.fitted(arch));
    let fitted = fitted.with_context(|| format!("'{source}' does not fit '{}'", model.display()))?;
    Ok((fitted, form))
}
