//! Activations in candle operations, on any device.

use candle_core::{D, Tensor};

use super::{Activation, check};
use crate::error::Result;

/// See [`super::gated`]; candle can differentiate it.
///
/// # Errors
/// If `gate_up` is not a matrix with an even number of columns.
pub fn gated(gate_up: &Tensor, activation: Activation) -> Result<Tensor> {
    let (gate, up) = halves(gate_up)?;
    Ok((plain(&gate, activation)? * up)?)
}

/// See [`super::gated_backward_inplace`]; `gate_up` is left as it is.
///
/// # Errors
/// If the shapes do not fit.
pub fn gated_backward(dh: &Tensor, gate_up: &Tensor, activation: Activation) -> Result<Tensor> {
    let (gate, up) = halves(gate_up)?;
    let d_gate = (slope(&gate, activation)? * (dh * up)?)?;
    let d_up = (dh * plain(&gate, activation)?)?;
    Ok(Tensor::cat(&[d_gate, d_up], D::Minus1)?)
}

/// See [`super::plain`]; candle can differentiate it.
///
/// # Errors
/// If candle refuses an operation.
pub fn plain(x: &Tensor, activation: Activation) -> Result<Tensor> {
    // candle's own GELUs have constants of six digits in their gradients.
    let half_of = |bounded: Tensor| -> Result<Tensor> { Ok((x * ((bounded + 1.0)? * 0.5)?)?) };
    Ok(match activation {
        Activation::Silu => x.silu()?,
        Activation::GeluTanh => {
            let root = (2.0 / std::f64::consts::PI).sqrt();
            half_of((x * ((x.sqr()? * (0.044_715 * root))? + root)?)?.tanh()?)?
        }
        Activation::Gelu => half_of((x * std::f64::consts::FRAC_1_SQRT_2)?.erf()?)?,
        Activation::Relu => x.relu()?,
        Activation::ReluSquared => x.relu()?.sqr()?,
        Activation::Xielu(of) => {
            let [positive, negative, beta, eps] = [of.positive, of.negative, of.beta, of.eps].map(f64::from);
            let above = (x.sqr()? * positive)?;
            let below = (((x.minimum(eps)?.exp()? - 1.0)? - x)? * negative)?;
            (x.gt(0.0)?.where_cond(&above, &below)? + (x * beta)?)?
        }
    })
}

/// See [`super::plain_backward_inplace`]; `x` is left as it is.
///
/// # Errors
/// If the shapes do not fit.
pub fn plain_backward(dh: &Tensor, x: &Tensor, activation: Activation) -> Result<Tensor> {
    Ok((dh * slope(x, activation)?)?)
}

/// The activation's slope.
fn slope(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let x = &x.contiguous()?;
    let sigmoid = |x: &Tensor| -> Result<Tensor> { Ok((x.neg()?.exp()? + 1.0)?.recip()?) };
    // d sigmoid(u)/du = g (1 - g)
    let steep = |g: &Tensor| -> Result<Tensor> { Ok((g * (1.0 - g)?)?) };
    Ok(match activation {
        Activation::Silu => {
            let g = sigmoid(x)?;
            ((x * steep(&g)?)? + g)?
        }
        Activation::GeluTanh => {
            let root = (8.0 / std::f64::consts::PI).sqrt();
            let square = x.sqr()?;
            let g = sigmoid(&(x * ((&square * (0.044_715 * root))? + root)?)?)?;
            let inner = ((square * (3.0 * 0.044_715 * root))? + root)?;
            ((x * (steep(&g)? * inner)?)? + g)?
        }
        Activation::Gelu => {
            let density = ((x.sqr()? * -0.5)?.exp()? * (1.0 / (2.0 * std::f64::consts::PI).sqrt()))?;
            let below = (((x * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)? * 0.5)?;
            (below + (x * density)?)?
        }
        Activation::Relu => x.gt(0.0)?.to_dtype(x.dtype())?,
        Activation::ReluSquared => (x.relu()? * 2.0)?,
        Activation::Xielu(of) => {
            let [positive, negative, beta, eps] = [of.positive, of.negative, of.beta, of.eps].map(f64::from);
            let above = (x * (2.0 * positive))?;
            // The bound's exponent does not grow with x.
            let grows = x.lt(eps)?.to_dtype(x.dtype())?;
            let below = (((x.minimum(eps)?.exp()? * grows)? - 1.0)? * negative)?;
            (x.gt(0.0)?.where_cond(&above, &below)? + beta)?
        }
    })
}

fn halves(gate_up: &Tensor) -> Result<(Tensor, Tensor)> {
    let (_, inter) = check("gated activation", gate_up)?;
    let gate = gate_up.narrow(D::Minus1, 0, inter)?;
    let up = gate_up.narrow(D::Minus1, inter, inter)?;
    Ok((gate, up))
}
