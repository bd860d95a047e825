//! What products are computed in, as it is asked for.

use candle_core::DType;
use ft_model::layers::WeightFormat;

ft_io::named_values! {
    /// `mixed_precision`: what the products of frozen matrices are made in. What is learned, its gradients and the
    /// optimizer's memory are f32 in all of them. What a device then computes in is a [`ft_kernels::backend::Precision`].
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
    /// The type of two bytes, where it is one.
    pub fn half(self) -> Option<DType> {
        match self {
            Self::Auto | Self::F32 | Self::Tf32 => None,
            Self::Bf16 => Some(DType::BF16),
            Self::Fp16 => Some(DType::F16),
        }
    }

    /// How the frozen matrices are kept if nobody says otherwise.
    pub fn weight_format(self) -> WeightFormat {
        match self {
            Self::Auto | Self::F32 | Self::Tf32 => WeightFormat::F32,
            Self::Bf16 => WeightFormat::BF16,
            Self::Fp16 => WeightFormat::F16,
        }
    }

    /// Whether the loss is scaled while gradients are formed.
    pub fn scales_loss(self) -> bool {
        self == Self::Fp16
    }
}
