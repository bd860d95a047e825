use serde_json::Value;

use super::*;

fn schedule(line: &[&str], steps: u64) -> Result<Schedule> {
    Schedule::new(&crate::options::words::options(line).training, steps)
}

/// The values that `scripts/make_schedule_reference.py` wrote, to 1e-12 of their size; the few that are the difference
/// of two nearly equal numbers to a rounding of the peak.
#[test]
fn every_step_is_that_of_transformers() {
    let text = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/schedules/schedules.json")).unwrap();
    let all: Value = serde_json::from_slice(&text).unwrap();
    let (mut values, mut kinds) = (0, std::collections::BTreeSet::new());
    for case in all["cases"].as_array().unwrap() {
        let word = |key: &str| case[key].to_string().trim_matches('"').to_owned();
        let (kind, kwargs, warmup) = (word("lr_scheduler_type"), word("lr_scheduler_kwargs"), word("warmup_steps"));
        let (peak, steps) = (word("learning_rate"), case["steps"].as_u64().unwrap());
        let line = ["--lr-scheduler-type", &kind, "--lr-scheduler-kwargs", &kwargs, "--warmup-steps", &warmup];
        let line = [&line[..], &["--learning-rate", &peak]].concat();
        let schedule = schedule(&line, steps).unwrap();
        let peak: f64 = peak.parse().unwrap();
        for pair in case["rates"].as_array().unwrap() {
            let (step, expected) = (pair[0].as_u64().unwrap(), pair[1].as_f64().unwrap());
            let found = schedule.learning_rate(step);
            let near = (found - expected).abs() <= 1e-12 * expected.abs() + 2.0 * f64::EPSILON * peak;
            assert!(near, "{kind} {kwargs}, warm-up {warmup}, step {step} of {steps}: {found} for {expected}");
            values += 1;
        }
        let highest = (0..steps).map(|step| schedule.learning_rate(step)).fold(0.0, f64::max);
        assert_eq!(schedule.highest(), highest, "{kind} {kwargs}, warm-up {warmup}, of {steps}");
        kinds.insert(kind);
    }
    assert!(values > 2000 && kinds.len() == 10, "{values} values of {kinds:?}");
}

#[test]
fn a_share_of_the_steps_may_have_either_name() {
    let rates = |line: &[&str]| {
        let schedule = schedule(line, 8).unwrap();
        (0..8).map(|step| schedule.learning_rate(step)).collect::<Vec<_>>()
    };
    let expected = rates(&["--warmup-steps", "2"]);
    assert_eq!(rates(&["--warmup-ratio", "0.25"]), expected);
    assert_eq!(rates(&["--warmup-steps", "0.2"]), expected);
    assert_eq!(rates(&["--warmup-steps", "2.9", "--warmup-ratio", "0.9"]), expected);
}

/// By hand from DeepSpeed's `WarmupLR` and `WarmupDecayLR`: warmup_num_steps 4 of 10, warmup_max_lr 0.1; the gamma of
/// iteration i is ln(i + 1) / ln 4, and the first step is made before iteration 0.
#[test]
fn the_warm_up_by_the_logarithm_is_deepspeeds() {
    let rates = |kind: &str, warmup: &str| {
        let line = ["--lr-scheduler-type", kind, "--warmup-steps", warmup, "--learning-rate", "0.1"];
        let schedule = schedule(&line, 10).unwrap();
        (0..10).map(|step| schedule.learning_rate(step)).collect::<Vec<_>>()
    };
    // ln 2 / ln 4 = 0.5, ln 3 / ln 4 = 0.792481250360578.
    let rise = [0.0, 0.0, 0.05, 0.0792481250360578, 0.1];
    let near = |found: &[f64], expected: &[f64]| {
        found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15)
    };
    let constant = rates("constant_with_log_warmup", "4");
    assert!(near(&constant, &[&rise[..], &[0.1; 5]].concat()), "{constant:?}");
    // (10 - i) / 6 from i = 4 on, which is the sixth step.
    let fall = [0.1, 0.5 / 6.0, 0.4 / 6.0, 0.05, 0.2 / 6.0];
    let decay = rates("linear_with_log_warmup", "4");
    assert!(near(&decay, &[&rise[..], &fall].concat()), "{decay:?}");
    // DeepSpeed warms up over two steps at least.
    assert!(near(&rates("constant_with_log_warmup", "0")[..4], &[0.0, 0.0, 0.1, 0.1]));
}

#[test]
fn wrong_kwargs_are_refused_with_what_would_do() {
    let fault = |kind: &str, kwargs: &str| {
        schedule(&["--lr-scheduler-type", kind, "--lr-scheduler-kwargs", kwargs], 8).unwrap_err().to_string()
    };
    assert!(fault("linear", r#"{"num_cycles": 1}"#).contains("'num_cycles', which this"));
    assert!(fault("cosine", r#"{"num_cycles": "1"}"#).contains("expected a number of at least 0"));
    assert!(fault("cosine_with_min_lr", "{}").contains("needs one of min_lr and min_lr_rate"));
    assert!(fault("cosine_with_min_lr", r#"{"min_lr": 1, "min_lr_rate": 1}"#).contains("needs one of"));
    assert!(fault("warmup_stable_decay", "{}").contains("needs num_decay_steps"));
    assert!(fault("warmup_stable_decay", r#"{"num_decay_steps": 1, "decay_type": "sqrt"}"#).contains("1-sqrt"));
    assert!(fault("polynomial", r#"{"lr_end": 1}"#).contains("is not above"));
}
