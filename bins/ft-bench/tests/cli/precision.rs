//! `ft-bench precision`.

use super::{Scratch, assert_machine, assert_well_formed, number, positive};

#[test]
fn every_type_trains_on_the_same_rows() {
    let scratch = Scratch::new();
    let line = "precision --model MODEL --max-steps 2 --batch-size 2 --seq-len 32 --lora-r 4 --device cpu --threads 1";
    let table = scratch.succeed(&format!("{line} --json p.json --svg p.svg --png p.png"));
    assert!(table.contains("on a CPU types are storage"), "{table}");
    let json = scratch.json("p.json");
    assert_machine(&json, "precision", 1);
    let types = json["types"].as_array().unwrap();
    let names: Vec<_> = types.iter().map(|found| found["type"].as_str().unwrap()).collect();
    assert_eq!(names, ["f32", "bf16", "fp16", "8bit", "4bit"]);
    for found in types {
        positive(found, &["tokens_per_second", "gflops", "frozen_bytes", "peak_memory_bytes"]);
        assert_eq!(found["losses"].as_array().unwrap().len(), 2);
    }
    // Fewer bits say less, and take less memory.
    let off: Vec<f64> = types.iter().map(|found| number(found, "loss_difference")).collect();
    assert_eq!(off[0], 0.0);
    assert!(off[1..].iter().all(|off| *off > 0.0 && *off < 0.5), "{off:?}");
    assert!(off[2] < off[1] && off[1] < off[4] && off[3] < off[4], "{off:?}");
    let bytes: Vec<f64> = types.iter().map(|found| number(found, "frozen_bytes")).collect();
    assert!(bytes[1] < bytes[0] && bytes[1] == bytes[2] && bytes[4] < bytes[3] && bytes[3] < bytes[0], "{bytes:?}");
    assert_well_formed(&std::fs::read_to_string(scratch.path("p.svg")).unwrap());
    assert!(std::fs::read(scratch.path("p.png")).unwrap().starts_with(b"\x89PNG"));
    // The losses are those of ft-bench train.
    scratch.succeed(
        "train --model MODEL --max-steps 2 --batch-size 2 --seq-len 32 --lora-r 4 --threads 1 --load-in 4bit --json t.json",
    );
    assert_eq!(scratch.json("t.json")["losses"], types[4]["losses"]);
}

#[test]
fn some_types_and_what_there_is_not() {
    let scratch = Scratch::new();
    let line = "precision --model MODEL --max-steps 1 --batch-size 1 --seq-len 8 --device cpu";
    let json: serde_json::Value =
        serde_json::from_str(&scratch.succeed(&format!("{line} --types bf16 --json -"))).unwrap();
    let names: Vec<_> = json["types"].as_array().unwrap().iter().map(|found| found["type"].clone()).collect();
    assert_eq!(names, ["f32", "bf16"], "f32 is what it is held against");
    let told = scratch.failure(&format!("{line} --types tf32"), 2);
    assert!(told.contains("tf32") && told.contains("GPU"), "{told}");
    std::fs::create_dir(scratch.path("nowhere")).unwrap();
    let told = scratch.failure("precision --model nowhere --device cpu", 1);
    assert!(told.contains("f32") && told.contains("nowhere"), "{told}");
    let told = scratch.failure(&format!("{line} --svg same --png same"), 2);
    assert!(told.contains("'same' would take the place of 'same'"), "{told}");
}
