//! The examination that goes with each evaluation.

use std::time::Instant;

use ft_io::interrupt;
use ft_model::decoder::Decoder;
use serde_json::json;

use super::Trainer;
use crate::error::Result;
use crate::json::{Entry, rounded};
use crate::run::examiner::{Examined, Examiner, Marks};

/// The key of the seconds that it took.
pub const RUNTIME: &str = "eval_generate_runtime";

impl Trainer<'_> {
    /// The means of all marks; nothing where nobody examines.
    ///
    /// Ranks that hold all layers share the questions out; where layers come from all ranks, each asks all of them, for
    /// nobody could be asked for a layer out of turn. Either way the means are over the questions in their order, and so
    /// the same bits.
    pub(super) fn examine(&mut self) -> Result<Entry> {
        // For as long as it is asked it is not the trainer's, which it is to look at.
        let Some(mut examiner) = self.examiner.take() else { return Ok(Entry::new()) };
        let found = self.examined_by(&mut *examiner);
        self.examiner = Some(examiner);
        found
    }

    fn examined_by(&self, examiner: &mut dyn Examiner) -> Result<Entry> {
        let started = Instant::now();
        let (setup, ranks) = (&self.setup, &*self.setup.ranks);
        let placed = setup.adapter.on(setup.source.device())?;
        let decoder =
            Decoder { compute: setup.compute, arch: &setup.arch, source: &*setup.source, adapter: Some(&placed) };
        let model = Examined { decoder, form: &setup.train.form };
        let questions = examiner.questions();
        let together = setup.source.is_collective();
        let shares = ft_dist::shares(questions, ranks.world());
        let own = if together { 0..questions } else { shares[ranks.rank()].clone() };
        let bar = setup.progress.begin("answering", own.len() as u64);
        let mut step = |done: usize| {
            bar.advance(done as u64);
            let stops = interrupt::requested();
            Ok(!(if together { ft_dist::any(ranks, stops)? } else { stops }))
        };
        let marks = examiner.examine(model, own, &mut step)?;
        drop(bar);
        // A signal to one rank ends it for all.
        if ft_dist::any(ranks, marks.is_none())? {
            return Err(ft_io::Interrupted.into());
        }
        let mut all = marks.unwrap_or_default();
        if !together && ranks.world() > 1 {
            let flat: Vec<f64> = all.iter().flat_map(|marks| marks.unwrap_or([f64::NAN; 2])).collect();
            let counts: Vec<usize> = shares.iter().map(|share| 2 * share.len()).collect();
            let flat = ft_dist::gather_uneven(ranks, &flat, &counts)?;
            all = flat.chunks_exact(2).map(|pair| (!pair[0].is_nan()).then_some([pair[0], pair[1]])).collect();
        }
        let mut found = Entry::new();
        for (i, key) in examiner.keys().into_iter().enumerate() {
            found.insert(key.into(), json!(mean(&all, i)));
        }
        found.insert(RUNTIME.into(), json!(rounded(started.elapsed().as_secs_f64(), 4)));
        Ok(found)
    }
}

/// The mean of one of the marks.
fn mean(all: &[Marks], which: usize) -> f64 {
    let marks: Vec<f64> = all.iter().flatten().map(|marks| marks[which]).collect();
    marks.iter().sum::<f64>() / marks.len() as f64
}
