//! The ways in which adapters become one.

/// How adapters become one, by peft's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combination {
    /// Sums of the `A`s and of the `B`s.
    Linear,
    /// TIES on the `A`s and on the `B`s.
    Ties,
    /// DARE on both, then sums.
    DareLinear,
    /// DARE on both, then TIES without its pruning.
    DareTies,
    /// The best pair of a rank for the sum of the products.
    Svd,
    /// The pairs one behind the other: the sum of the products.
    Cat,
}

/// `majority_sign_method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Majority {
    /// The sign of the elements' sum.
    Total,
    /// The sign of the sum of their signs.
    Frequency,
}

/// How, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Combine {
    /// The way.
    pub how: Combination,
    /// Of TIES and DARE: the share of elements that stays.
    pub density: f64,
    /// Of TIES.
    pub majority: Majority,
    /// Of `Svd`: the rank; none is the largest of the adapters'.
    pub rank: Option<usize>,
    /// Of DARE: what is dropped depends on it and on the module's name.
    pub seed: u64,
}
