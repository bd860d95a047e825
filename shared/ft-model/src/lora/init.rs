//! New adapters.

use candle_core::{Device, Tensor};
use ft_kernels::philox::Stream;
use serde_json::Value;

use super::{Adapter, LoraConfig, LoraPair};
use crate::arch::Architecture;
use crate::error::{Error, Result};
use crate::projection::Projection;

/// The purpose of the random streams that begin an adapter; `B`'s have the next one.
const PURPOSE: u32 = 1;

impl Adapter {
    /// A new adapter that changes nothing yet: `A` uniform within ±1/√in (Kaiming's with a = √5, as peft
    /// has it), `B` zero. `init_lora_weights` may ask for `"gaussian"` (deviation 1/r) or, with `false`,
    /// for a `B` that is not zero.
    ///
    /// Each module's numbers depend on the seed, its layer and its place in the layer alone.
    ///
    /// # Errors
    /// If the configuration asks for what is not implemented, or targets nothing.
    pub fn init(arch: &Architecture, config: LoraConfig, seed: u64) -> Result<Self> {
        config.check()?;
        let mut modules = Vec::new();
        for module in config.targets(arch)? {
            let (layer, projection) = Projection::parse(&module).ok_or_else(|| Error::Module(module.clone()))?;
            let (out, inner) = projection.shape(arch);
            let rank = config.rank(&module)?;
            let index = (layer * Projection::ALL.len() + projection as usize) as u64;
            let mut a = vec![0.0; rank * inner];
            let mut b = vec![0.0; out * rank];
            let stream = Stream::new(seed, PURPOSE, index);
            match &config.init_lora_weights {
                Value::Bool(true) | Value::Null => uniform(stream, inner, &mut a),
                Value::Bool(false) => {
                    uniform(stream, inner, &mut a);
                    uniform(Stream::new(seed, PURPOSE + 1, index), rank, &mut b);
                }
                Value::String(kind) if kind == "gaussian" => {
                    stream.fill_normal(0, &mut a);
                    a.iter_mut().for_each(|x| *x /= rank as f32);
                }
                other => {
                    let (value, expected) = (other.to_string(), "true, false or gaussian for a new adapter");
                    return Err(Error::AdapterFeature { key: "init_lora_weights", value, expected });
                }
            }
            let a = Tensor::from_vec(a, (rank, inner), &Device::Cpu)?;
            let b = Tensor::from_vec(b, (out, rank), &Device::Cpu)?;
            modules.push(LoraPair { scaling: config.scaling(&module)?, module, a, b });
        }
        Ok(Self { config, modules })
    }
}

/// Numbers within ±1/√inner.
fn uniform(stream: Stream, inner: usize, out: &mut [f32]) {
    let bound = (1.0 / (inner as f64).sqrt()) as f32;
    stream.fill_uniform(0, out);
    out.iter_mut().for_each(|x| *x = (*x * 2.0 - 1.0) * bound);
}
