use std::collections::HashMap;

use serde_json::Value;

use super::*;

fn options(line: &str) -> Options {
    crate::options::words::options(&line.split_whitespace().collect::<Vec<_>>())
}

/// A sampler of `rows` rows of the lengths of [`reference`].
fn sampler(line: &str, rows: usize) -> Sampler {
    of(line, &lengths()[..rows]).unwrap()
}

/// A sampler of rows of one sequence each.
fn of(line: &str, lengths: &[usize]) -> Result<Sampler> {
    Sampler::new(&options(line), lengths, &(1..=lengths.len()).collect::<Vec<_>>(), 1)
}

/// What `scripts/make_sampler_reference.py` wrote.
fn reference() -> Value {
    let text = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/samplers/samplers.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

fn lengths() -> Vec<usize> {
    numbers(&reference()["lengths"])
}

/// The rows of every step of an epoch, step by step.
fn epoch(sampler: &Sampler, epoch: u64) -> Vec<Vec<usize>> {
    let steps = sampler.steps_an_epoch();
    (epoch * steps..(epoch + 1) * steps).map(|step| sampler.step(step).concat()).collect()
}

fn sorted(rows: &[Vec<usize>]) -> Vec<usize> {
    let mut rows = rows.concat();
    rows.sort_unstable();
    rows
}

const WAYS: [&str; 5] =
    ["", "--no-shuffle", "--group-by-length", "--packing", "--packing --max-seq-length 2000 --data-seed 3"];

#[test]
fn an_epoch_takes_every_row_once_and_the_next_in_another_order() {
    for way in WAYS {
        let line = format!("--per-device-train-batch-size 2 --gradient-accumulation-steps 2 {way}");
        let sampler = sampler(&line, 150);
        let (one, two) = (epoch(&sampler, 0), epoch(&sampler, 1));
        assert_eq!(one != two, way != "--no-shuffle", "{way}");
        for rows in [&one, &two] {
            assert_eq!(sorted(rows), (0..150).collect::<Vec<_>>(), "{way}");
        }
        assert_eq!(epoch(&sampler, 0), one, "{way}: an epoch that is asked for again is the same");
    }
    let sampler = sampler("--per-device-train-batch-size 2 --gradient-accumulation-steps 2", 10);
    assert_eq!((sampler.steps_an_epoch(), sampler.steps(&options("--num-train-epochs 2.5").training)), (3, 8));
    assert_eq!(sampler.step(2).iter().map(Vec::len).collect::<Vec<_>>(), [2], "the last window is short");
}

#[test]
fn how_a_step_is_cut_changes_neither_its_rows_nor_their_order() {
    for way in WAYS {
        let of = |cut: &str| sampler(&format!("{cut} {way}"), 203);
        let whole = of("--per-device-train-batch-size 8");
        let single = of("--per-device-train-batch-size 1 --gradient-accumulation-steps 8");
        let pairs = of("--per-device-train-batch-size 2 --gradient-accumulation-steps 4");
        assert_eq!(epoch(&whole, 1), epoch(&single, 1), "{way}");
        assert_eq!(epoch(&whole, 1), epoch(&pairs, 1), "{way}");
        assert_eq!((whole.step(0).len(), pairs.step(0).len(), single.step(0).len()), (1, 4, 8));
    }
}

#[test]
fn drop_last_drops_what_does_not_fill_a_micro_batch_and_not_a_step() {
    // 15 rows are 7 whole micro-batches of 2, which are one step of 8, as Trainer has it.
    let line = "--dataloader-drop-last --per-device-train-batch-size 2";
    let sampler = sampler(&format!("{line} --gradient-accumulation-steps 8"), 15);
    assert_eq!(sampler.steps_an_epoch(), 1);
    assert_eq!(epoch(&sampler, 0)[0].len(), 14);
    // Of ranks, what does not fill a micro-batch of each.
    let two = Sampler::new(&options(line), &[5; 15], &(1..=15).collect::<Vec<_>>(), 2).unwrap();
    assert_eq!((two.steps_an_epoch(), epoch(&two, 0).concat().len()), (3, 12));
    let told = of("--dataloader-drop-last", &[5; 7]).unwrap_err().to_string();
    assert!(told.contains("a micro-batch takes 8 sequences, and there are 7"), "{told}");
}

#[test]
fn a_row_that_is_packed_already_is_one_item() {
    let rows = [1, 1, 2, 4, 4, 4];
    let packed =
        Sampler::new(&options("--no-shuffle --per-device-train-batch-size 2"), &[3, 4, 5, 1, 1, 1], &rows, 1).unwrap();
    assert_eq!((packed.step(0), packed.step(1)), (vec![vec![0, 1, 2]], vec![vec![3, 4, 5]]));
    assert_eq!((packed.tokens(0), packed.first_epoch().packing_efficiency), (12, None));
}

#[test]
fn no_number_of_steps_is_by_epochs() {
    let line = "--num-train-epochs 2 --per-device-train-batch-size 2";
    assert_eq!(sampler(line, 10).steps(&options(line).training), 10);
}

#[test]
fn the_order_follows_data_seed_or_else_seed() {
    let order = |line: &str| epoch(&sampler(line, 60), 0);
    assert_eq!(order("--seed 7"), order("--seed 1 --data-seed 7"));
    assert_ne!(order("--seed 7"), order("--seed 8"));
}

#[test]
fn without_a_shuffle_the_files_order_stands() {
    let line = "--no-shuffle --max-steps 5 --per-device-train-batch-size 3";
    let sampler = sampler(line, 4);
    assert_eq!(sampler.steps(&options(line).training), 5);
    assert_eq!(sampler.step(0), [[0, 1, 2]]);
    assert_eq!(sampler.step(3), [[3]]);
}

#[test]
fn bins_are_those_of_trl() {
    let (reference, lengths) = (reference(), lengths());
    for case in reference["packing"].as_array().unwrap() {
        let length = case["max_seq_length"].as_u64().unwrap() as usize;
        let expected: Vec<Vec<usize>> = case["bins"].as_array().unwrap().iter().map(numbers).collect();
        assert_eq!(packing::best_fit_decreasing(&lengths, length).unwrap(), expected, "{length}");
        let plan = sampler(&format!("--packing --max-seq-length {length}"), lengths.len()).first_epoch();
        assert_eq!(plan.items, expected.len());
        let efficiency = lengths.iter().sum::<usize>() as f64 / (expected.len() * length) as f64;
        assert_eq!(plan.packing_efficiency, Some(efficiency));
        assert!(efficiency > 0.98, "{length}: {efficiency}");
    }
}

#[test]
fn a_bin_is_never_too_full_and_stays_together() {
    let lengths = lengths();
    let sampler = sampler("--packing --max-seq-length 1000 --per-device-train-batch-size 1", lengths.len());
    let bins = epoch(&sampler, 0);
    assert!(bins.iter().all(|rows| rows.iter().map(|&row| lengths[row]).sum::<usize>() <= 1000));
    let told = of("--packing --max-seq-length 9", &[3, 12, 9]).unwrap_err().to_string();
    assert!(told.contains("row 2 has 12 tokens") && told.contains("--overlong"), "{told}");
    assert_eq!(packing::best_fit_decreasing(&[0, 2, 0], 2).unwrap(), [[1]]);
}

/// The padding that grouping leaves is that of transformers' sampler, for its megabatches are the same; only whole steps
/// move.
#[test]
fn grouping_pads_as_little_as_transformers_does() {
    let lengths = lengths();
    for case in reference()["grouping"].as_array().unwrap() {
        let (size, micro) = (case["size"].as_u64().unwrap(), case["micro_batch"].as_u64().unwrap());
        for (key, way) in [("grouped", "--group-by-length"), ("shuffled", "")] {
            let expected = case[key]["mean"].as_f64().unwrap();
            let deviation = case[key]["deviation"].as_f64().unwrap();
            let padded = |seed: u64| {
                let batch =
                    format!("--per-device-train-batch-size {micro} --gradient-accumulation-steps {}", size / micro);
                sampler(&format!("{batch} {way} --seed {seed}"), lengths.len()).first_epoch().padded_tokens as f64
            };
            let mean = (0..40).map(padded).sum::<f64>() / 40.0;
            // Both means have an error of a 40th root's share; five of them never happen by chance.
            let allowed = 5.0 * deviation * (2.0f64 / 40.0).sqrt();
            assert!((mean - expected).abs() < allowed, "{key} {size}/{micro}: {mean} for {expected} ± {allowed}");
        }
    }
}

#[test]
fn grouped_steps_are_shuffled_with_the_longest_first_and_the_short_one_last() {
    let lengths = lengths();
    let longest = lengths[..203].iter().max();
    for seed in 0..20 {
        let sampler = sampler(&format!("--group-by-length --seed {seed}"), 203);
        let steps = epoch(&sampler, 0);
        assert_eq!(steps[0].iter().map(|&row| &lengths[row]).max(), longest);
        assert_eq!(steps.last().unwrap().len(), 3);
        let means = steps[1..25].iter().map(|rows| rows.iter().map(|&row| lengths[row]).sum::<usize>() / 8);
        let means: Vec<usize> = means.collect();
        let falls = means.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!((6..=18).contains(&falls), "lengths do not fall in waves: {means:?}");
    }
}

#[test]
fn the_plan_counts_what_is_computed_and_what_padding_would_add() {
    let lengths = [3, 1, 2, 4, 4];
    let plan = |line: &str| of(&format!("--no-shuffle {line}"), &lengths).unwrap().first_epoch();
    let pairs = plan("--per-device-train-batch-size 2");
    assert_eq!((pairs.items, pairs.steps_an_epoch, pairs.tokens, pairs.padded_tokens), (5, 3, 14, 6 + 8 + 4));
    assert_eq!((pairs.largest_micro_batch, pairs.packing_efficiency), (6, None));
    assert!((pairs.padding() - 4.0 / 18.0).abs() < 1e-12);
    let packed = plan("--per-device-train-batch-size 2 --packing --max-seq-length 5");
    assert_eq!((packed.items, packed.tokens, packed.packing_efficiency), (3, 14, Some(14.0 / 15.0)));
    let dropped = plan("--per-device-train-batch-size 2 --dataloader-drop-last");
    assert_eq!((dropped.items, dropped.tokens), (4, 10));
}

#[test]
fn rows_of_one_seed_are_dealt_alike_whatever_the_epoch_before() {
    let sampler = sampler("--group-by-length --per-device-train-batch-size 4", 100);
    let steps: HashMap<u64, Vec<Vec<usize>>> = (0..75).map(|step| (step, sampler.step(step))).collect();
    for step in [74, 3, 30, 25, 0] {
        assert_eq!(sampler.step(step), steps[&step]);
    }
}
