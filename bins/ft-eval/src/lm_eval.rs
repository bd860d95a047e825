//! The results of multiple choice as lm-eval writes them.

use ft_measure::{Shares, Tally};
use serde_json::{Map, Value, json};

use crate::report::figure;

/// `results` and `n-samples` as lm-eval writes them, under the task's `name`. Without one, questions
/// with subjects are taken for MMLU's, and others called after their `file`. Where there are several
/// subjects, each has its own entry too.
pub fn results(tally: &Tally, name: Option<&str>, file: &str) -> Map<String, Value> {
    let named = !tally.unnamed && !tally.subjects.is_empty();
    let group = name.unwrap_or(if named { "mmlu" } else { file });
    let of = |subject: &str| format!("{group}_{subject}");
    let mut tasks = Vec::new();
    match tally.subjects.first_key_value() {
        Some((subject, _)) if named && tally.subjects.len() == 1 && name.is_none() => {
            tasks.push((of(subject), tally.all));
        }
        _ => tasks.push((group.to_owned(), tally.all)),
    }
    if tally.subjects.len() > 1 {
        tasks.extend(tally.subjects.iter().map(|(subject, shares)| (of(subject), *shares)));
    }
    let mut results = Map::new();
    let mut samples = Map::new();
    for (task, shares) in tasks {
        results.insert(task.clone(), entry(&task, &shares));
        samples.insert(task, json!({"original": shares.plain.of, "effective": shares.plain.of}));
    }
    Map::from_iter([("results".to_owned(), results.into()), ("n-samples".to_owned(), samples.into())])
}

fn entry(task: &str, shares: &Shares) -> Value {
    let mut entry = Map::new();
    entry.insert("alias".into(), json!(task));
    for (key, share) in [("acc", Some(shares.plain)), ("acc_norm", shares.by_length)] {
        if let Some(share) = share {
            entry.insert(format!("{key},none"), figure(share.value()));
            entry.insert(format!("{key}_stderr,none"), figure(share.standard_error()));
        }
    }
    entry.into()
}

#[cfg(test)]
mod tests {
    use ft_measure::{Format, Outcome, Question};

    use super::*;

    fn question(answer: usize, subject: Option<&str>) -> Question {
        let choices = vec!["four".into(), "a much longer text".into()];
        Question { place: String::new(), text: "?".into(), choices, answer, subject: subject.map(Into::into) }
    }

    fn tally_of(questions: &[Question], likelihoods: &[[f64; 2]]) -> Tally {
        let of = |(question, of): (&Question, &[f64; 2])| Outcome::new(question, of, Format::Letters);
        Tally::new(questions, &questions.iter().zip(likelihoods).map(of).collect::<Vec<_>>())
    }

    #[test]
    fn results_have_lm_evals_keys() {
        let questions = [question(0, Some("law")), question(1, Some("art"))];
        let tally = tally_of(&questions, &[[1.0, 0.0], [1.0, 1.0]]);
        let found = Value::from(results(&tally, None, "file"));
        assert_eq!(found["results"]["mmlu"]["acc,none"], 0.5);
        assert_eq!(found["results"]["mmlu_law"]["acc,none"], 1.0);
        assert_eq!(found["results"]["mmlu_art"]["acc_stderr,none"], Value::Null);
        assert_eq!(found["n-samples"]["mmlu"]["effective"], 2);
        assert_eq!(found["results"]["mmlu"].get("acc_norm,none"), None);
        let tally = tally_of(&questions[..1], &[[1.0, 0.0]]);
        assert!(results(&tally, None, "file")["results"].get("mmlu_law").is_some());
        assert!(results(&tally, Some("mine"), "file")["results"].get("mine").is_some());
        let tally = tally_of(&[question(0, None)], &[[1.0, 0.0]]);
        assert!(results(&tally, None, "file")["results"].get("file").is_some());
    }
}
