//! Models by their published names, and what the program says of itself.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::{Scratch, model, stderr};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// [`model`] in a Hugging Face cache in the folder `home`, as huggingface_hub lays it: links to blobs.
fn cache(scratch: &Scratch) {
    let repository = scratch.path("home/hub/models--org--name");
    let snapshot = repository.join("snapshots").join(COMMIT);
    for folder in [repository.join("refs"), repository.join("blobs"), snapshot.clone()] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(repository.join("refs/main"), COMMIT).unwrap();
    for (file, blob) in [("config.json", "aa"), ("model.safetensors", "bb")] {
        fs::copy(model().join(file), repository.join("blobs").join(blob)).unwrap();
        symlink(format!("../../blobs/{blob}"), snapshot.join(file)).unwrap();
    }
}

/// The program where nothing can be downloaded.
fn named(scratch: &Scratch, line: &str) -> Command {
    let mut command = scratch.command(line);
    command.env("HF_HOME", scratch.path("home")).env("HF_ENDPOINT", "http://127.0.0.1:9");
    command.env_remove("HF_HUB_CACHE").env_remove("HF_HUB_OFFLINE");
    command
}

#[test]
fn a_model_in_the_cache_is_trained_by_its_name() {
    let scratch = Scratch::with_rows();
    cache(&scratch);
    let line =
        |model: &str, out: &str| format!("--model {model} --train rows.parquet --output-dir {out} --max-steps 2");
    let done = named(&scratch, &line("org/name", "out")).output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    let plain = scratch.run(&line("MODEL", "plain"));
    assert!(plain.status.success(), "{}", stderr(&plain));
    assert!(scratch.adapter("out") == scratch.adapter("plain"), "one model, one adapter");
    assert_eq!(scratch.json("out/adapter_config.json")["base_model_name_or_path"], "org/name");
    assert_eq!(scratch.json("out/run.json")["configuration"]["model"], "org/name");
    let again = named(&scratch, "--verify out").output().unwrap();
    assert!(again.status.success(), "{}", stderr(&again));
}

#[test]
fn a_model_that_is_nowhere_is_told_with_where_it_was_looked_for() {
    let scratch = Scratch::with_rows();
    for (more, words) in [("--offline", "home/hub"), ("", "http://127.0.0.1:9")] {
        let done = named(&scratch, &format!("--model org/name --train rows.parquet --output-dir out {more}")).output();
        let done = done.unwrap();
        let told = stderr(&done);
        assert_eq!(done.status.code(), Some(1), "{told}");
        assert!(told.lines().last().unwrap().contains(words) && told.contains("org/name"), "{told}");
        assert!(!scratch.path("out").exists());
    }
    let told = scratch.failure("--model no-such --train rows.parquet --output-dir out", 1);
    assert!(told.contains("'no-such'") && told.contains("org/name@revision"), "{told}");
}

#[test]
fn the_program_says_what_it_is_and_how_it_is_typed() {
    let scratch = Scratch::new();
    let said = |line: &str| {
        let done = scratch.run(line);
        assert!(done.status.success(), "{line}: {}", stderr(&done));
        String::from_utf8(done.stdout).unwrap()
    };
    let version = said("--version");
    let starts = format!("ft-train {} (commit ", env!("CARGO_PKG_VERSION"));
    assert!(version.starts_with(&starts) && version.lines().count() == 1, "{version}");
    for (shell, mark) in [("bash", "complete "), ("zsh", "#compdef ft-train"), ("fish", "complete -c ft-train")] {
        let script = said(&format!("--completions {shell}"));
        assert!(script.contains(mark) && script.contains("gradient-accumulation-steps"), "{shell}");
    }
    fs::create_dir(scratch.path("man")).unwrap();
    said("--man-pages man");
    assert!(fs::read_to_string(scratch.path("man/ft-train.1")).unwrap().contains("learning\\-rate"));
    let told = scratch.failure("--completions tcsh", 2);
    assert!(told.contains("tcsh") && told.contains("zsh"), "{told}");
}
