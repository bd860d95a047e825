//! Near copies, leaks, and splits that hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::support::{Scratch, stderr, text_column};

fn json_lines(scratch: &Scratch, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(scratch.path(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A text of forty words that differ from those of other numbers.
fn words(number: usize) -> String {
    let word = |i: usize| format!("w{}", number * 1000 + i);
    (0..40).map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn copies_tell_what_they_are_copies_of() {
    let scratch = Scratch::new();
    let near = words(1).replacen("w1003", "other", 1);
    let far = words(1).replacen("w10", "x", 20);
    let [one, two] = [words(1), words(2)];
    scratch.write("in.csv", format!("input,output\n{one},a\n{two},a\n{one},a\n{near},a\n{far},a\n"));
    let line = "in.csv --dedup --near-dedup 0.8 --rejects out.jsonl -o out.parquet";
    let output = scratch.run(line);
    let counts = "5 rows read, 3 kept, 2 dropped (duplicate 1, near duplicate 1)";
    assert!(stderr(&output).contains(counts), "{}", stderr(&output));
    let found = json_lines(&scratch, "out.jsonl");
    assert_eq!((found[0]["row"].clone(), found[0]["same_as"]["row"].clone()), (4.into(), 2.into()));
    assert_eq!((found[1]["row"].clone(), found[1]["near_to"]["row"].clone()), (5.into(), 2.into()));
    // 3 of 39 runs of three words differ.
    assert_eq!(found[1]["similarity"], 0.8571);
    let told = scratch.failure("in.csv --near-dedup 1.5 -o x", 2);
    assert!(told.contains("expected a share above 0, up to 1"), "{told}");
}

#[test]
fn a_system_message_that_all_have_makes_no_copies() {
    let scratch = Scratch::new();
    let system = words(9);
    scratch.write("in.csv", format!("input,output,system\none two three,a,{system}\nfour five six,a,{system}\n"));
    assert_eq!(scratch.examples("in.csv --near-dedup 0.5 -o out.parquet", "out.parquet").len(), 2);
}

/// Rows of `groups` clients, about ten of each.
fn clients(groups: usize) -> String {
    let row = |i: usize| {
        format!(
            "{},a,client {},{}\n",
            words(i),
            (i * i + i / 3) % groups,
            if i.is_multiple_of(5) { "rare" } else { "often" }
        )
    };
    let rows: String = (0..10 * groups).map(row).collect();
    format!("input,output,client,kind\n{rows}")
}

fn side(scratch: &Scratch, side: &str, column: &str) -> Vec<String> {
    text_column(&scratch.path(&format!("sides/{side}.parquet")), column).into_iter().flatten().collect()
}

#[test]
fn no_client_is_on_both_sides() {
    let scratch = Scratch::new();
    scratch.write("in.csv", clients(40));
    let run = |seed: u32| {
        let line = format!("in.csv --test-size 0.2 --group-column client --seed {seed} --keep-columns client -o sides");
        let output = scratch.run(&line);
        assert!(output.status.success(), "{}", stderr(&output));
        let sets = ["train", "test"].map(|name| side(&scratch, name, "client").into_iter().collect::<BTreeSet<_>>());
        assert!(sets[0].is_disjoint(&sets[1]));
        let test = side(&scratch, "test", "client").len();
        assert!((70..=80).contains(&test), "{test}");
        sets[1].clone()
    };
    let (one, again, other) = (run(1), run(1), run(2));
    assert_eq!(one, again);
    assert_ne!(one, other);
    let told = scratch.failure("in.csv --group-column client -o x", 2);
    assert!(told.contains("--test-size"), "{told}");
    let told = scratch.failure("in.csv --group-column nobody --test-size 0.1 -o sides", 1);
    assert!(told.starts_with("in.csv: no column 'nobody'"), "{told}");
    scratch.write("one.csv", "input,output,client\nq,a,x\nr,a,x\n");
    let told = scratch.failure("one.csv --test-size 1 --group-column client -o sides", 1);
    assert_eq!(told, "one.csv: no group fits into 1 test rows, the smallest has 2 rows; give a larger --test-size");
}

#[test]
fn both_sides_have_each_kind_in_proportion() {
    let scratch = Scratch::new();
    scratch.write("in.csv", clients(50));
    let output = scratch.run("in.csv --test-size 0.1 --stratify-column kind --keep-columns kind,client -o sides");
    assert!(output.status.success(), "{}", stderr(&output));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    side(&scratch, "test", "kind").into_iter().for_each(|kind| *counts.entry(kind).or_default() += 1);
    assert_eq!(counts, [("often".to_owned(), 40), ("rare".to_owned(), 10)].into());
    let line = "in.csv --test-size 0.2 --stratify-column kind --group-column client --keep-columns client -o sides";
    assert!(scratch.run(line).status.success());
    let sets = ["train", "test"].map(|name| side(&scratch, name, "client").into_iter().collect::<BTreeSet<_>>());
    assert!(sets[0].is_disjoint(&sets[1]) && !sets[1].is_empty());
}

/// Multiple-choice questions, each with its options in four orders.
fn options() -> String {
    let mut rows = String::from("input,output\n");
    for number in 0..30 {
        let question = words(number);
        for order in [[1, 2, 3, 4], [2, 1, 4, 3], [4, 3, 2, 1], [3, 4, 1, 2]] {
            let options: Vec<_> = order.iter().map(|option| format!("{} dollars", 100 * number + option)).collect();
            rows.extend([&question, " ", &options.join(" or "), ",A\n"]);
        }
    }
    rows
}

#[test]
fn rows_of_the_test_side_that_are_nearly_in_training_are_listed() {
    let scratch = Scratch::new();
    scratch.write("in.csv", options());
    let output = scratch.run("in.csv --test-size 0.2 --leak-report leaks.jsonl --report report.json -o sides");
    assert!(output.status.success(), "{}", stderr(&output));
    let leaks = json_lines(&scratch, "leaks.jsonl");
    // Of four orders of each question one or more are in training for all but a few.
    assert!((20..=24).contains(&leaks.len()), "{}", leaks.len());
    let said = format!("{} of 24 test rows are in the training side, or nearly", leaks.len());
    assert!(stderr(&output).contains(&said), "{}", stderr(&output));
    for leak in &leaks {
        let question = |side: &str| (leak[side]["row"].as_u64().unwrap() - 2) / 4;
        assert_eq!(question("test"), question("train"), "{leak}");
        assert!(leak["similarity"].as_f64().unwrap() >= 0.6 && leak["test"]["file"] == "in.csv");
    }
    let report: Value = serde_json::from_str(&fs::read_to_string(scratch.path("report.json")).unwrap()).unwrap();
    assert_eq!(report["leaks"], leaks.len());

    let line = "in.csv --test-size 0.2 --group-near 0.6 --leak-report leaks.jsonl -o sides";
    let output = scratch.run(line);
    assert!(stderr(&output).contains("0 of 24 test rows are in the training side"), "{}", stderr(&output));
    assert!(json_lines(&scratch, "leaks.jsonl").is_empty());
}
