//! New adapters.

use ft_kernels::philox::Stream;
use ft_kernels::tensor::from_vec;
use serde_json::Value;

use super::adapter::{Adapter, LoraPair};
use super::config::LoraConfig;
use super::ends::{End, EndPair};
use crate::arch::Architecture;
use crate::error::{Error, Result};
use crate::projection::Projection;

/// The random streams of an initial `A`; those of an initial `B` have the next number.
const PURPOSE: u32 = 2;

impl Adapter {
    /// A new adapter that changes nothing yet: `A` uniform within ±1/√in (Kaiming's draw with a = √5, as
    /// peft has it), `B` zero. `init_lora_weights` may ask for `"gaussian"` (deviation 1/r) or, with
    /// `false`, for a `B` that is not zero.
    ///
    /// Each module's numbers depend on the seed, its layer and its place in the layer alone.
    ///
    /// # Errors
    /// If the configuration asks for what is not implemented, or targets nothing, or if what it asks for begins with
    /// the base's weights: then [`Adapter::init_on`] makes it.
    pub fn init(arch: &Architecture, config: LoraConfig, seed: u64) -> Result<Self> {
        let asks = if config.use_dora() { Some("use_dora") } else { None };
        let asks = if config.saved(arch)?.is_empty() { asks } else { Some("modules_to_save or bias") };
        match asks {
            Some(key) => Err(Error::Adapter(format!("has {key}, which begins with the base's weights"))),
            None => Self::without_base(arch, config, seed),
        }
    }

    /// The pairs of a new adapter.
    pub(super) fn without_base(arch: &Architecture, mut config: LoraConfig, seed: u64) -> Result<Self> {
        config.check()?;
        config.other.insert("fan_in_fan_out".into(), arch.family.is_transposed().into());
        config = config.for_model(arch)?;
        config.refuse_unknown_targets(arch)?;
        config.check_size(arch)?;
        let targets = config.modules(arch)?;
        let mut modules = Vec::with_capacity(targets.len());
        for (layer, projection) in targets {
            let module = projection.module(arch, layer);
            let rank = config.rank(&module)?;
            let [shape_a, shape_b] = projection.pair_shapes(arch, layer, rank);
            let index = projection.stream(layer) as u64;
            let (mut a, mut b) = (vec![0.0; shape_a.iter().product()], vec![0.0; shape_b.iter().product()]);
            let stream = Stream::new(seed, PURPOSE, index);
            match &config.init_lora_weights {
                Value::Bool(true) => uniform(stream, shape_a[1], &mut a),
                Value::Bool(false) => {
                    uniform(stream, shape_a[1], &mut a);
                    uniform(Stream::new(seed, PURPOSE + 1, index), shape_b[1], &mut b);
                }
                Value::String(kind) if kind == "gaussian" => {
                    stream.fill_normal(0, &mut a);
                    for x in &mut a {
                        *x /= rank as f32;
                    }
                }
                other => return Err(unknown_start(other)),
            }
            let (scaling, key) = (config.scaling(&module)?, config.key_of(&module));
            let (a, b) = (from_vec(a, &shape_a)?, from_vec(b, &shape_b)?);
            modules.push(LoraPair { module, key, a, b, scaling, magnitude: None });
        }
        let ends =
            config.ends(arch)?.into_iter().map(|end| new_end(arch, &config, end, seed)).collect::<Result<_>>()?;
        Ok(Self::new(config, modules, ends, Vec::new()))
    }
}

/// A new pair on embedding or head. That of an embedding begins the other way round, as in peft: with `A` zero and `B`
/// normal, or both normal.
fn new_end(arch: &Architecture, config: &LoraConfig, end: End, seed: u64) -> Result<EndPair> {
    let module = end.module(arch.family).to_owned();
    let rank = config.rank(&module)?;
    let shapes = end.shapes(arch, rank);
    let [mut a, mut b] = shapes.map(|shape| vec![0.0; shape.iter().product()]);
    // Numbers that no module of a layer has.
    let index = Projection::streams_of_layers(arch.num_layers) as u64 + end as u64;
    let (of_a, of_b) = (Stream::new(seed, PURPOSE, index), Stream::new(seed, PURPOSE + 1, index));
    match (&config.init_lora_weights, end) {
        (Value::Bool(false), End::Embedding) => {
            of_a.fill_normal(0, &mut a);
            of_b.fill_normal(0, &mut b);
        }
        (Value::Bool(true), End::Embedding) => of_b.fill_normal(0, &mut b),
        (Value::String(kind), End::Embedding) if kind == "gaussian" => of_b.fill_normal(0, &mut b),
        (Value::Bool(false), End::Head) => {
            uniform(of_a, shapes[0][1], &mut a);
            uniform(of_b, rank, &mut b);
        }
        (Value::Bool(true), End::Head) => uniform(of_a, shapes[0][1], &mut a),
        (Value::String(kind), End::Head) if kind == "gaussian" => {
            of_a.fill_normal(0, &mut a);
            a.iter_mut().for_each(|x| *x /= rank as f32);
        }
        (other, _) => return Err(unknown_start(other)),
    }
    let scaling = config.scaling(&module)?;
    Ok(EndPair { end, module, a: from_vec(a, &shapes[0])?, b: from_vec(b, &shapes[1])?, scaling })
}

fn unknown_start(other: &Value) -> Error {
    let (value, expected) = (other.to_string(), "true, false or gaussian for a new adapter");
    Error::AdapterFeature { key: "init_lora_weights", value, expected }
}

/// Numbers within ±1/√inner.
fn uniform(stream: Stream, inner: usize, out: &mut [f32]) {
    let bound = (1.0 / (inner as f64).sqrt()) as f32;
    stream.fill_uniform(0, out);
    for x in out {
        *x = (*x * 2.0 - 1.0) * bound;
    }
}
