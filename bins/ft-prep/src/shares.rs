//! What is mixed, and for how long.

use std::str::FromStr;

use ft_io::Source;

/// `FILE=WEIGHT`.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// What is read.
    pub source: Source,
    /// How often its rows are drawn beside those of others.
    pub weight: f64,
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (file, weight) = text.rsplit_once('=').ok_or("expected FILE=WEIGHT, such as chats.jsonl=2")?;
        match weight.parse::<f64>() {
            Ok(weight) if weight > 0.0 && weight.is_finite() => Ok(Self { source: Source::parse(file), weight }),
            _ => Err(format!("the weight '{weight}' is no number above 0")),
        }
    }
}

/// When a mix ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// As soon as one input has no more rows: none is repeated.
    #[default]
    First,
    /// When every input was read once; those that end before begin again.
    All,
    /// After so many rows; inputs that end before begin again.
    Rows(u64),
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("first", _) => Ok(Self::First),
            ("all", _) => Ok(Self::All),
            (_, Ok(rows)) if rows > 0 => Ok(Self::Rows(rows)),
            _ => Err("expected first, all or a number of rows".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_ends_are_told() {
        let share: Share = "a=b.jsonl=0.5".parse().unwrap();
        assert_eq!((share.source, share.weight), (Source::parse("a=b.jsonl"), 0.5));
        for wrong in ["a.jsonl", "a=0", "a=-1", "a=x", "a=inf"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
        assert_eq!(
            ("first".parse(), "all".parse(), "7".parse()),
            (Ok(Until::First), Ok(Until::All), Ok(Until::Rows(7)))
        );
        assert!("0".parse::<Until>().is_err() && "none".parse::<Until>().is_err());
    }
}
