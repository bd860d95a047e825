//! What a device computes in, of what was asked for.

use anyhow::{Result, bail};
use candle_core::{DType, Device};
use ft_io::NamedValue;
use ft_kernels::backend::{Precision, is_host};
use ft_kernels::device;
use ft_model::device::DeviceName;

use crate::options::MixedPrecision;

/// What is computed in on the device of this name, never `Auto`; and tells the user. `tf32` asks for products of f32 with 10
/// bits behind the point beside it.
///
/// # Errors
/// If the device cannot.
pub fn begin(asked: MixedPrecision, tf32: bool, name: DeviceName, on: &Device) -> Result<MixedPrecision> {
    let found = chosen(asked, device::compute_capability(on))?;
    // A GPU's emulation is on the host, and computes as a GPU does.
    tell(found, asked, tf32, is_host(on) && !matches!(name, DeviceName::Cuda(_)));
    Ok(found)
}

/// The same, as operators know it.
pub fn of_operators(found: MixedPrecision, tf32: bool) -> Precision {
    // f16's gradients need a scale that keeps them above its smallest numbers, so its activations stay f32.
    let activations = if found == MixedPrecision::Bf16 { DType::BF16 } else { DType::F32 };
    Precision { activations, products: found.half(), tf32: tf32 || found == MixedPrecision::Tf32 }
}

/// What follows from it, where it was asked for or is not f32.
fn tell(found: MixedPrecision, asked: MixedPrecision, tf32: bool, by_the_cpu: bool) {
    let (name, by_itself) = (found.name(), if asked == found { "" } else { " (--precision auto)" });
    match (found.half(), by_the_cpu) {
        (Some(_), true) => tracing::info!("{name}: on a CPU every product and sum is f32"),
        (Some(_), false) => {
            let rows =
                if found == MixedPrecision::Bf16 { "activations and products" } else { "products of frozen matrices" };
            tracing::info!("{name}{by_itself}: {rows}; sums, what is learned and its gradients are f32");
        }
        (None, _) => {}
    }
    if tf32 || found == MixedPrecision::Tf32 {
        let effect = if by_the_cpu { "without effect on a CPU, where products are f32" } else { "products of f32" };
        tracing::info!("tf32: {effect}");
    }
}

/// The precision that is asked for on a GPU of this compute capability, or on a CPU, which has none.
fn chosen(asked: MixedPrecision, capability: Option<(u32, u32)>) -> Result<MixedPrecision> {
    let old = capability.filter(|(major, _)| *major < 8);
    Ok(match (asked, capability, old) {
        (MixedPrecision::Auto, None, _) => MixedPrecision::F32,
        (MixedPrecision::Auto, Some(_), None) => MixedPrecision::Bf16,
        (MixedPrecision::Auto, Some(_), Some(_)) => MixedPrecision::Fp16,
        (MixedPrecision::Bf16 | MixedPrecision::Tf32, _, Some((major, minor))) => bail!(
            "--precision {} needs a GPU of compute capability 8.0, found {major}.{minor}; take --precision fp16 or f32",
            asked.name()
        ),
        (said, _, _) => said,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_what_the_device_can() {
        let auto = |capability| chosen(MixedPrecision::Auto, capability).unwrap();
        assert_eq!(auto(None), MixedPrecision::F32);
        assert_eq!([auto(Some((8, 0))), auto(Some((9, 0)))], [MixedPrecision::Bf16; 2]);
        assert_eq!([auto(Some((7, 5))), auto(Some((6, 1)))], [MixedPrecision::Fp16; 2]);
    }

    #[test]
    fn what_the_device_cannot_is_refused_with_what_it_can() {
        for asked in [MixedPrecision::Bf16, MixedPrecision::Tf32] {
            assert_eq!(chosen(asked, None).unwrap(), asked);
            assert_eq!(chosen(asked, Some((8, 6))).unwrap(), asked);
            let told = chosen(asked, Some((7, 5))).unwrap_err().to_string();
            assert!(told.contains("compute capability 8.0, found 7.5; take --precision fp16 or f32"), "{told}");
        }
        assert_eq!(chosen(MixedPrecision::Fp16, Some((7, 0))).unwrap(), MixedPrecision::Fp16);
        assert_eq!(chosen(MixedPrecision::F32, Some((6, 0))).unwrap(), MixedPrecision::F32);
    }
}
