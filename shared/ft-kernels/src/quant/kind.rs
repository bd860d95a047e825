//! NF4 and FP4: what their codes stand for.

use std::fmt;

/// What the 16 codes stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// The quantiles of a normal distribution, with 0 among them ("QLoRA", section 3 and appendix E).
    #[default]
    Nf4,
    /// A sign, two bits of exponent and one of fraction, the largest scaled to 1.
    Fp4,
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "nf4" => Ok(Self::Nf4),
            "fp4" => Ok(Self::Fp4),
            _ => Err("expected nf4 or fp4".into()),
        }
    }
}

/// bitsandbytes' numbers for NF4.
const NF4: [f32; 16] = [
    -1.0,
    -0.6961928,
    -0.52507305,
    -0.3949175,
    -0.28444138,
    -0.18477343,
    -0.091050036,
    0.0,
    0.0795803,
    0.1609302,
    0.2461123,
    0.33791524,
    0.44070983,
    0.562617,
    0.72295684,
    1.0,
];

/// bitsandbytes' FP4, in 192nds: the codes' three lower bits count 0, 1, 128, 192, 64, 96, 32, 48.
const FP4: [f32; 16] = {
    let mut all = [0.0; 16];
    let magnitudes = [0.0625f32, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0];
    let mut i = 0;
    while i < 7 {
        all[i + 1] = magnitudes[i] / 12.0;
        all[i + 9] = -all[i + 1];
        i += 1;
    }
    all
};

impl Kind {
    /// The name in bitsandbytes.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Nf4 => "nf4",
            Kind::Fp4 => "fp4",
        }
    }

    /// The kind that bitsandbytes calls so.
    pub fn from_name(name: &str) -> Option<Self> {
        [Kind::Nf4, Kind::Fp4].into_iter().find(|kind| kind.name() == name)
    }

    /// The numbers that the codes 0 to 15 stand for, of -1 to 1.
    pub fn table(self) -> &'static [f32; 16] {
        match self {
            Kind::Nf4 => &NF4,
            Kind::Fp4 => &FP4,
        }
    }

    /// The codes in the order of their numbers. FP4 has two zeros: 0, then 8.
    pub(super) fn order(self) -> [u8; 16] {
        match self {
            Kind::Nf4 => std::array::from_fn(|i| i as u8),
            Kind::Fp4 => [11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3],
        }
    }

    /// The middles between neighbouring numbers; one that lies on a middle takes the lower code.
    pub(super) fn bounds(self) -> [f32; 15] {
        let (table, order) = (self.table(), self.order());
        let at = |i: usize| table[usize::from(order[i])];
        std::array::from_fn(|i| f32::midpoint(at(i), at(i + 1)))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
