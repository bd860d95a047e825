//! Random numbers by counting: each depends on the seed and its own number only.

/// `SplitMix64` (Steele, Lea, Flood 2014): the number after `state`, which moves on.
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed(*state)
}

/// Its finisher: a bijection of 64 bits in which each bit of the input turns half of the bits.
pub fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What random numbers are drawn for, so that one seed gives each use a stream of its own.
#[derive(Clone, Copy)]
pub enum Use {
    /// The order of rows.
    Shuffle = 1,
    /// Which rows are taken where only some are.
    Sample = 2,
    /// The order in which groups are taken for the test side.
    Groups = 3,
    /// Whose row is next in a mix.
    Mix = 4,
}

/// The seed of one use.
pub fn seed_of(seed: u64, r#use: Use) -> u64 {
    mixed(seed ^ mixed(r#use as u64))
}

/// Random number `n` of a seed.
pub fn nth(seed: u64, n: u64) -> u64 {
    mixed(seed.wrapping_add(mixed(n.wrapping_add(0x9e37_79b9_7f4a_7c15))))
}
