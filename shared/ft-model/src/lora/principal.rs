//! Adapters that begin as the principal part of the weights: see [`super::pissa`].

use candle_core::{DType, Tensor};
use ft_kernels::philox::Stream;
use ft_kernels::tensor::on_host;
use serde_json::Value;

use super::adapter::Adapter;
use super::config::LoraConfig;
use super::pissa;
use crate::arch::Architecture;
use crate::error::{Error, Result};
use crate::layers::LayerSource;
use crate::projection::Projection;

/// The random streams of the fast decomposition's first directions.
pub(super) const PURPOSE: u32 = 4;

impl LoraConfig {
    /// The rounds of PiSSA's decomposition, if `init_lora_weights` asks for it: see [`pissa::parse`].
    pub fn pissa(&self) -> Option<Option<usize>> {
        self.init_lora_weights.as_str().and_then(pissa::parse)
    }
}

/// The weight of an adapted module, `[out, in]` in f32 on the host, for an adapter that begins with a part of it, as `init`
/// says.
///
/// # Errors
/// If the module is one of a mixture of experts, or its layer cannot be had.
pub(super) fn weight_of(arch: &Architecture, source: &dyn LayerSource, module: &str, init: &Value) -> Result<Tensor> {
    let (layer, projection) =
        Projection::parse_in(arch.family, module).ok_or_else(|| Error::Module(module.to_owned()))?;
    if projection.is_of_mixture() {
        let init = init.as_str().unwrap_or_default();
        return Err(Error::Adapter(format!(
            "asks for init_lora_weights {init} on '{module}', which is implemented for attention and plain MLPs; leave experts and routers out of target_modules"
        )));
    }
    let weights = source.layer(layer)?;
    let (column, out) = (projection.column(arch, layer), projection.shape(arch, layer).0);
    let weight = weights.product(projection.site()).weight.narrow(column, out)?.widened()?;
    Ok(on_host(&weight.to_dtype(DType::F32)?)?)
}

impl Adapter {
    /// The pairs that PiSSA begins with. The base that is frozen beside them is [`crate::layers::Without`] these.
    ///
    /// # Errors
    /// If the configuration asks for what is not implemented with PiSSA, or a layer cannot be had.
    pub fn init_pissa(
        arch: &Architecture,
        source: &dyn LayerSource,
        mut config: LoraConfig,
        seed: u64,
    ) -> Result<Self> {
        let niter = config.pissa().ok_or_else(|| Error::Adapter("asks for another start than PiSSA".into()))?;
        if config.use_dora() {
            return Err(Error::Adapter("has use_dora, which is not implemented with init_lora_weights pissa".into()));
        }
        // Said while it still asks for PiSSA.
        config.ends(arch)?;
        let init = std::mem::replace(&mut config.init_lora_weights, Value::Bool(true));
        let mut adapter = Self::init_on(arch, source, config, seed)?;
        for (index, pair) in adapter.modules.iter_mut().enumerate() {
            let weight = weight_of(arch, source, &pair.module, &init)?;
            let stream = Stream::new(seed, PURPOSE, index as u64);
            let rank = pair.a.dim(0)?;
            (pair.a, pair.b) = pissa::pissa(&weight, rank, pair.scaling, niter, stream)?;
        }
        Ok(adapter)
    }

    /// The same adapter in memory of its own.
    ///
    /// # Errors
    /// If candle cannot copy.
    pub fn copied(&self) -> Result<Self> {
        let mut copy = self.clone();
        for pair in &mut copy.modules {
            (pair.a, pair.b) = (pair.a.copy()?, pair.b.copy()?);
            pair.magnitude = pair.magnitude.as_ref().map(Tensor::copy).transpose()?;
        }
        for pair in &mut copy.ends {
            (pair.a, pair.b) = (pair.a.copy()?, pair.b.copy()?);
        }
        for saved in &mut copy.saved {
            saved.tensor = saved.tensor.copy()?;
        }
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ft_kernels::Compute;

    use super::*;
    use crate::batch::Batch;
    use crate::checkpoint::Checkpoint;
    use crate::decoder::Decoder;
    use crate::layers::{Resident, Without};

    #[test]
    fn the_base_without_its_principal_part_and_that_part_are_the_base() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/reference/qwen2-s11/model");
        let checkpoint = Checkpoint::open(&dir).unwrap();
        let arch = checkpoint.architecture().clone();
        let resident = Resident::load(&checkpoint, DType::F32, |_| {}).unwrap();
        let mut config = LoraConfig::new(3, 6.0, "q_proj,v_proj,down_proj");
        config.init_lora_weights = "pissa".into();
        let adapter = Adapter::init_pissa(&arch, &resident, config, 3).unwrap();
        let ids: Vec<u32> = (0..20).map(|i| (i * 7 % 90) as u32).collect();
        let batch = Batch::of_prompts(&[&ids]);
        let logits = |source: &dyn LayerSource, adapter: Option<&Adapter>| {
            Decoder { compute: Compute::cpu(), arch: &arch, source, adapter }.logits(&batch).unwrap()
        };
        let expected = logits(&resident, None);
        let whole = pissa::plain(&adapter, &adapter).unwrap();
        assert_eq!((whole.config.r, whole.config.lora_alpha), (6, 12.0));
        whole.check(&arch).unwrap();
        let nothing = logits(&resident, Some(&whole));
        let rest = Without::new(Box::new(resident), arch.clone(), adapter.copied().unwrap());
        let largest = |t: &Tensor| t.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
        let distance = |t: &Tensor| largest(&(t - &expected).unwrap()) / largest(&expected);
        assert!(distance(&logits(&rest, Some(&adapter))) < 1e-5);
        assert!(distance(&nothing) < 1e-5);
        assert!(distance(&logits(&rest, None)) > 1e-2, "without its principal part a weight is another");
    }
}
