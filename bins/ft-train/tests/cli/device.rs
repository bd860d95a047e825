//! `--device`, on machines without one, and the operators that other devices take.

use crate::support::{Scratch, with_base};

#[test]
fn a_device_that_is_not_there_is_named() {
    let scratch = Scratch::with_rows();
    let told = scratch.failure(&with_base("--output-dir out --device cuda:7"), 1);
    let why = if cfg!(feature = "cuda") { "" } else { "this build is without CUDA" };
    assert!(told.starts_with("there is no device cuda:7: ") && told.contains(why), "{told}");
    assert!(!scratch.path("out").join("adapter_model.safetensors").exists());
    let told = scratch.run(&with_base("--output-dir out --device gpu"));
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.contains("'gpu'") && told.contains("auto, cpu, cuda or cuda:N"), "{told}");
}

#[test]
#[cfg(not(feature = "cuda"))]
fn the_cpu_is_what_auto_means_where_there_is_nothing_else() {
    let scratch = Scratch::with_rows();
    let named = scratch.trained("named", "--device cpu");
    assert_eq!(scratch.trained("auto", ""), named);
    assert_eq!(scratch.json("auto/run.json")["device"], "cpu");
}

/// The whole program on the operators that a GPU takes: the losses, and that they repeat.
#[test]
fn the_plain_operators_train_alike() {
    let scratch = Scratch::with_rows();
    let line = "--eval rows.parquet --lora-dropout 0.1 --neftune-noise-alpha 5 --device cpu";
    let fused = scratch.trained("fused", line);
    let plain = scratch.trained("plain", &format!("{line} --reference-operators"));
    assert_ne!(fused, plain, "both took the same operators");
    assert_eq!(plain, scratch.trained("again", &format!("{line} --reference-operators")));
    for key in ["loss", "grad_norm", "eval_loss"] {
        let (fused, plain) = (scratch.series("fused", key), scratch.series("plain", key));
        assert_eq!(fused.len(), plain.len());
        for (fused, plain) in fused.iter().zip(&plain) {
            assert!((fused - plain).abs() <= 1e-3 * fused.abs(), "{key}: {fused} and {plain}");
        }
    }
}
