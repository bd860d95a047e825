//! What tests that kill draw, and how often they do it.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Marsaglia's xorshift64.
pub struct Random(u64);

impl Random {
    /// From `FT_SEED`, or from the time; says which, so that what failed can be repeated.
    pub fn seeded() -> Self {
        let of_time = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
        let seed = number("FT_SEED").unwrap_or_else(of_time).max(1);
        // Past the test harness, which shows no output of a test that passes.
        std::io::stderr().write_all(format!("the seed is {seed}: FT_SEED={seed} repeats it\n").as_bytes()).unwrap();
        Self(seed)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// How many kills a test makes: `FT_KILLS`, or 10.
pub fn kills() -> usize {
    number("FT_KILLS").map_or(10, |kills| kills.max(1) as usize)
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is '{text}', expected a number")))
}
