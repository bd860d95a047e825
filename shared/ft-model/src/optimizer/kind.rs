//! The optimizers by the names that transformers gives them.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// An optimizer of transformers' `OptimizerNames` that is implemented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OptimizerKind {
    /// `torch.optim.AdamW`.
    #[default]
    AdamwTorch,
    /// The same: there is but one AdamW here, and it is fused.
    AdamwTorchFused,
    /// AdamW with its moments in a file.
    PagedAdamw32bit,
    /// AdamW with moments of 8 bits.
    Adamw8bit,
    /// AdamW with moments of 8 bits in a file.
    PagedAdamw8bit,
    /// `torch.optim.SGD`.
    Sgd,
    /// Lion.
    Lion32bit,
    /// Lion with a momentum of 8 bits.
    Lion8bit,
    /// Lion with its momentum in a file.
    PagedLion32bit,
    /// Lion with a momentum of 8 bits in a file.
    PagedLion8bit,
}

/// The method, whatever its moments are held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    AdamW,
    Sgd,
    Lion,
}

impl OptimizerKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::AdamwTorch,
        Self::AdamwTorchFused,
        Self::PagedAdamw32bit,
        Self::Adamw8bit,
        Self::PagedAdamw8bit,
        Self::Sgd,
        Self::Lion32bit,
        Self::Lion8bit,
        Self::PagedLion32bit,
        Self::PagedLion8bit,
    ];

    /// Its name, as transformers spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AdamwTorch => "adamw_torch",
            Self::AdamwTorchFused => "adamw_torch_fused",
            Self::PagedAdamw32bit => "paged_adamw_32bit",
            Self::Adamw8bit => "adamw_8bit",
            Self::PagedAdamw8bit => "paged_adamw_8bit",
            Self::Sgd => "sgd",
            Self::Lion32bit => "lion_32bit",
            Self::Lion8bit => "lion_8bit",
            Self::PagedLion32bit => "paged_lion_32bit",
            Self::PagedLion8bit => "paged_lion_8bit",
        }
    }

    /// Whether its memory lies in a file.
    pub fn is_paged(self) -> bool {
        self.name().starts_with("paged_")
    }

    /// The kind that does the same with its memory in a file; none where there is none.
    pub fn paged(self) -> Option<Self> {
        match self {
            Self::AdamwTorch | Self::AdamwTorchFused | Self::PagedAdamw32bit => Some(Self::PagedAdamw32bit),
            Self::Adamw8bit | Self::PagedAdamw8bit => Some(Self::PagedAdamw8bit),
            Self::Lion32bit | Self::PagedLion32bit => Some(Self::PagedLion32bit),
            Self::Lion8bit | Self::PagedLion8bit => Some(Self::PagedLion8bit),
            Self::Sgd => None,
        }
    }

    /// Whether the moments of large tensors have 8 bits.
    pub fn has_8bit_moments(self) -> bool {
        self.name().ends_with("_8bit")
    }

    pub(super) fn method(self) -> Method {
        match self {
            Self::AdamwTorch
            | Self::AdamwTorchFused
            | Self::PagedAdamw32bit
            | Self::Adamw8bit
            | Self::PagedAdamw8bit => Method::AdamW,
            Self::Sgd => Method::Sgd,
            Self::Lion32bit | Self::Lion8bit | Self::PagedLion32bit | Self::PagedLion8bit => Method::Lion,
        }
    }

    /// Whether both remember the same of a tensor, so that one can go on where the other stopped.
    pub(super) fn remembers_as(self, other: Self) -> bool {
        self.method() == other.method() && self.has_8bit_moments() == other.has_8bit_moments()
    }
}

impl fmt::Display for OptimizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The second names of some, and what is meant by them.
const ALIASES: [(&str, OptimizerKind); 3] = [
    ("adamw_bnb_8bit", OptimizerKind::Adamw8bit),
    ("paged_adamw", OptimizerKind::PagedAdamw32bit),
    ("lion", OptimizerKind::Lion32bit),
];

impl FromStr for OptimizerKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let own = Self::ALL.into_iter().find(|kind| kind.name() == name);
        let alias = || ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, kind)| *kind);
        own.or_else(alias).ok_or_else(|| {
            let known: Vec<_> =
                Self::ALL.iter().map(|kind| kind.name()).chain(ALIASES.map(|(alias, _)| alias)).collect();
            Error::Optimizer(format!("'{name}' is not implemented; known are: {}", known.join(", ")))
        })
    }
}
