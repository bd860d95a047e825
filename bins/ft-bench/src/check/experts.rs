//! The operators of mixtures of experts, and matrices in few bits.

use candle_core::{Device, Tensor};
use ft_kernels::experts::{gather_rows, gather_rows_weighted, route, route_backward, row_dots, scatter_add_weighted};
use ft_kernels::quant::{FourBit, Kind, reference::expand_four_bit};

use super::inputs::{Case, case, matrix, numbers};

const TOKENS: usize = 90;
const HIDDEN: usize = 328;

/// All of them.
pub fn all() -> Vec<Case> {
    let rows = || (0..TOKENS as u32).filter(|row| row % 3 != 1).collect::<Vec<_>>();
    let weights = move || rows().iter().map(|&row| 0.01 * row as f32 - 0.3).collect::<Vec<_>>();
    let mut cases = vec![
        case("gather_rows", move |d| Ok(vec![gather_rows(d.compute, &matrix(d, 1, TOKENS, HIDDEN)?, &rows())?])),
        case("gather_rows, weighted", move |d| {
            Ok(vec![gather_rows_weighted(d.compute, &matrix(d, 1, TOKENS, HIDDEN)?, &rows(), &weights())?])
        }),
        case("scatter_add, weighted", move |d| {
            let part = matrix(d, 2, rows().len(), HIDDEN)?;
            Ok(vec![scatter_add_weighted(d.compute, matrix(d, 1, TOKENS, HIDDEN)?, &part, &rows(), &weights())?])
        }),
        case("row_dots", move |d| {
            let part = matrix(d, 2, rows().len(), HIDDEN)?;
            Ok(vec![Tensor::new(row_dots(d.compute, &matrix(d, 1, TOKENS, HIDDEN)?, &part, &rows())?, &Device::Cpu)?])
        }),
    ];
    for normalise in [true, false] {
        let word = if normalise { ", normalised" } else { "" };
        cases.push(case(&format!("route{word}"), move |d| {
            let routing = route(d.compute, &matrix(d, 1, TOKENS, 9)?, 3, normalise)?;
            Ok(vec![Tensor::new(routing.experts.as_slice(), &Device::Cpu)?, routing.weights])
        }));
        cases.push(case(&format!("route backward{word}"), move |d| {
            let logits = matrix(d, 1, TOKENS, 9)?;
            let routing = route(d.compute, &logits, 3, normalise)?;
            Ok(vec![route_backward(d.compute, &matrix(d, 2, TOKENS, 3)?, &routing, &logits)?])
        }));
    }
    for double in [true, false] {
        let word = if double { ", scales in 8 bits" } else { "" };
        cases.push(case(&format!("NF4{word}"), move |d| {
            let packed = FourBit::quantise(&numbers(1, 64 * 300), Kind::Nf4, double);
            if !d.compute.is_fused() {
                return Ok(vec![expand_four_bit(&packed, &d.device)?]);
            }
            let mut all = vec![0.0; packed.len()];
            packed.expand(&mut all)?;
            Ok(vec![Tensor::new(all, &d.device)?])
        }));
    }
    cases
}
