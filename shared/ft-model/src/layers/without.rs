//! A source whose weights are those of another without an adapter's part.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use ft_kernels::Compute;
use ft_kernels::linear::{Weight, product as multiply};

use super::source::{LayerSource, ShardedBytes, Unit};
use super::weights::tensor_bytes;
use super::weights::{Ends, LayerWeights};
use crate::arch::Architecture;
use crate::error::Result;
use crate::lora::Adapter;
use crate::projection::Site;

/// The frozen base of PiSSA: `W - scaling · B·A` for every module of the adapter that a run began with. Formed anew at
/// each call, in f32, so that what lies in memory stays as narrow as the source has it.
pub struct Without {
    source: Box<dyn LayerSource>,
    arch: Architecture,
    initial: Adapter,
}

impl Without {
    /// `source` without the pairs of `initial`.
    pub fn new(source: Box<dyn LayerSource>, arch: Architecture, initial: Adapter) -> Self {
        Self { source, arch, initial }
    }
}

impl LayerSource for Without {
    fn layer(&self, i: usize) -> Result<Arc<LayerWeights>> {
        let mut weights = (*self.source.layer(i)?).clone();
        for site in Site::ALL {
            let mut rows: Vec<Tensor> = Vec::new();
            let mut next = 0;
            let product = match site {
                Site::Qkv => &mut weights.qkv,
                Site::O => &mut weights.o,
                Site::GateUp => &mut weights.gate_up,
                Site::Down => &mut weights.down,
            };
            for (projection, _, pair) in self.initial.on_layer(i).filter(|(p, _, _)| p.site() == site) {
                let (column, out) = (projection.column(&self.arch, i), pair.b.dim(0)?);
                if column > next {
                    rows.push(product.weight.narrow(next, column - next)?.widened()?.to_dtype(DType::F32)?);
                }
                let own = product.weight.narrow(column, out)?.widened()?.to_dtype(DType::F32)?;
                // By this project's products, on the host: the same bits on every machine and for any number of threads.
                let taken = (multiply(Compute::cpu(), &pair.b, &pair.a, true)? * pair.scaling)?;
                rows.push((own - taken.to_device(product.weight.device())?)?);
                next = column + out;
            }
            if rows.is_empty() {
                continue;
            }
            let all = product.weight.dims2()?.0;
            if next < all {
                rows.push(product.weight.narrow(next, all - next)?.widened()?.to_dtype(DType::F32)?);
            }
            product.weight = Tensor::cat(&rows, 0)?.into();
        }
        Ok(Arc::new(weights))
    }

    fn embedding(&self) -> Result<Weight> {
        self.source.embedding()
    }

    fn head(&self) -> Result<Weight> {
        self.source.head()
    }

    fn ends(&self) -> &Ends {
        self.source.ends()
    }

    fn expect(&self, pass: &[Unit]) {
        self.source.expect(pass);
    }

    fn forms_layers_anew(&self) -> bool {
        // Taking a part off costs little beside a piece; reading or gathering what it is taken off may not.
        self.source.forms_layers_anew()
    }

    fn is_collective(&self) -> bool {
        self.source.is_collective()
    }

    fn sharded_bytes(&self) -> Option<ShardedBytes> {
        self.source.sharded_bytes()
    }

    fn held_bytes(&self) -> u64 {
        let pairs = self.initial.modules().iter().map(|pair| tensor_bytes(&pair.a) + tensor_bytes(&pair.b));
        self.source.held_bytes() + pairs.sum::<u64>()
    }
}
