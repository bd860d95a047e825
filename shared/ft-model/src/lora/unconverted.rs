//! Adapters that began with a part of the base's weights and were saved as they are.
//!
//! peft takes that part off the base once more when it reads such an adapter, for its pairs are none of the base as it
//! is. Here they become plain ones that are: see [`pissa::plain`].

use candle_core::DType;
use serde_json::Value;

use super::adapter::Adapter;
use super::config::PartOfBase;
use super::olora::olora;
use super::pissa;
use super::principal::{PURPOSE, weight_of};
use crate::checkpoint::{Checkpoint, Format};
use crate::error::{Error, Result};
use crate::layers::Mapped;
use ft_kernels::philox::Stream;

impl Adapter {
    /// The adapter as one of the base as it is. Where `init_lora_weights` says that peft takes a part of the base's
    /// weights off them (`pissa`, `olora`), that part is found again in the checkpoint that `base` opens, and what the
    /// trained pairs do to the rest becomes pairs of twice the rank on the whole; every other adapter stays as it is.
    ///
    /// # Errors
    /// If the adapter does not fit the base, or peft would not find the same part: of weights in bitsandbytes' codes, of
    /// experts, of embedding and head, or where the decomposition is not one.
    pub fn on_whole_base(self, base: impl FnOnce() -> Result<Checkpoint>) -> Result<Self> {
        let Some(part) = self.config.part_of_base() else { return Ok(self) };
        let init = self.config.init_lora_weights.clone();
        let mut trained = self;
        trained.config.init_lora_weights = Value::Bool(true);
        let checkpoint = base()?;
        let arch = checkpoint.architecture().clone();
        trained.check(&arch)?;
        trained.expect_repeatable(&checkpoint, part, &init)?;
        let source = Mapped::open(checkpoint, DType::F32)?;
        let mut initial = trained.clone();
        for pair in &mut initial.modules {
            let (weight, rank) = (weight_of(&arch, &source, &pair.module, &init)?, pair.a.dim(0)?);
            (pair.a, pair.b) = match part {
                PartOfBase::Pissa => pissa::pissa(&weight, rank, pair.scaling, None, Stream::new(0, PURPOSE, 0))?,
                PartOfBase::Olora => olora(&weight, rank)?,
            };
        }
        tracing::info!(
            "the adapter began as a part of the base's weights (init_lora_weights {init}), which is taken off them, as peft does"
        );
        pissa::doubled(&trained, &initial)
    }

    fn expect_repeatable(&self, base: &Checkpoint, part: PartOfBase, init: &Value) -> Result<()> {
        let refused = |what: String| {
            Err(Error::Adapter(format!(
                "began as a part of the base's weights (init_lora_weights {init}), which cannot be found again {what}; save it with path_initial_model_for_weight_conversion"
            )))
        };
        let arch = base.architecture();
        if let Some(end) = self.ends.first() {
            return refused(format!("of '{}'", end.module));
        }
        if part == PartOfBase::Olora && arch.family.is_transposed() {
            return refused("in a model that has its weights [in, out]".into());
        }
        for pair in &self.modules {
            for (name, ..) in pair.on_tensors(arch)? {
                if matches!(base.stored(&name)?.format(), Format::FourBit(_) | Format::ByteRows) {
                    return refused(format!("in the codes of '{name}'"));
                }
            }
        }
        Ok(())
    }
}
