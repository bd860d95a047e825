//! What products are computed in, as it is asked for.

use candle_core::DType;
use ft_kernels::backend::Precision;
use ft_model::layers::WeightFormat;

ft_io::named_values! {
    /// `mixed_precision`: what the products of frozen matrices are made in. What is learned, its gradients and the
    /// optimizer's memory are f32 in all of them. This is the option's word; what a device computes in is a [`Precision`].
    pub enum MixedPrecision {
        /// f32 on a CPU; on a GPU bf16, or fp16 where it has no bf16
        Auto = ["auto"],
        /// 32-bit floats
        F32 = ["f32", "no", "fp32", "float32"],
        /// f32 storage, TF32 matrix products on a GPU
        Tf32 = ["tf32"],
        /// bfloat16
        Bf16 = ["bf16", "bfloat16"],
        /// IEEE half precision, with dynamic loss scaling
        Fp16 = ["fp16", "f16", "float16"],
    }
}

impl MixedPrecision {
    /// What operators make of it; none where the device decides.
    pub fn operators(self) -> Option<Precision> {
        let f32 = Precision::F32;
        match self {
            Self::Auto => None,
            Self::F32 => Some(f32),
            Self::Tf32 => Some(Precision { tf32: true, ..f32 }),
            Self::Bf16 => Some(Precision { activations: DType::BF16, products: Some(DType::BF16), ..f32 }),
            // f16's gradients need a scale that keeps them above its smallest numbers, so its activations stay f32.
            Self::Fp16 => Some(Precision { products: Some(DType::F16), ..f32 }),
        }
    }

    /// How the frozen matrices are kept if nobody says otherwise.
    pub fn weight_format(self) -> WeightFormat {
        WeightFormat::of(self.operators().unwrap_or_default())
    }
}
