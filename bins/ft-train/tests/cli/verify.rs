//! `--verify`: a run comes out equal, or it is told where it first does not.

use crate::support::{Scratch, rewrite_safetensors, rows, stderr};

const LINE: &str = "--lora-dropout 0.1 --save-steps 2 --eval held.parquet --eval-steps 3";

fn finished() -> Scratch {
    let scratch = Scratch::with_rows();
    scratch.tokens("held.parquet", &rows(5));
    scratch.train("out", LINE);
    scratch
}

fn verified(scratch: &Scratch, line: &str) -> String {
    let output = scratch.run(&format!("--verify out --model MODEL {line}"));
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_run_or_a_window_of_it_comes_out_equal() {
    let scratch = finished();
    let told = verified(&scratch, "");
    assert!(told.starts_with("equal: steps 1 to 6, 8 log entries, 3 checkpoints, the final adapter "), "{told}");
    let told = verified(&scratch, "--verify-steps 2..4 --threads 1 --activation-memory 0");
    assert_eq!(told, "equal: steps 3 to 4, 3 log entries, 1 checkpoints\n");
    let told = verified(&scratch, "--verify-steps 4..6");
    assert!(told.starts_with("equal: steps 5 to 6, 3 log entries, 1 checkpoints, the final adapter "), "{told}");
}

#[test]
fn the_first_difference_is_named() {
    let scratch = finished();
    let weights = scratch.path("out/checkpoint-4/adapter_model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    let mut name = String::new();
    rewrite_safetensors(&weights, |header, data| {
        let (tensor, at) = header.iter().find(|(name, _)| name.contains("layers.1.mlp.up_proj.lora_B")).unwrap();
        name = tensor.clone();
        let width = at["shape"][1].as_u64().unwrap() as usize;
        // The element [3, 1], by its last bit.
        data[at["data_offsets"][0].as_u64().unwrap() as usize + 4 * (3 * width + 1)] ^= 1;
    });
    let told = scratch.failure("--verify out --model MODEL", 1);
    assert!(told.contains(&format!("differs first at step 4: the tensor '{name}', element [3, 1] was ")), "{told}");
    std::fs::write(&weights, whole).unwrap();

    let state = scratch.path("out/trainer_state.json");
    let text = std::fs::read_to_string(&state).unwrap();
    let loss = scratch.series("out", "loss")[2];
    std::fs::write(&state, text.replace(&loss.to_string(), &(loss + 1.0).to_string())).unwrap();
    let told = scratch.failure("--verify out --model MODEL", 1);
    assert!(told.contains(&format!("differs first at step 3: loss was {} and is {loss}", loss + 1.0)), "{told}");
    std::fs::write(&state, text).unwrap();
    verified(&scratch, "");
}

#[test]
fn what_cannot_be_repeated_is_told() {
    let scratch = finished();
    let told = scratch.failure("--verify out --model MODEL --verify-steps 3..6", 1);
    assert!(told.contains("step 3 cannot be begun from") && told.contains("checkpoint-3"), "{told}");
    let told = scratch.failure("--verify out --model MODEL --verify-steps 2..60", 2);
    assert!(told.contains("has 6 steps"), "{told}");
    let told = scratch.failure("--verify nowhere", 1);
    assert!(told.contains("cannot read 'nowhere/run.json'"), "{told}");
    let told = scratch.failure("--verify out --model MODEL --verify-steps 4..2", 2);
    assert!(told.contains("expected two steps"), "{told}");
    let told = scratch.failure("--verify out", 2);
    assert!(
        told.contains("is not in this folder, and a record keeps no absolute path: give it with --model"),
        "{told}"
    );
    scratch.tokens("rows.parquet", &rows(17));
    let told = scratch.failure("--verify out --model MODEL", 1);
    assert!(told.contains("the run in 'out' is of another run: the training rows was "), "{told}");
}

/// The steps before a resume with another number of steps had another schedule.
#[test]
fn a_run_that_was_laid_out_anew_is_repeated_from_there() {
    let scratch = Scratch::with_rows();
    scratch.tokens("held.parquet", &rows(5));
    scratch.train("out", &format!("{LINE} --max-steps 4"));
    scratch.train("out", &format!("{LINE} --max-steps 8 --resume-from-checkpoint"));
    // Once more, which does not hide the first.
    scratch.train("out", &format!("{LINE} --max-steps 8 --resume-from-checkpoint out/checkpoint-6"));
    let told = scratch.failure("--verify out --model MODEL", 1);
    assert!(told.contains("laid out for another number of steps until step 4") && told.contains("4..8"), "{told}");
    assert!(verified(&scratch, "--verify-steps 4..8").starts_with("equal: steps 5 to 8"));
}

/// A record goes to others: it says what a file is called, and not where it lies.
#[test]
fn no_record_says_where_a_folder_lies() {
    let scratch = finished();
    let home = scratch.path("").canonicalize().unwrap();
    let rows = home.join("rows.parquet");
    let output = home.join("absolute");
    let line = format!(
        "--model MODEL --train {} --output-dir {} --max-steps 2 --save-steps 2",
        rows.display(),
        output.display()
    );
    let told = scratch.run(&line);
    assert!(told.status.success(), "{}", stderr(&told));
    for file in ["absolute/run.json", "absolute/checkpoint-2/configuration.json", "out/run.json"] {
        let text = std::fs::read_to_string(scratch.path(file)).unwrap();
        assert!(!text.contains(home.to_str().unwrap()) && !text.contains(env!("CARGO_MANIFEST_DIR")), "{file}: {text}");
    }
    let kept = &scratch.json("absolute/run.json")["configuration"];
    assert_eq!((&kept["train"], &kept["output_dir"]), (&"rows.parquet".into(), &"absolute".into()));
    let again = scratch.run("--verify absolute --model MODEL");
    assert!(again.status.success(), "{}", stderr(&again));
}

/// The names that all six programs share are names here too, and leave the same run behind.
#[test]
fn names_of_the_other_programs_are_taken() {
    let scratch = Scratch::with_rows();
    let line = "--model MODEL --train rows.parquet --max-steps 2 --learning-rate 0.01";
    for names in [
        "--output-dir a --per-device-train-batch-size 2",
        "--output b --batch-size 2",
        "--output=b --overwrite --batch-size=2",
    ] {
        let output = scratch.run(&format!("{line} {names}"));
        assert!(output.status.success(), "{names}: {}", stderr(&output));
    }
    assert!(scratch.adapter("a") == scratch.adapter("b"));
    assert!(!scratch.json("b/run.json")["arguments"].to_string().contains("output"));
}
