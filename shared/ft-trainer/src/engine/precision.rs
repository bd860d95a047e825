//! What a device computes in, of what was asked for.

use candle_core::{DType, Device};
use ft_io::NamedValue;
use ft_kernels::backend::{Precision, is_host};
use ft_kernels::device;
use ft_model::device::DeviceName;

use crate::error::{Error, Result};
use crate::options::MixedPrecision;

/// What is computed in on the device of this name; and tells the user. `tf32` asks for products of f32 with 10 bits behind
/// the point beside it.
///
/// # Errors
/// If the device cannot.
pub fn begin(asked: MixedPrecision, tf32: bool, name: DeviceName, on: &Device) -> Result<Precision> {
    let found = chosen(asked, device::compute_capability(on))?;
    let found = Precision { tf32: tf32 || found.tf32, ..found };
    // A GPU's emulation is on the host, and computes as a GPU does.
    tell(found, asked == MixedPrecision::Auto, is_host(on) && !matches!(name, DeviceName::Cuda(_)));
    Ok(found)
}

/// What follows from it, where it was asked for or is not f32.
fn tell(found: Precision, by_itself: bool, by_the_cpu: bool) {
    let (name, by_itself) = (found.name(), if by_itself { " (--precision auto)" } else { "" });
    match (found.products, by_the_cpu) {
        (Some(_), true) => tracing::info!("{name}: on a CPU every product and sum is f32"),
        (Some(_), false) => {
            let narrow = found.activations != DType::F32;
            let rows = if narrow { "activations and products" } else { "products of frozen matrices" };
            tracing::info!("{name}{by_itself}: {rows}; sums, what is learned and its gradients are f32");
        }
        (None, _) => {}
    }
    if found.tf32 {
        let effect = if by_the_cpu { "without effect on a CPU, where products are f32" } else { "products of f32" };
        tracing::info!("tf32: {effect}");
    }
}

/// The precision that is asked for on a GPU of this compute capability, or on a CPU, which has none.
fn chosen(asked: MixedPrecision, capability: Option<(u32, u32)>) -> Result<Precision> {
    let old = capability.filter(|(major, _)| *major < 8);
    if let (MixedPrecision::Bf16 | MixedPrecision::Tf32, Some((major, minor))) = (asked, old) {
        return Err(Error::Options(format!(
            "--precision {} needs a GPU of compute capability 8.0, found {major}.{minor}; take --precision fp16 or f32",
            asked.name()
        )));
    }
    let best = match (capability, old) {
        (None, _) => MixedPrecision::F32,
        (Some(_), None) => MixedPrecision::Bf16,
        (Some(_), Some(_)) => MixedPrecision::Fp16,
    };
    Ok(asked.operators().or(best.operators()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_what_the_device_can() {
        let auto = |capability| chosen(MixedPrecision::Auto, capability).unwrap().name();
        assert_eq!(auto(None), "f32");
        assert_eq!([auto(Some((8, 0))), auto(Some((9, 0)))], ["bf16"; 2]);
        assert_eq!([auto(Some((7, 5))), auto(Some((6, 1)))], ["fp16"; 2]);
    }

    #[test]
    fn what_the_device_cannot_is_refused_with_what_it_can() {
        let name = |asked, capability| chosen(asked, capability).unwrap().name();
        for asked in [MixedPrecision::Bf16, MixedPrecision::Tf32] {
            assert_eq!([name(asked, None), name(asked, Some((8, 6)))], [asked.name(); 2]);
            let told = chosen(asked, Some((7, 5))).unwrap_err().to_string();
            assert!(told.contains("compute capability 8.0, found 7.5; take --precision fp16 or f32"), "{told}");
        }
        assert_eq!(name(MixedPrecision::Fp16, Some((7, 0))), "fp16");
        assert_eq!(name(MixedPrecision::F32, Some((6, 0))), "f32");
    }
}
