//! A mixture of experts in the MLP's place, its forward and backward written out.
//!
//! A token's result is the sum over its experts of weight times result, in the order of the experts' numbers, so it does
//! not depend on the tokens beside it. For the weights' gradients no product is formed again: with an expert's matrix `W`
//! (its adapter included), input `h` and the gradient `d` of its row, that of the weight is `d·(W h) = (Wᵀ d)·h`.

use candle_core::{DType, Tensor};
use ft_kernels::experts::{
    Share, gather_rows, gather_rows_weighted, route, route_backward, row_dots, scatter_add, scatter_add_weighted,
};
use ft_kernels::linear::{Linear, Lora, LoraGradient};
use ft_kernels::tensor::{from_vec, on_host};

use super::backward::{hand_over, wanted};
use super::kept::Routed;
use super::parts::{Adapted, Block};
use crate::arch::Experts;
use crate::error::Result;
use crate::layers::Weight;
use crate::projection::Projection;
use crate::sink::{Gradient, Sink};

/// All experts' matrices of a kind, and the adapter on them.
struct Stack<'a> {
    /// `[experts·out, in]`
    weight: Weight,
    experts: usize,
    adapted: Option<&'a Adapted<'a>>,
    /// `[experts, r, in]` and `[experts, out, r]`, if there is an adapter.
    pair: Option<(Tensor, Tensor)>,
}

/// One of them.
struct Expert {
    weight: Weight,
    pair: Option<(Tensor, Tensor, f32)>,
}

/// The gradients of `A` and `B` of each expert from each sequence, where it has tokens of it.
struct Collected<'a> {
    stack: &'a Stack<'a>,
    found: Vec<Vec<Option<(Tensor, Tensor)>>>,
}

impl Block<'_> {
    /// Chooses the experts of each row of `normed`, `[tokens, hidden]`, and forms their first products.
    pub(super) fn routed(&self, normed: &Tensor, experts: &Experts) -> Result<Routed> {
        let starts = self.rows.starts;
        let (weight, adapters) = self.router(experts.count)?;
        let logits = self.product(&router_linear(&weight, &adapters), normed, starts, None)?;
        let routing = route(self.compute, &logits, experts.per_token, experts.normalised)?;
        let weights = on_host(&routing.weights)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let shares = routing.shares(experts.count);
        let stack = self.stack(Projection::ExpertsGateUp, experts.count)?;
        let one = |(e, share): (usize, &Share)| -> Result<Option<Tensor>> {
            if share.rows.is_empty() {
                return Ok(None);
            }
            let x = gather_rows(self.compute, normed, &share.rows)?;
            Ok(Some(self.product(&stack.expert(e)?.linear(), &x, &share.starts(starts), None)?))
        };
        let gate_up = shares.iter().enumerate().map(one).collect::<Result<_>>()?;
        Ok(Routed { logits, routing, weights, shares, gate_up })
    }

    /// The sum of the experts' results, `[tokens, hidden]`, on top of `residual` where it is handed over.
    pub(super) fn mixed(&self, routed: &Routed, residual: Option<&Tensor>) -> Result<Tensor> {
        let stack = self.stack(Projection::ExpertsDown, routed.shares.len())?;
        let mut y = match residual {
            Some(residual) => residual.copy()?,
            None => self.zeros(&routed.logits)?,
        };
        for (e, (share, gate_up)) in routed.with_tokens() {
            let starts = share.starts(self.rows.starts);
            let part = self.product(&stack.expert(e)?.linear(), &self.activated(gate_up)?, &starts, None)?;
            y = scatter_add_weighted(self.compute, y, &part, &share.rows, &share.pick(&routed.weights))?;
        }
        Ok(y)
    }

    /// The gradient of what the mixture read, `normed`, from that of what it gave, `dy`, both `[tokens, hidden]`.
    pub(super) fn mixture_backward(
        &self,
        dy: &Tensor,
        routed: Routed,
        normed: &Tensor,
        sink: &mut Sink<'_>,
    ) -> Result<Tensor> {
        let starts = self.rows.starts;
        let Routed { logits, routing, weights, shares, gate_up } = routed;
        let first = self.stack(Projection::ExpertsGateUp, shares.len())?;
        let second = self.stack(Projection::ExpertsDown, shares.len())?;
        let (mut of_first, mut of_second) = (first.collect(starts), second.collect(starts));
        let mut dweights = vec![0.0; weights.len()];
        let mut dx = self.zeros(&logits)?;
        for (e, (share, gate_up)) in shares.iter().zip(gate_up).enumerate() {
            let Some(gate_up) = gate_up else { continue };
            let (own, weights) = (share.starts(starts), share.pick(&weights));
            let all: Vec<u32> = (0..share.rows.len() as u32).collect();
            let hidden = self.activated(&gate_up)?;
            // The weight may as well stand before the product, which is linear: so its gradient comes out of it.
            let weighted = gather_rows_weighted(self.compute, &hidden, &all, &weights)?;
            let found = second.expert(e)?.linear().backward(
                self.compute,
                &gather_rows(self.compute, dy, &share.rows)?,
                &weighted,
                &own,
                true,
            )?;
            of_second.take(e, found.lora, &own);
            let dweighted = wanted(found.x)?;
            for (place, dot) in share.places.iter().zip(row_dots(self.compute, &dweighted, &hidden, &all)?) {
                dweights[*place] = dot;
            }
            let dhidden = gather_rows_weighted(self.compute, &dweighted, &all, &weights)?;
            let dgate_up = self.activation_gradient(&dhidden, gate_up)?;
            let found = first.expert(e)?.linear().backward(
                self.compute,
                &dgate_up,
                &gather_rows(self.compute, normed, &share.rows)?,
                &own,
                true,
            )?;
            of_first.take(e, found.lora, &own);
            dx = scatter_add(self.compute, dx, &wanted(found.x)?, &share.rows)?;
        }
        of_second.hand_over(self.rows.first_sequence, sink)?;
        of_first.hand_over(self.rows.first_sequence, sink)?;
        let dweights =
            from_vec(dweights, routing.weights.shape())?.to_device(dy.device())?.to_dtype(routing.weights.dtype())?;
        let dlogits = route_backward(self.compute, &dweights, &routing, &logits)?;
        let (weight, adapters) = self.router(shares.len())?;
        let found = router_linear(&weight, &adapters).backward(self.compute, &dlogits, normed, starts, true)?;
        let ids: Vec<_> = adapters.iter().map(|adapted| adapted.ids).collect();
        hand_over(found.lora, &ids, self.rows.first_sequence, sink)?;
        Ok((dx + wanted(found.x)?)?)
    }

    /// `[tokens, hidden]`
    fn zeros(&self, logits: &Tensor) -> Result<Tensor> {
        let shape = (logits.dim(0)?, self.arch.hidden_size);
        Ok(Tensor::zeros(shape, logits.dtype(), logits.device())?)
    }

    /// The router's matrix, `[experts, hidden]`, whose rows follow the experts', and the adapter on it.
    fn router(&self, experts: usize) -> Result<(Weight, Vec<&Adapted<'_>>)> {
        let all = &self.weights.product(Projection::Router.site()).weight;
        let weight = all.narrow(all.dims2()?.0 - experts, experts)?;
        Ok((weight, self.adapters_on(Projection::Router).collect()))
    }

    /// The adapter on a part of the mixture.
    fn adapters_on(&self, projection: Projection) -> impl Iterator<Item = &Adapted<'_>> {
        self.adapters.iter().filter(move |adapted| adapted.projection == projection)
    }

    /// All experts' matrices of a kind.
    fn stack(&self, projection: Projection, experts: usize) -> Result<Stack<'_>> {
        let product = &self.weights.product(projection.site()).weight;
        // The router's rows, which follow those of the experts' gates and ups, are no expert's.
        let beside = if projection.site() == Projection::Router.site() { experts } else { 0 };
        let weight = product.narrow(0, product.dims2()?.0 - beside)?;
        let adapted = self.adapters_on(projection).next();
        let pair = adapted.map(|adapted| -> Result<(Tensor, Tensor)> {
            let (a, b) = (&adapted.pair.a, &adapted.pair.b);
            let rank = b.dim(1)? / experts;
            let a = a.reshape((experts, rank, a.dim(1)?))?;
            let b = b.reshape((b.dim(0)?, rank, experts))?.permute((2, 0, 1))?.contiguous()?;
            Ok((a, b))
        });
        Ok(Stack { weight, experts, adapted, pair: pair.transpose()? })
    }
}

impl<'a> Stack<'a> {
    /// Expert number `e`.
    fn expert(&self, e: usize) -> Result<Expert> {
        let rows = self.weight.dims2()?.0 / self.experts;
        let pair = self
            .pair
            .as_ref()
            .zip(self.adapted)
            .map(|((a, b), adapted)| -> Result<_> { Ok((a.get(e)?, b.get(e)?, adapted.pair.scaling as f32)) });
        Ok(Expert { weight: self.weight.narrow(e * rows, rows)?, pair: pair.transpose()? })
    }

    fn collect(&'a self, starts: &[usize]) -> Collected<'a> {
        let sequences = starts.len().saturating_sub(1);
        Collected { stack: self, found: vec![vec![None; self.experts]; sequences] }
    }
}

impl Expert {
    fn linear(&self) -> Linear<'_> {
        let lora = self.pair.iter().map(|(a, b, scaling)| Lora {
            a,
            b,
            magnitude: None,
            scaling: *scaling,
            column: 0,
            dropout: None,
        });
        Linear { weight: self.weight.clone(), bias: None, lora: lora.collect() }
    }
}

impl Collected<'_> {
    /// Takes what expert `e` found, of rows in which sequences start at `starts`.
    fn take(&mut self, e: usize, gradients: Vec<LoraGradient>, starts: &[usize]) {
        for LoraGradient { sequence, a, b, .. } in gradients {
            // A sequence without tokens here has nothing to say.
            if starts[sequence] < starts[sequence + 1] {
                self.found[sequence][e] = Some((a, b));
            }
        }
    }

    /// Lays each sequence's gradients out as the adapter is, those of experts that saw nothing of it as zeros.
    fn hand_over(self, first_sequence: usize, sink: &mut Sink<'_>) -> Result<()> {
        let Some((adapted, (a, b))) = self.stack.adapted.zip(self.stack.pair.as_ref()) else { return Ok(()) };
        let nothing = (a.get(0)?.zeros_like()?, b.get(0)?.zeros_like()?);
        for (i, sequence) in self.found.into_iter().enumerate() {
            let experts: Vec<(Tensor, Tensor)> =
                sequence.into_iter().map(|found| found.unwrap_or_else(|| nothing.clone())).collect();
            let (a, b): (Vec<Tensor>, Vec<Tensor>) = experts.into_iter().unzip();
            let a = Tensor::cat(&a, 0)?;
            let b = Tensor::stack(&b, 2)?.contiguous()?.reshape(adapted.pair.b.shape())?;
            for (id, tensor) in [(adapted.ids.a, a), (adapted.ids.b, b)] {
                sink(Gradient { id, sequence: first_sequence + i, tensor })?;
            }
        }
        Ok(())
    }
}

fn router_linear<'t>(weight: &'t Weight, adapters: &[&'t Adapted<'_>]) -> Linear<'t> {
    let lora = adapters.iter().map(|adapted| Lora {
        a: &adapted.pair.a,
        b: &adapted.pair.b,
        magnitude: None,
        scaling: adapted.pair.scaling as f32,
        column: 0,
        dropout: None,
    });
    Linear { weight: weight.clone(), bias: None, lora: lora.collect() }
}
