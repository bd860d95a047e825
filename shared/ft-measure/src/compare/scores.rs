//! What one model came to, row by row.

use ft_model::head::SequenceLoss;

use super::metric::Metric;
use crate::answers::Prediction;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::prompts::Prompts;
use crate::question::Question;
use crate::score::Score;
use crate::tokens::LabelledRows;

/// The figures of one model's rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// The file or model, for messages.
    pub name: String,
    /// Which rows they are, by what they hold, in the rows' order.
    pub ids: Vec<String>,
    /// A column a metric.
    pub columns: Vec<Column>,
}

/// One figure of all rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// What it is.
    pub metric: Metric,
    /// A value a row, where it has one.
    pub values: Vec<Option<f64>>,
    /// How much each row counts in the mean: a loss as much as the row has labels, all else once.
    pub weights: Vec<f64>,
}

impl Column {
    /// A figure that counts once a row.
    pub(super) fn plain(metric: Metric, values: Vec<Option<f64>>) -> Self {
        let weights = vec![1.0; values.len()];
        Self { metric, values, weights }
    }
}

impl Scores {
    /// Of the `losses` of `rows`, or of the first of them.
    pub fn of_losses(name: String, rows: &LabelledRows, losses: &[SequenceLoss]) -> Self {
        let column = Column {
            metric: Metric::Loss,
            values: losses.iter().map(|loss| (loss.labels > 0).then(|| loss.sum / loss.labels as f64)).collect(),
            weights: losses.iter().map(|loss| loss.labels as f64).collect(),
        };
        Self { name, ids: (0..losses.len()).map(|i| rows.row_id(i)).collect(), columns: vec![column] }
    }

    /// Of the answers to `prompts`, in their order.
    pub fn of_answers(name: String, prompts: &Prompts, answers: &[Prediction]) -> Self {
        let of = |metric: Metric, value: fn(&Score) -> f64| {
            Column::plain(metric, answers.iter().map(|answer| answer.score.as_ref().map(value)).collect())
        };
        let columns = vec![
            of(Metric::ExactMatch, |score| f64::from(u8::from(score.exact_match))),
            of(Metric::F1, |score| score.f1),
            of(Metric::RougeL, |score| score.rouge_l),
        ];
        Self { name, ids: answers.iter().map(|a| prompts.row_id(a.prompt)).collect(), columns }
    }

    /// Of the `outcomes` of `questions`, or of the first of them.
    pub fn of_choices(name: String, questions: &[Question], outcomes: &[Outcome]) -> Self {
        let number = |right: bool| f64::from(u8::from(right));
        let acc = outcomes.iter().map(|o| Some(number(o.is_right))).collect();
        let mut columns = vec![Column::plain(Metric::Acc, acc)];
        if outcomes.iter().any(|o| o.by_length.is_some()) {
            let norm = outcomes.iter().map(|o| o.by_length.map(|(_, right)| number(right))).collect();
            columns.push(Column::plain(Metric::AccNorm, norm));
        }
        Self { name, ids: questions.iter().take(outcomes.len()).map(Question::row_id).collect(), columns }
    }

    /// The column of a metric.
    pub fn column(&self, metric: Metric) -> Option<&Column> {
        self.columns.iter().find(|column| column.metric == metric)
    }

    /// Refuses other rows than its own.
    pub(super) fn check_same_rows(&self, other: &Self) -> Result<()> {
        let place = || format!("'{}' and '{}'", self.name, other.name);
        let (here, there) = (self.ids.len(), other.ids.len());
        if here != there {
            let told = format!("they hold other rows: {here} in the first and {there} in the second");
            return Err(Error::content(place(), told));
        }
        match self.ids.iter().zip(&other.ids).position(|(a, b)| a != b) {
            Some(i) => {
                let told = format!("they hold other rows: row {} is not the same; compare runs over one file", i + 1);
                Err(Error::content(place(), told))
            }
            None => Ok(()),
        }
    }
}
