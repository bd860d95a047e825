//! The written-out backward of the whole block, against candle's autograd of the reference operators for every family,
//! and against finite differences of a plain f64 block for Llama's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Tensor, Var};
use ft_kernels::Compute;
use ft_kernels::linear::{self, Linear, Lora};
use ft_kernels::philox::Stream;
use ft_kernels::rope::Direction;
use ft_kernels::tensor::from_vec;
use ft_kernels::{activation, attention, columns, experts, norm, rope, row_scale};
use ft_model::arch::{Architecture, Experts, NormKind, QkNorm};
use ft_model::block::{Adapted, Block, Products, Rows, WithoutCache, attention_spec};
use ft_model::checkpoint::Checkpoint;
use ft_model::layers::{LayerSource, LayerWeights, NormWeights, Resident};
use ft_model::lora::{Adapter, LoraConfig};
use ft_model::projection::{Projection, Site};
use ft_model::trained::Biases;

const STARTS: [usize; 4] = [0, 4, 5, 11];

struct Case {
    arch: Architecture,
    layer: usize,
    weights: Arc<LayerWeights>,
    adapter: Adapter,
    x: Tensor,
    dy: Tensor,
}

fn random(rows: usize, cols: usize, what: u64, size: f32) -> Tensor {
    let mut values = vec![0.0; rows * cols];
    Stream::new(5, 97, what).fill_normal(0, &mut values);
    values.iter_mut().for_each(|x| *x *= size);
    from_vec(values, (rows, cols)).unwrap()
}

fn references() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/reference")
}

/// A layer of a reference model, with an adapter whose both halves are random.
fn case(name: &str, layer: usize) -> Case {
    let checkpoint = Checkpoint::open(&references().join(name).join("model")).unwrap();
    let arch = checkpoint.architecture().clone();
    let weights = Resident::load(&checkpoint, DType::F32, |_| {}).unwrap().layer(layer).unwrap();
    let adapter = Adapter::init(&arch, LoraConfig::new(3, 6.0, "all-linear"), 1).unwrap();
    let of_layer = arch.names().in_layer(layer, "");
    let (config, mut modules, ..) = adapter.into_parts();
    modules.retain(|m| m.module.starts_with(&of_layer));
    for (i, pair) in modules.iter_mut().enumerate() {
        let (out, r) = pair.b.dims2().unwrap();
        pair.b = random(out, r, 50 + i as u64, 0.2);
    }
    let adapter = Adapter::new(config, modules, Vec::new(), Vec::new());
    let tokens = STARTS[STARTS.len() - 1];
    let (x, dy) = (random(tokens, arch.hidden_size, 1, 1.0), random(tokens, arch.hidden_size, 2, 1.0));
    Case { arch, layer, weights, adapter, x, dy }
}

/// Where each row stands in its sequence.
fn positions() -> impl Iterator<Item = u32> {
    STARTS.windows(2).flat_map(|span| 0..(span[1] - span[0]) as u32)
}

/// The gradient of `x` and those of every adapter, summed over the sequences, as the block computes them.
fn written_out(case: &Case) -> (Tensor, Vec<(Tensor, Tensor)>) {
    let ropes = case.arch.rope_tables(&STARTS).unwrap();
    let query_factors = case.arch.query_factors(positions());
    let rows = Rows { starts: &STARTS, first_sequence: 0, ropes, query_factors, products: Products::Many };
    let on = case.adapter.on_layer(case.layer);
    let adapters = on.map(|(projection, ids, pair)| Adapted { projection, ids, pair, dropout: None });
    let block = Block {
        compute: Compute::cpu(),
        arch: &case.arch,
        layer: case.layer,
        weights: &case.weights,
        adapters: adapters.collect(),
        biases: &Biases::default(),
        rows: &rows,
    };
    let mut sums: Vec<Option<Tensor>> = vec![None; case.adapter.trainable().count()];
    let kept = block.inner(&case.x, &mut WithoutCache { starts: &STARTS }).unwrap();
    let dx = block.backward(&case.dy, &case.x, kept, true, &mut |found| {
        let sum = &mut sums[found.id.index()];
        *sum = Some(match sum.take() {
            Some(sum) => (sum + found.tensor)?,
            None => found.tensor,
        });
        Ok(())
    });
    let sums: Vec<Tensor> = sums.into_iter().map(Option::unwrap).collect();
    (dx.unwrap().unwrap(), sums.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
}

/// The block's forward in the reference operators, which candle can differentiate.
fn reference(case: &Case, x: &Tensor, pairs: &[(Var, Var)]) -> ft_kernels::Result<Tensor> {
    let (arch, w) = (&case.arch, &case.weights);
    let product = |site: Site, x: &Tensor| -> ft_kernels::Result<Tensor> {
        let mut lora = Vec::new();
        for (pair, (a, b)) in case.adapter.modules().iter().zip(pairs) {
            let projection = Projection::parse_in(arch.family, &pair.module).unwrap().1;
            if projection.site() == site {
                let (scaling, column) = (pair.scaling as f32, projection.column(arch, case.layer));
                lora.push(Lora { a, b, magnitude: None, scaling, column, dropout: None });
            }
        }
        let frozen = w.product(site);
        let layer = Linear { weight: frozen.weight.clone(), bias: frozen.bias.as_ref(), lora };
        Ok(linear::reference::forward(Compute::reference(), &layer, x, &STARTS, None)?)
    };
    let norm =
        |norm: Option<&NormWeights>, x: &Tensor| norm.map_or_else(|| Ok(x.clone()), |norm| normed(arch, norm, x));
    let mut qkv = product(Site::Qkv, &norm(w.input_norm.as_ref(), x)?)?;
    if arch.family.is_by_head() {
        qkv = columns::reference::split_heads(&qkv, arch.num_heads, arch.head_dim)?;
    }
    let turn = |qkv: Tensor| match arch.layers[case.layer].rope {
        Some(which) => {
            let heads = arch.num_heads + arch.num_kv_heads;
            let tables = &arch.rope_tables(&STARTS).unwrap()[which];
            rope::reference::rope(&qkv, tables, heads, arch.head_dim, Direction::Forward)
        }
        None => Ok(qkv),
    };
    qkv = if arch.turns_first { normed_heads(case, turn(qkv)?)? } else { turn(normed_heads(case, qkv)?)? };
    if let Some(factors) = arch.query_factors(positions()) {
        qkv = row_scale::reference::row_scale(&qkv, &factors, arch.query_columns())?;
    }
    let (attended, _) = attention::reference::attention(&qkv, &attention_spec(arch, case.layer), &STARTS)?;
    let scale = arch.residual_scale;
    let middle = (x + (norm(w.attention_norm.as_ref(), &product(Site::O, &attended)?)? * scale)?)?;
    let normed = norm(w.mlp_norm.as_ref(), if arch.parallel { x } else { &middle })?;
    if let Some(of) = arch.experts_of(case.layer) {
        return Ok((middle + mixture(case, of, &normed, pairs)?)?);
    }
    let gate_up = product(Site::GateUp, &normed)?;
    let activation = w.activation.unwrap_or(arch.activation);
    let hidden = if arch.gated {
        activation::reference::gated(&gate_up, activation)?
    } else {
        activation::reference::plain(&gate_up, activation)?
    };
    let down = norm(w.output_norm.as_ref(), &product(Site::Down, &hidden)?)?;
    Ok((middle + (down * scale)?)?)
}

/// The rows of `x` through a norm.
fn normed(arch: &Architecture, norm: &NormWeights, x: &Tensor) -> ft_kernels::Result<Tensor> {
    match arch.norm {
        NormKind::Rms => norm::reference::rms_norm(x, &norm.weight, arch.norm_eps),
        NormKind::Layer { .. } => norm::reference::layer_norm(x, &norm.weight, norm.bias.as_ref(), arch.norm_eps),
    }
}

/// Queries and keys through their norms, one group of columns after the other.
fn normed_heads(case: &Case, mut qkv: Tensor) -> ft_kernels::Result<Tensor> {
    let (arch, Some([q, k])) = (&case.arch, &case.weights.qk_norm) else { return Ok(qkv) };
    let (first, all) = (arch.query_columns(), qkv.dim(1)?);
    for (norm, column, columns) in [(q, 0, first), (k, first, arch.key_columns())] {
        let width = if arch.qk_norm == QkNorm::Each { arch.head_dim } else { norm.weight.elem_count() };
        for group in 0..columns / width {
            let own = (group * width).min(norm.weight.elem_count() - width);
            let part = NormWeights { weight: norm.weight.narrow(0, own, width)?, bias: norm.bias.clone() };
            let at = column + group * width;
            let rows = qkv.narrow(1, at, width)?.contiguous()?;
            let part = normed(arch, &part, &rows)?.pad_with_zeros(1, at, all - at - width)?;
            let kept: Vec<f32> = (0..all).map(|i| f32::from(i < at || i >= at + width)).collect();
            qkv = (qkv.broadcast_mul(&Tensor::new(kept, qkv.device())?)? + part)?;
        }
    }
    Ok(qkv)
}

/// A mixture of experts with its adapters merged into the weights as peft merges them.
fn mixture(case: &Case, of: &Experts, x: &Tensor, pairs: &[(Var, Var)]) -> ft_kernels::Result<Tensor> {
    let merged = |part: &str, weight: Tensor, count: usize| -> ft_kernels::Result<Tensor> {
        let (rows, inner) = weight.dims2()?;
        let weight = weight.reshape((count, rows / count, inner))?;
        let adapted = case.adapter.modules().iter().zip(pairs).find(|(pair, _)| pair.module.ends_with(part));
        let Some((pair, (a, b))) = adapted else { return Ok(weight) };
        let rank = a.dim(0)? / count;
        let a = a.reshape((count, rank, inner))?;
        let b = b.reshape((rows / count, rank, count))?.permute((2, 0, 1))?.contiguous()?;
        Ok((weight + (b.matmul(&a)? * pair.scaling)?)?)
    };
    let (first, second) = (&case.weights.gate_up.weight, &case.weights.down.weight);
    let (stacked, count) = (first.dims2()?.0 - of.count, of.count);
    let gate_up = merged("experts.gate_up_proj", first.narrow(0, stacked)?.widened()?, count)?;
    let down = merged("experts.down_proj", second.widened()?, count)?;
    let router = merged("mlp.gate", first.narrow(stacked, count)?.widened()?, 1)?.squeeze(0)?;
    let logits = x.matmul(&router.t()?)?;
    let routing = experts::reference::route(&logits.detach(), of.per_token, of.normalised)?;
    let weights = experts::reference::weights(&logits, &routing.experts, of.normalised)?;
    let mut y = x.zeros_like()?;
    for (e, share) in routing.shares(count).iter().enumerate().filter(|(_, share)| !share.rows.is_empty()) {
        let own = experts::reference::gather_rows(x, &share.rows, None)?;
        let hidden = activation::reference::gated(&own.matmul(&gate_up.get(e)?.t()?)?, case.arch.activation)?;
        let part = hidden.matmul(&down.get(e)?.t()?)?;
        let places: Vec<u32> = share.places.iter().map(|&place| place as u32).collect();
        let weights = weights.flatten_all()?.index_select(&Tensor::new(places, x.device())?, 0)?;
        let part = part.broadcast_mul(&weights.unsqueeze(1)?)?;
        y = experts::reference::scatter_add(&y, &part, &share.rows, None)?;
    }
    Ok(y)
}

fn distance(found: &Tensor, expected: &Tensor) -> f64 {
    let size =
        |t: &Tensor| f64::from(t.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap());
    size(&(found - expected).unwrap()) / size(expected).max(1e-6)
}

#[test]
fn the_blocks_backward_is_candles_autograd_of_the_reference() {
    let mut names: Vec<String> =
        std::fs::read_dir(references()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.len() > 20, "reference models are missing: {names:?}");
    for (name, layer) in names.iter().flat_map(|name| [(name, 0), (name, 1)]) {
        let case = case(name, layer);
        let x = Var::from_tensor(&case.x).unwrap();
        let pairs: Vec<(Var, Var)> = case
            .adapter
            .modules()
            .iter()
            .map(|p| (Var::from_tensor(&p.a).unwrap(), Var::from_tensor(&p.b).unwrap()))
            .collect();
        let y = reference(&case, &x, &pairs).unwrap();
        let gradients = (y * &case.dy).unwrap().sum_all().unwrap().backward().unwrap();
        let (dx, found) = written_out(&case);
        let error = distance(&dx, gradients.get(&x).unwrap());
        assert!(error < 1e-4, "{name} {layer}: {error}");
        for (((da, db), (a, b)), pair) in found.iter().zip(&pairs).zip(case.adapter.modules()) {
            assert!(distance(da, gradients.get(a).unwrap()) < 1e-4, "{name}: A of {}", pair.module);
            assert!(distance(db, gradients.get(b).unwrap()) < 1e-4, "{name}: B of {}", pair.module);
        }
    }
}

/// The block by its formulas, in f64, on one row after the other.
struct Plain<'a> {
    case: &'a Case,
    weights: [Vec<f64>; 4],
    norms: [Vec<f64>; 2],
    biases: [Option<Vec<f64>>; 4],
}

fn wide(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect()
}

impl<'a> Plain<'a> {
    fn new(case: &'a Case) -> Self {
        let w = &case.weights;
        let weights =
            [&w.qkv.weight, &w.o.weight, &w.gate_up.weight, &w.down.weight].map(|w| wide(&w.widened().unwrap()));
        let norms = [&w.input_norm, &w.mlp_norm].map(|norm| wide(&norm.as_ref().unwrap().weight));
        let biases = [&w.qkv, &w.o, &w.gate_up, &w.down].map(|product| product.bias.as_ref().map(wide));
        Self { case, weights, norms, biases }
    }

    /// `W·x + bias + s·B·A·x` of one row.
    fn product(&self, site: usize, x: &[f64], pairs: &[(Vec<f64>, Vec<f64>)]) -> Vec<f64> {
        let dot = |row: &[f64], x: &[f64]| row.iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
        let mut y: Vec<f64> = self.weights[site].chunks(x.len()).map(|row| dot(row, x)).collect();
        if let Some(bias) = &self.biases[site] {
            y.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
        for (pair, (a, b)) in self.case.adapter.modules().iter().zip(pairs) {
            let projection = Projection::parse(&pair.module).unwrap().1;
            if Site::ALL[site] == projection.site() {
                let low: Vec<f64> = a.chunks(x.len()).map(|row| dot(row, x)).collect();
                let column = projection.column(&self.case.arch, self.case.layer);
                b.chunks(low.len()).enumerate().for_each(|(o, row)| y[column + o] += pair.scaling * dot(row, &low));
            }
        }
        y
    }

    fn norm(&self, which: usize, x: &[f64]) -> Vec<f64> {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let factor = 1.0 / (mean + self.case.arch.norm_eps).sqrt();
        x.iter().zip(&self.norms[which]).map(|(x, w)| x * factor * w).collect()
    }

    fn rotate(&self, row: &mut [f64], position: usize) {
        let (hd, frequencies) = (self.case.arch.head_dim, self.case.arch.ropes[0].frequencies(1));
        for head in row.chunks_mut(hd).take(self.case.arch.num_heads + self.case.arch.num_kv_heads) {
            for (i, f) in frequencies.iter().enumerate() {
                let (sin, cos) = (position as f64 * f).sin_cos();
                let (a, b) = (head[i], head[i + hd / 2]);
                (head[i], head[i + hd / 2]) = (a * cos - b * sin, b * cos + a * sin);
            }
        }
    }

    /// Causal attention of the last row of `qkv` over all of them.
    fn attend(&self, qkv: &[Vec<f64>]) -> Vec<f64> {
        let arch = &self.case.arch;
        let (hd, group) = (arch.head_dim, arch.num_heads / arch.num_kv_heads);
        let last = &qkv[qkv.len() - 1];
        let mut out = Vec::new();
        for head in 0..arch.num_heads {
            let key = (arch.num_heads + head / group) * hd;
            let value = (arch.num_heads + arch.num_kv_heads + head / group) * hd;
            let score =
                |row: &Vec<f64>| (0..hd).map(|i| last[head * hd + i] * row[key + i]).sum::<f64>() / (hd as f64).sqrt();
            let weights: Vec<f64> = qkv.iter().map(|row| score(row).exp()).collect();
            let total: f64 = weights.iter().sum();
            out.extend(
                (0..hd).map(|i| qkv.iter().zip(&weights).map(|(row, w)| w / total * row[value + i]).sum::<f64>()),
            );
        }
        out
    }

    /// `sum(dy ⊙ block(x))`
    fn objective(&self, x: &[f64], pairs: &[(Vec<f64>, Vec<f64>)]) -> f64 {
        let (h, inter) = (self.case.arch.hidden_size, self.case.arch.intermediate_size);
        let dy = wide(&self.case.dy);
        let mut total = 0.0;
        for span in STARTS.windows(2) {
            let mut qkv: Vec<Vec<f64>> = Vec::new();
            for t in span[0]..span[1] {
                let x = &x[t * h..][..h];
                let mut row = self.product(0, &self.norm(0, x), pairs);
                self.rotate(&mut row, t - span[0]);
                qkv.push(row);
                let o = self.product(1, &self.attend(&qkv), pairs);
                let middle: Vec<f64> = o.iter().zip(x).map(|(o, x)| o + x).collect();
                let gate_up = self.product(2, &self.norm(1, &middle), pairs);
                let gated: Vec<f64> =
                    (0..inter).map(|i| gate_up[i] / (1.0 + (-gate_up[i]).exp()) * gate_up[inter + i]).collect();
                let down = self.product(3, &gated, pairs);
                total += down.iter().zip(&middle).zip(&dy[t * h..]).map(|((d, m), dy)| (d + m) * dy).sum::<f64>();
            }
        }
        total
    }
}

#[test]
fn the_blocks_backward_is_the_finite_difference_in_f64() {
    let case = case("llama_tied_bias-s2", 0);
    let plain = Plain::new(&case);
    let x = wide(&case.x);
    let pairs: Vec<_> = case.adapter.modules().iter().map(|p| (wide(&p.a), wide(&p.b))).collect();
    let (dx, gradients) = written_out(&case);
    let close = |what: &str, i: usize, found: f64, difference: f64| {
        let expected = difference / 2e-5;
        assert!(
            (found - expected).abs() < 2e-3 * expected.abs().max(1.0),
            "{what}, element {i}: {found} for {expected}"
        );
    };
    for (i, found) in wide(&dx).into_iter().enumerate().step_by(37) {
        let at = |step: f64| {
            let mut x = x.clone();
            x[i] += step;
            plain.objective(&x, &pairs)
        };
        close("x", i, found, at(1e-5) - at(-1e-5));
    }
    for (m, (da, db)) in gradients.iter().enumerate() {
        let module = &case.adapter.modules()[m].module;
        for (kind, gradient) in [("A", da), ("B", db)] {
            let all = wide(gradient);
            for i in (0..all.len()).step_by(all.len() / 5 + 1) {
                let at = |step: f64| {
                    let mut pairs = pairs.clone();
                    if kind == "A" {
                        pairs[m].0[i] += step;
                    } else {
                        pairs[m].1[i] += step;
                    }
                    plain.objective(&x, &pairs)
                };
                close(&format!("{kind} of {module}"), i, all[i], at(1e-5) - at(-1e-5));
            }
        }
    }
}
