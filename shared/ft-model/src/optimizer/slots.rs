//! What an optimizer remembers of one tensor, in memory or in the page file, and the step that uses it.

use std::sync::Arc;

use ::safetensors::Dtype;
use ft_kernels::backend::Isa;
use ft_kernels::optim::{
    AdamW, BLOCK, Codes, Lion, Sgd, adamw_8bit_step, adamw_step, lion_8bit_step, lion_step, sgd_step,
};

use super::config::OptimizerConfig;
use super::groups::Rates;
use super::kind::Method;
use crate::error::Result;
use crate::pages::PageFile;

/// Tensors of fewer elements keep moments of 32 bits, as with bitsandbytes (`min_8bit_size`).
const SMALLEST_8BIT: usize = 4096;

/// Elements of a tensor whose paged state is in memory at once: whole blocks.
const PIECE: usize = 1 << 18;

/// One of the things that are remembered of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// Its name in the state's file, after the tensor's.
    pub name: &'static str,
    pub dtype: Dtype,
    /// How many elements of the tensor share one of its own.
    pub every: usize,
}

impl Slot {
    /// How many elements it has for `elements` of the tensor.
    pub fn len(self, elements: usize) -> usize {
        elements.div_ceil(self.every)
    }

    /// The bytes of them.
    pub fn bytes(self, elements: usize) -> usize {
        self.len(elements) * self.dtype.bitsize() / 8
    }
}

const fn float(name: &'static str) -> Slot {
    Slot { name, dtype: Dtype::F32, every: 1 }
}

const fn codes(name: &'static str) -> Slot {
    Slot { name, dtype: Dtype::U8, every: 1 }
}

const fn scales(name: &'static str) -> Slot {
    Slot { name, dtype: Dtype::F32, every: BLOCK }
}

/// The weights of embeddings, by the families' names: Trainer has bitsandbytes keep their moments in 32 bits.
fn is_embedding(name: &str) -> bool {
    ["embed_tokens.weight", "wte.weight", "embed_in.weight"].iter().any(|ending| name.ends_with(ending))
}

/// The slots of a tensor of `len` elements: torch's names, and bitsandbytes' where it has 8 bits.
fn slots(config: &OptimizerConfig, name: &str, len: usize) -> &'static [Slot] {
    const ADAMW: [Slot; 2] = [float("exp_avg"), float("exp_avg_sq")];
    const ADAMW8: [Slot; 4] = [codes("state1"), scales("absmax1"), codes("state2"), scales("absmax2")];
    const SGD: [Slot; 1] = [float("momentum_buffer")];
    const LION: [Slot; 1] = [float("exp_avg")];
    const LION8: [Slot; 2] = [codes("state1"), scales("absmax1")];
    let small = !config.kind.has_8bit_moments() || len < SMALLEST_8BIT || is_embedding(name);
    match config.kind.method() {
        Method::AdamW if small => &ADAMW,
        Method::AdamW => &ADAMW8,
        Method::Sgd if config.sgd.momentum == 0.0 => &[],
        Method::Sgd => &SGD,
        Method::Lion if small => &LION,
        Method::Lion => &LION8,
    }
}

/// The bytes that are remembered of `part` elements of a tensor of `len`.
pub(super) fn bytes(config: &OptimizerConfig, name: &str, len: usize, part: usize) -> u64 {
    slots(config, name, len).iter().map(|slot| slot.bytes(part) as u64).sum()
}

/// The rule of a step with this step's numbers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    AdamW(AdamW),
    Sgd(Sgd),
    Lion(Lion),
}

impl Rule {
    pub fn new(config: &OptimizerConfig, rates: Rates, step: u64) -> Self {
        let OptimizerConfig { beta1, beta2, eps, sgd, .. } = *config;
        let Rates { lr, weight_decay } = rates;
        match config.kind.method() {
            Method::AdamW => Self::AdamW(AdamW { lr, beta1, beta2, eps, weight_decay, step }),
            Method::Lion => Self::Lion(Lion { lr, beta1, beta2, weight_decay }),
            Method::Sgd => {
                let super::config::SgdOptions { momentum, dampening, nesterov } = sgd;
                Self::Sgd(Sgd { lr, momentum, dampening, nesterov, weight_decay, step })
            }
        }
    }

    /// Moves a tensor, or a piece of whole blocks of it.
    fn take(self, param: &mut [f32], grad: &[f32], values: &mut [Values]) {
        use Values::{Bytes, Floats};
        match (self, values) {
            (Self::AdamW(rule), [Floats(m), Floats(v)]) => adamw_step(Isa::best(), param, grad, m, v, rule),
            (Self::AdamW(rule), [Bytes(m), Floats(m_scales), Bytes(v), Floats(v_scales)]) => {
                let (m, v) = (Codes { codes: m, scales: m_scales }, Codes { codes: v, scales: v_scales });
                adamw_8bit_step(Isa::best(), param, grad, m, v, rule);
            }
            (Self::Sgd(rule), []) => sgd_step(Isa::best(), param, grad, &mut [], rule),
            (Self::Sgd(rule), [Floats(momentum)]) => sgd_step(Isa::best(), param, grad, momentum, rule),
            (Self::Lion(rule), [Floats(m)]) => lion_step(Isa::best(), param, grad, m, rule),
            (Self::Lion(rule), [Bytes(m), Floats(scales)]) => {
                lion_8bit_step(Isa::best(), param, grad, Codes { codes: m, scales }, rule);
            }
            _ => unreachable!("the slots and the rule come from one configuration"),
        }
    }
}

/// The values of a slot, or of a piece of it.
#[derive(Debug)]
enum Values {
    Floats(Vec<f32>),
    Bytes(Vec<u8>),
}

impl Values {
    fn zeros(slot: Slot, elements: usize) -> Self {
        match slot.dtype {
            Dtype::U8 => Self::Bytes(vec![0; slot.len(elements)]),
            _ => Self::Floats(vec![0.0; slot.len(elements)]),
        }
    }

    /// As they lie in memory, which is as files have them: little-endian on all machines that this runs on.
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Floats(values) => bytemuck::cast_slice(values),
            Self::Bytes(values) => values,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Floats(values) => bytemuck::cast_slice_mut(values),
            Self::Bytes(values) => values,
        }
    }
}

/// All that is remembered of a tensor, or of whole blocks of it.
#[derive(Debug)]
pub(super) struct TensorState {
    /// The elements that it remembers.
    len: usize,
    slots: &'static [Slot],
    store: Store,
}

#[derive(Debug)]
enum Store {
    Memory(Vec<Values>),
    /// The slots one after the other from `offset` on.
    Paged {
        pages: Arc<PageFile>,
        offset: u64,
    },
}

impl TensorState {
    /// Of `part` elements of a tensor of `len`, all zero; in the page file, if there is one, from the offset on.
    pub fn new(
        config: &OptimizerConfig,
        name: &str,
        len: usize,
        part: usize,
        pages: Option<(Arc<PageFile>, u64)>,
    ) -> Self {
        let slots = slots(config, name, len);
        let store = match pages {
            Some((pages, offset)) => Store::Paged { pages, offset },
            None => Store::Memory(slots.iter().map(|slot| Values::zeros(*slot, part)).collect()),
        };
        Self { len: part, slots, store }
    }

    /// Moves the tensor by its gradient.
    pub fn take(&mut self, rule: Rule, param: &mut [f32], grad: &[f32]) -> Result<()> {
        if let Store::Memory(values) = &mut self.store {
            rule.take(param, grad, values);
            return Ok(());
        }
        for start in (0..self.len).step_by(PIECE) {
            let end = self.len.min(start + PIECE);
            let mut values: Vec<_> = self.slots.iter().map(|slot| Values::zeros(*slot, end - start)).collect();
            for (i, values) in values.iter_mut().enumerate() {
                self.read(i, self.slots[i].bytes(start) as u64, values.bytes_mut())?;
            }
            rule.take(&mut param[start..end], &grad[start..end], &mut values);
            for (i, values) in values.iter().enumerate() {
                self.write(i, self.slots[i].bytes(start) as u64, values.bytes())?;
            }
        }
        Ok(())
    }

    /// The slots, each with its elements and its bytes.
    pub fn slots(&self) -> impl Iterator<Item = (Slot, usize, u64)> {
        self.slots.iter().map(|slot| (*slot, slot.len(self.len), slot.bytes(self.len) as u64))
    }

    /// The bytes of all of them.
    pub fn bytes(&self) -> u64 {
        self.before(self.slots.len())
    }

    /// Fills `out` with the bytes of a slot from `at` on.
    pub fn read(&self, slot: usize, at: u64, out: &mut [u8]) -> Result<()> {
        match &self.store {
            Store::Memory(values) => {
                out.copy_from_slice(&values[slot].bytes()[at as usize..][..out.len()]);
                Ok(())
            }
            Store::Paged { pages, offset } => pages.read(offset + self.before(slot) + at, out),
        }
    }

    /// Writes the bytes of a slot from `at` on.
    pub fn write(&mut self, slot: usize, at: u64, bytes: &[u8]) -> Result<()> {
        let before = self.before(slot);
        match &mut self.store {
            Store::Memory(values) => {
                values[slot].bytes_mut()[at as usize..][..bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
            Store::Paged { pages, offset } => pages.write(*offset + before + at, bytes),
        }
    }

    /// The bytes of the slots before this one.
    fn before(&self, slot: usize) -> u64 {
        self.slots[..slot].iter().map(|slot| slot.bytes(self.len) as u64).sum()
    }
}
