//! `ft-eval chat`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use ft_text::{Encoder, Message, Scratch, TextModel};
use serde_json::{Value, json};

use crate::bench::{Bench, Row};

/// The program about to converse with the bench's model.
fn program(bench: &Bench, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ft-eval"));
    command.current_dir(bench.path("")).args(["chat", "--model", "model"]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What the model says to these lines, and what is said of it.
fn said(bench: &Bench, args: &[&str], lines: &str) -> (String, String) {
    let mut child = program(bench, args).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let told = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.success(), "{told}");
    (String::from_utf8(out.stdout).unwrap(), told)
}

/// What `generate` answers to a conversation.
fn generated(bench: &Bench, turns: &[(&str, &str)]) -> String {
    let text = TextModel::open(&bench.path("model")).unwrap();
    let turns: Vec<Message> = turns.iter().map(|(role, content)| Message::new(*role, *content)).collect();
    let rendered = text.template.unwrap().render(&turns, true).unwrap().text;
    let ids = Encoder::new(text.tokenizer).encode(&rendered, &mut Scratch::default()).unwrap().ids;
    bench.tokens("rows.parquet", &[Row::prompt(&ids, "x")], None);
    let args = ["rows.parquet", "-o", "a.parquet", "--max-new-tokens", "12"];
    assert_eq!(bench.run("generate", &args).code, 0);
    bench.rows("a.parquet").column_by_name("prediction").unwrap().as_string::<i32>().value(0).to_owned()
}

/// How many tokens each answer's question did not have to be read again for.
fn kept(told: &str) -> Vec<u64> {
    let number = |line: &str| line.split("of which ").nth(1)?.split(' ').next()?.parse().ok();
    told.lines().filter_map(number).collect()
}

#[test]
fn a_second_question_is_answered_after_the_first() {
    let bench = Bench::new();
    let args = ["--max-new-tokens", "12", "-v"];
    let (answers, told) = said(&bench, &args, "What is owed?\n\nAnd when?\n");
    let first = generated(&bench, &[("user", "What is owed?")]);
    let turns = [("user", "What is owed?"), ("assistant", &first), ("user", "And when?")];
    let second = generated(&bench, &turns);
    assert_eq!(answers, format!("{first}\n{second}\n"), "{told}");
    let kept = kept(&told);
    assert!(kept.len() == 2 && kept[0] == 0 && kept[1] > 10, "{told}");
}

#[test]
fn commands_reset_and_leave_and_others_are_told() {
    let bench = Bench::new();
    let args = ["--max-new-tokens", "12", "-v"];
    let (answers, told) = said(&bench, &args, "What?\n/nonsense\nWhy?\n/reset\nWhat?\n/exit\nNever?\n");
    let lines: Vec<&str> = answers.lines().collect();
    let first = generated(&bench, &[("user", "What?")]);
    assert!(answers.starts_with(&format!("{first}\n")) && answers.ends_with(&format!("\n{first}\n")), "{lines:?}");
    assert!(told.contains("there is no /nonsense"), "{told}");
    assert_eq!(kept(&told).len(), 3, "{told}");
    assert_eq!(kept(&told)[2], 0, "{told}");
}

#[test]
fn a_system_message_stands_before_all() {
    let bench = Bench::new();
    let (answer, _) = said(&bench, &["--max-new-tokens", "12", "--system", "Be brief."], "What?\n");
    assert_eq!(answer, generated(&bench, &[("system", "Be brief."), ("user", "What?")]) + "\n");
    // Without a template there is no conversation.
    let config = bench.path("model/tokenizer_config.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    value.as_object_mut().unwrap().remove("chat_template");
    fs::write(&config, value.to_string()).unwrap();
    let mut child = program(&bench, &["--max-new-tokens", "3", "--quiet"]).spawn().unwrap();
    // Nobody may read it.
    let _ = child.stdin.take().unwrap().write_all(b"What?\nWhy?\n");
    let out = child.wait_with_output().unwrap();
    let told = String::from_utf8(out.stderr).unwrap();
    assert!(
        out.status.code() == Some(1) && told.contains("'model' has no chat template, nor has its adapter"),
        "{told}"
    );
}

/// A conversation whose answer goes on for very long.
fn endless() -> (Bench, Child) {
    let bench = Bench::new();
    // No token ends an answer, and the context takes a million.
    for name in ["config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"] {
        let file = bench.path("model").join(name);
        let mut value: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let object = value.as_object_mut().unwrap();
        object.retain(|key, _| !["eos_token_id", "eos_token"].contains(&key.as_str()));
        if name == "config.json" {
            object.insert("max_position_embeddings".into(), json!(1_000_000));
        }
        fs::write(&file, value.to_string()).unwrap();
    }
    let mut child = program(&bench, &["--temperature", "2", "--quiet"]).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"What?\n").unwrap();
    (bench, child)
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Waits until the program has ended; its exit code.
fn ended(child: &mut Child) -> Option<i32> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    panic!("it did not end");
}

#[test]
fn ctrl_c_ends_the_answer_and_not_the_conversation() {
    let (_bench, mut child) = endless();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    // Answers come as they are made.
    let mut some = [0; 40];
    out.read_exact(&mut some).unwrap();
    assert!(child.try_wait().unwrap().is_none());
    signal(&child, "-INT");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"/reset\n/exit\n").unwrap();
    assert_eq!(ended(&mut child), Some(0));
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.last(), Some(&b'\n'));
    drop(stdin);
}

#[test]
fn other_signals_end_the_program_and_so_does_a_reader_that_goes() {
    let (_bench, mut child) = endless();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut some = Vec::new();
    out.read_until(b' ', &mut some).unwrap();
    signal(&child, "-TERM");
    std::thread::spawn(move || out.read_to_end(&mut Vec::new()));
    assert_eq!(ended(&mut child), Some(130));
    let (_bench, mut child) = endless();
    drop(child.stdout.take());
    assert_eq!(ended(&mut child), Some(0));
    // Nobody asks and nobody answers.
    let (_bench, mut child) = endless();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_until(b' ', &mut Vec::new()).unwrap();
    signal(&child, "-INT");
    std::thread::spawn(move || out.read_to_end(&mut Vec::new()));
    std::thread::sleep(Duration::from_millis(800));
    signal(&child, "-INT");
    assert_eq!(ended(&mut child), Some(130));
}
