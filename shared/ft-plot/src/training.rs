//! The curves of a training run, from the lines of its `metrics.jsonl`.

use serde_json::{Map, Value};

use crate::chart::{Chart, Curve, Curves};
use crate::error::Error;

/// Loss and evaluation loss over the steps, and below them the learning rate and the gradients' norm.
///
/// # Errors
/// [`Error::NoLoss`] where no line has one.
pub fn training(title: &str, lines: &[Map<String, Value>]) -> Result<Chart, Error> {
    let curve = |key: &str, label: &str, dots: bool| {
        let point = |line: &Map<String, Value>| Some((line.get("step")?.as_f64()?, line.get(key)?.as_f64()?));
        let points: Vec<(f64, f64)> = lines.iter().filter_map(point).collect();
        let dots = dots || points.len() < 3;
        (!points.is_empty()).then(|| Curve { label: label.into(), points, dots })
    };
    let panel = |title: &str, curves: Vec<Option<Curve>>| {
        let curves: Vec<Curve> = curves.into_iter().flatten().collect();
        (!curves.is_empty()).then(|| Curves { title: title.into(), curves })
    };
    let loss = panel("loss", vec![curve("loss", "training", false), curve("eval_loss", "evaluation", true)]);
    let panels = [
        Some(loss.ok_or(Error::NoLoss)?),
        panel("learning rate", vec![curve("learning_rate", "learning rate", false)]),
        panel("gradient norm before clipping", vec![curve("grad_norm", "gradient norm", false)]),
    ];
    Ok(Chart { title: title.into(), panels: panels.into_iter().flatten().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn panels_are_what_was_logged() {
        let lines: Vec<Map<String, Value>> = [
            json!({"step": 1, "loss": 2.0, "learning_rate": 1e-3}),
            json!({"step": 1, "eval_loss": 2.5}),
            json!({"step": 2, "loss": 1.0, "learning_rate": 5e-4}),
            json!({"step": 2, "train_runtime": 3.0}),
        ]
        .into_iter()
        .map(|line| line.as_object().cloned().unwrap_or_default())
        .collect();
        let chart = training("run", &lines).unwrap();
        assert_eq!(chart.panels.len(), 2, "no gradient norm was logged");
        assert_eq!(chart.panels[0].curves[0].points, [(1.0, 2.0), (2.0, 1.0)]);
        assert_eq!(chart.panels[0].curves[1].points, [(1.0, 2.5)]);
        assert!(matches!(training("run", &lines[3..]), Err(Error::NoLoss)));
    }
}
