//! Which rows go to which side, once all of them are known.

use ft_table::Error;

use crate::args::Args;
use crate::facts::Facts;
use crate::groups::{assign, of_near_rows};
use crate::leak;
use crate::random::{Use, seed_of};
use crate::report::Report;
use crate::split::{Chooser, Side};

/// What is wrong with the rows as a whole, or else.
pub enum Fault {
    /// In words.
    Rows(String),
    /// Anything else.
    Other(anyhow::Error),
}

impl Fault {
    /// The error about inputs of these names.
    pub fn about(self, names: String) -> anyhow::Error {
        match self {
            Self::Rows(told) => Error::format(names, told).into(),
            Self::Other(error) => error,
        }
    }
}

/// The chooser of `rows` rows with these facts; lists the leaks where that is asked.
pub fn chooser(
    args: &Args,
    rows: u64,
    mut facts: Facts,
    names: &[String],
    report: &mut Report,
) -> Result<Chooser, Fault> {
    let sampled = args.limit.filter(|&limit| args.shuffle && limit < rows);
    let taken = sampled.unwrap_or(rows);
    let test = args.test_size.map(|size| size.of(taken)).transpose().map_err(Fault::Rows)?;
    if test.is_some() || args.shuffle || !args.mix.is_empty() {
        report.seed = Some(args.seed);
    }
    let sample = sampled.map(|limit| (seed_of(args.seed, Use::Sample), limit));
    let drawn = |test: Option<u64>| Chooser::new(rows, sample, test.map(|test| (args.seed, test)));
    let Some(test) = test.filter(|_| facts.are_known()) else {
        return Ok(drawn(test));
    };
    let mut sides: Vec<Option<Side>>;
    let is_grouped = args.group_near.is_some() || args.wanted_facts().group || args.wanted_facts().stratum;
    if is_grouped {
        let mut sampler = drawn(None);
        sides = (0..rows).map(|_| sampler.next_side()).collect();
        let chosen: Vec<usize> = (0..sides.len()).filter(|&row| sides[row].is_some()).collect();
        if let Some(threshold) = args.group_near {
            facts.groups = of_near_rows(&facts, threshold);
        }
        let is_test = assign(&facts.of_rows(&chosen), chosen.len(), test, args.seed).map_err(Fault::Rows)?;
        for (row, is_test) in chosen.into_iter().zip(is_test) {
            sides[row] = Some(if is_test { Side::Test } else { Side::Train });
        }
    } else {
        let mut chooser = drawn(Some(test));
        sides = (0..rows).map(|_| chooser.next_side()).collect();
    }
    if let Some(target) = &args.leak_report {
        let held_out = sides.iter().filter(|side| **side == Some(Side::Test)).count();
        let leaks = leak::report(target, &facts, names, &sides, args.leak_similarity).map_err(Fault::Other)?;
        let message = format!("{leaks} of {held_out} test rows are in the training side, or nearly (see '{target}')");
        if leaks > 0 {
            tracing::warn!("{message}");
        } else {
            tracing::info!("{message}");
        }
        report.leaks = Some(leaks);
    }
    Ok(Chooser::Known(sides.into_iter()))
}
