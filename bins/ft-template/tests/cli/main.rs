//! Drives the built program through paths and pipes.

mod bench;
mod documents;
mod length;
mod shapes;
mod special;
mod tools;
mod turns;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use bench::{Bench, Rows, chat, parquet, question};

#[test]
fn the_last_answer_alone_is_learned_where_asked_for() {
    let bench = Bench::new();
    bench.input(&[
        chat(&[("system", "Be brief."), ("user", "2+2?"), ("assistant", "4"), ("user", "3+3?"), ("assistant", "6")]),
        question("What is the tax?", "20 percent."),
    ]);
    let out = bench.run(&["in.parquet", "-o", "out.parquet", "--labels", "completion"]);
    assert!(out.ok, "{}", out.stderr);
    let rows = bench.rows("out.parquet");
    assert_eq!(rows.learned[0], "6<|im_end|>\n");
    assert_eq!(rows.learned[1], "20 percent.<|im_end|>\n");
    assert_eq!(
        rows.text[1],
        "<|im_start|>user\nWhat is the tax?<|im_end|>\n<|im_start|>assistant\n20 percent.<|im_end|>\n"
    );
    for row in 0..2 {
        assert_eq!(rows.length[row] as usize, rows.ids[row].len());
        assert_eq!(rows.labels[row].len(), rows.ids[row].len());
        assert_eq!(rows.reference[row], None);
    }
    assert!(out.stderr.contains("rows=2"), "{}", out.stderr);
    assert!(out.stderr.contains("rows_ending_in_labelled_end_token=2"), "{}", out.stderr);
}

#[test]
fn the_first_example_is_shown_once_with_its_labels() {
    let bench = Bench::new();
    bench.input(&[question("Who?", "The company."), question("x", "y")]);
    let out = bench.run(&["in.parquet", "-o", "out.parquet"]);
    assert!(out.stderr.contains("<|im_start|>assistant\n⟦The|"), "{}", out.stderr);
    assert_eq!(out.stderr.matches("first example").count(), 1);
    let quiet = bench.run(&["in.parquet", "-o", "out.parquet", "--quiet"]);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn every_answer_or_everything() {
    let bench = Bench::new();
    bench.input(&[chat(&[("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")])]);
    let learned = |mode: &str| {
        let out = bench.run(&["in.parquet", "-o", "out.parquet", "--labels", mode]);
        assert!(out.ok, "{}", out.stderr);
        bench.rows("out.parquet").learned[0].clone()
    };
    assert_eq!(learned("assistant"), "b<|im_end|>\nd<|im_end|>\n");
    assert_eq!(learned("completion"), "d<|im_end|>\n");
    let everything = learned("all");
    assert_eq!(everything, bench.rows("out.parquet").text[0]);
}

#[test]
fn the_generation_tag_of_a_template_decides() {
    let bench = Bench::new();
    bench.input(&[chat(&[("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")])]);
    fs::write(
        bench.path("t.jinja"),
        "{% for m in messages %}\n[{{ m.role }}]\n{%- if m.role == 'assistant' %}\n{%- generation -%}\n\
         {{ m.content }}<|im_end|>\n{%- endgeneration -%}\n{%- else %}{{ m.content }}{% endif %}\n{% endfor %}",
    )
    .unwrap();
    for (mode, learned) in [("completion", "d<|im_end|>"), ("assistant", "b<|im_end|>d<|im_end|>")] {
        let args = ["in.parquet", "-o", "out.parquet", "--chat-template", "t.jinja", "--labels", mode];
        let out = bench.run(&args);
        assert!(out.ok, "{}", out.stderr);
        assert_eq!(bench.rows("out.parquet").learned[0], learned);
    }
}

#[test]
fn prefixes_and_formats_of_the_user_message() {
    let bench = Bench::new();
    bench.input(&[question("How {prefix}?", "So.")]);
    let user = |args: &[&str]| {
        let out = bench.run(&[&["in.parquet", "-o", "out.parquet"], args].concat());
        assert!(out.ok, "{}", out.stderr);
        let text = bench.rows("out.parquet").text[0].clone();
        text["<|im_start|>user\n".len()..text.find("<|im_end|>").unwrap()].to_owned()
    };
    assert_eq!(user(&["--prefix", "Tax"]), "Tax: [How {prefix}?]");
    assert_eq!(user(&["--prefix", "Tax", "--user-format", "<{prefix}> {input}"]), "<Tax> How {prefix}?");
    assert_eq!(user(&["--user-format", "Q: {input}"]), "Q: How {prefix}?");
    let out = bench.run(&["in.parquet", "-o", "x", "--user-format", "{prefix} {input}"]);
    assert_eq!((out.code, bench.path("x").exists()), (2, false));
    assert!(out.stderr.contains("give --prefix too"), "{}", out.stderr);
}

#[test]
fn a_system_message_where_there_is_none() {
    let bench = Bench::new();
    bench.input(&[question("q", "a"), chat(&[("system", "own"), ("user", "q"), ("assistant", "a")])]);
    assert!(bench.run(&["in.parquet", "-o", "out.parquet", "--system", "S!"]).ok);
    let rows = bench.rows("out.parquet");
    assert!(rows.text[0].starts_with("<|im_start|>system\nS!<|im_end|>"), "{}", rows.text[0]);
    assert!(rows.text[1].starts_with("<|im_start|>system\nown<|im_end|>"), "{}", rows.text[1]);
}

#[test]
fn test_mode_stops_before_the_answer_and_keeps_it() {
    let bench = Bench::new();
    bench.input(&[question("What is the tax?", "20 percent."), chat(&[("user", "open")])]);
    let out = bench.run(&["in.parquet", "-o", "out.parquet", "--mode", "test"]);
    assert!(out.ok, "{}", out.stderr);
    let rows = bench.rows("out.parquet");
    assert_eq!(rows.text[0], "<|im_start|>user\nWhat is the tax?<|im_end|>\n<|im_start|>assistant\n");
    assert_eq!(rows.reference, [Some("20 percent.".to_owned()), None]);
    assert!(rows.labels.iter().flatten().all(|&label| label == -100));
    let out =
        bench.run(&["in.parquet", "-o", "x", "--mode", "test", "--max-seq-length", "9", "--overlong", "truncate"]);
    assert_eq!(out.code, 2);
    assert!(out.stderr.contains("cuts off the end"), "{}", out.stderr);
}

#[test]
fn the_inputs_own_reference_is_kept() {
    let bench = Bench::new();
    let schema_rows = [chat(&[("user", "q")]), question("q", "a")];
    parquet(&bench.path("in.parquet"), &schema_rows, Some(&["ideal", "other"]));
    let references = |mode: &str| {
        assert!(bench.run(&["in.parquet", "-o", "out.parquet", "--mode", mode]).ok);
        bench.rows("out.parquet").reference
    };
    assert_eq!(references("test"), [Some("ideal".to_owned()), Some("a".to_owned())]);
    assert_eq!(references("train"), [Some("other".to_owned())]);
}

#[test]
fn rows_over_the_length() {
    let bench = Bench::new();
    let long = "word ".repeat(60);
    bench.input(&[question("q", "a"), question("q", &long), question(&long, "a")]);
    let with =
        |policy: &str| bench.run(&["in.parquet", "-o", "out.parquet", "--max-seq-length", "40", "--overlong", policy]);
    let out = with("drop");
    assert!(out.ok, "{}", out.stderr);
    assert_eq!(bench.rows("out.parquet").text.len(), 1);
    assert!(out.stderr.contains("left out 2 rows over --max-seq-length; the first is row 2: "), "{}", out.stderr);
    assert!(out.stderr.contains("over_long=2"), "{}", out.stderr);

    let out = with("truncate");
    assert!(out.ok, "{}", out.stderr);
    let rows = bench.rows("out.parquet");
    // The third row loses its whole answer, and so everything that would be learned.
    assert_eq!(rows.length, [rows.length[0], 40]);
    assert!(!rows.text[1].contains("<|im_end|>\n<|im_start|>assistant\nword word word word word word word word word word word word word word word word word word word word word"));
    assert!(out.stderr.contains("cut 1 rows at --max-seq-length; "), "{}", out.stderr);
    assert!(out.stderr.contains("left out 1 rows of which no token would be learned"), "{}", out.stderr);
    assert!(out.stderr.contains("rows_ending_in_labelled_end_token=1"), "{}", out.stderr);

    let out = with("error");
    assert_eq!(out.code, 1);
    assert!(out.stderr.contains("in.parquet: row 2: "), "{}", out.stderr);
    assert!(out.stderr.contains("tokens, --max-seq-length is 40"), "{}", out.stderr);
}

#[test]
fn rows_of_which_nothing_is_learned() {
    let bench = Bench::new();
    bench.input(&[chat(&[("user", "no answer")]), question("q", "a")]);
    let out = bench.run(&["in.parquet", "-o", "out.parquet"]);
    assert!(out.ok, "{}", out.stderr);
    assert!(out.stderr.contains("left out 1 rows of which no token would be learned; the first is row 1"));
    let out = bench.run(&["in.parquet", "-o", "x", "--unlabelled", "error"]);
    assert_eq!((out.code, bench.path("x").exists()), (1, false));
    assert!(out.stderr.contains("in.parquet: row 1: no token of it would be learned"), "{}", out.stderr);
    bench.input(&[chat(&[("user", "no answer")])]);
    let out = bench.run(&["in.parquet", "-o", "x"]);
    assert_eq!((out.code, bench.path("x").exists()), (1, false));
    assert!(out.stderr.contains("none of the 1 rows can be used"), "{}", out.stderr);
}

#[test]
fn a_templates_refusal_is_told_in_its_own_words() {
    let bench = Bench::new();
    bench.input(&[question("q", "a"), chat(&[("assistant", "me first"), ("user", "q"), ("assistant", "a")])]);
    fs::write(
        bench.path("t.jinja"),
        "{% if messages[0].role != 'user' %}{{ raise_exception('The user must begin!') }}{% endif %}\
         {% for m in messages %}{{ m.content }};{% endfor %}",
    )
    .unwrap();
    let args = ["in.parquet", "-o", "out.parquet", "--chat-template", "t.jinja"];
    let out = bench.run(&args);
    assert_eq!(out.code, 1);
    let expected = "in.parquet: row 2: chat template: The user must begin! (--bad-rows drop leaves such rows out)\n";
    assert!(out.stderr.ends_with(expected), "{}", out.stderr);
    let out = bench.run(&[&args[..], &["--bad-rows", "drop"]].concat());
    assert!(out.ok, "{}", out.stderr);
    assert!(out.stderr.contains("row 2: chat template: The user must begin!"), "{}", out.stderr);
    assert_eq!(bench.rows("out.parquet").text.len(), 1);
}

#[test]
fn a_template_that_rewrites_the_past_is_refused() {
    let bench = Bench::new();
    bench.input(&[question("q", "a")]);
    fs::write(bench.path("t.jinja"), "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}")
        .unwrap();
    let out = bench.run(&["in.parquet", "-o", "x", "--chat-template", "t.jinja"]);
    assert_eq!(out.code, 1);
    assert!(out.stderr.contains("row 1: cannot tell where message 1 begins"), "{}", out.stderr);
}

#[test]
fn a_broken_template_names_its_file_and_line() {
    let bench = Bench::new();
    bench.input(&[question("q", "a")]);
    fs::write(bench.path("t.jinja"), "\n{% for m in messages %}").unwrap();
    let out = bench.run(&["in.parquet", "-o", "x", "--chat-template", "t.jinja"]);
    assert_eq!(out.code, 1);
    assert!(out.stderr.contains("t.jinja: chat template: line 2: "), "{}", out.stderr);
}

#[test]
fn two_leading_bos_are_refused() {
    let bench = Bench::new();
    bench.input(&[question("q", "a")]);
    fs::write(
        bench.path("t.jinja"),
        "{{ bos_token }}{{ bos_token }}{% for m in messages %}{{ m.content }};{% endfor %}",
    )
    .unwrap();
    let out = bench.run(&["in.parquet", "-o", "x", "--chat-template", "t.jinja", "--bad-rows", "drop"]);
    assert_eq!((out.code, bench.path("x").exists()), (1, false));
    assert!(out.stderr.contains("row 1: the text begins with two begin-of-sequence tokens"), "{}", out.stderr);
}

#[test]
fn a_template_without_an_end_token_is_told() {
    let bench = Bench::new();
    bench.input(&[question("q", "a")]);
    fs::write(bench.path("t.jinja"), "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}").unwrap();
    let out = bench.run(&["in.parquet", "-o", "out.parquet", "--chat-template", "t.jinja"]);
    assert!(out.ok, "{}", out.stderr);
    assert!(out.stderr.contains("warning: no row ends in a labelled end token"), "{}", out.stderr);
}

#[test]
fn models_without_tokenizer_or_template() {
    let bench = Bench::new();
    bench.input(&[question("q", "a")]);
    fs::create_dir(bench.path("empty")).unwrap();
    let out = bench.run_with("empty", &["in.parquet", "-o", "x"]);
    assert_eq!(out.code, 1);
    assert!(out.stderr.contains("empty: no tokenizer: the folder has no tokenizer.json"), "{}", out.stderr);
    let out = bench.run_with("none", &["in.parquet", "-o", "x"]);
    assert!(out.stderr.contains("none' is no folder or file here"), "{}", out.stderr);
    fs::create_dir(bench.path("base")).unwrap();
    fs::copy(bench.model().join("tokenizer.json"), bench.path("base/tokenizer.json")).unwrap();
    let out = bench.run_with("base", &["in.parquet", "-o", "x"]);
    assert!(out.stderr.contains("base: the model has no chat template"), "{}", out.stderr);
}

#[test]
fn inputs_that_are_no_conversations() {
    let bench = Bench::new();
    bench.input(&[question("q", "a")]);
    assert!(bench.run(&["in.parquet", "-o", "tokens.parquet"]).ok);
    let out = bench.run(&["tokens.parquet", "-o", "x"]);
    assert_eq!(out.code, 1);
    let expected = "tokens.parquet: no column 'messages' (there are: text, input_ids, labels, length, reference); run ft-prep first";
    assert!(out.stderr.contains(expected), "{}", out.stderr);
    fs::write(bench.path("rows.csv"), "a,b\n1,2\n").unwrap();
    let out = bench.run(&["rows.csv", "-o", "x"]);
    assert!(
        out.stderr.contains("rows.csv: its columns tell no shape (there are: a, b); known are messages"),
        "{}",
        out.stderr
    );
    bench.input(&[]);
    let out = bench.run(&["in.parquet", "-o", "x"]);
    assert!(out.stderr.contains("in.parquet: has no rows"), "{}", out.stderr);
    bench.input(&[question("q", "a"), chat(&[])]);
    let out = bench.run(&["in.parquet", "-o", "x"]);
    assert!(out.stderr.contains("in.parquet: row 2: the conversation has no messages"), "{}", out.stderr);
    let out = bench.run(&["gone.parquet", "-o", "x"]);
    assert!(out.stderr.contains("gone.parquet"), "{}", out.stderr);
    assert!(!bench.path("x").exists());
}

#[test]
fn pipes_in_and_out_give_the_files_bytes() {
    let bench = Bench::new();
    bench.input(&[question("What is the tax?", "20 percent."), question("q", "a")]);
    assert!(bench.run(&["in.parquet", "-o", "out.parquet"]).ok);
    let input = fs::File::open(bench.path("in.parquet")).unwrap();
    for args in [&["-", "-o", "-"][..], &[]] {
        let out = bench.command("model", args).stdin(input.try_clone().unwrap()).output().unwrap();
        assert!(out.status.success());
        fs::write(bench.path("piped.parquet"), out.stdout).unwrap();
        let (piped, written) = (bench.rows("piped.parquet"), bench.rows("out.parquet"));
        assert_eq!((piped.text, piped.ids, piped.labels), (written.text, written.ids, written.labels));
        std::io::Seek::rewind(&mut &input).unwrap();
    }
}

#[test]
fn where_the_tokens_come_from_is_written_down() {
    let bench = Bench::new();
    bench.input(&[question("q", "a")]);
    assert!(bench.run(&["in.parquet", "-o", "out.parquet", "--prefix", "Tax"]).ok);
    let metadata = bench.rows("out.parquet").metadata;
    assert_eq!(metadata["ft.tool"], "ft-template");
    assert_eq!(metadata["ft.model"], "model");
    assert_eq!(metadata["ft.arguments"], r#"["--model","model","--prefix","Tax"]"#);
    let digest = ft_io::sha256_file(&bench.path("in.parquet")).unwrap();
    assert_eq!(metadata["ft.inputs"], format!(r#"[{{"name":"in.parquet","sha256":"{digest}"}}]"#));
    let print = ft_text::fingerprint(&bench.model()).unwrap().unwrap();
    assert_eq!(metadata["ft.tokenizer_sha256"], print);
    let template = ft_text::TextModel::open(&bench.model()).unwrap().template.unwrap();
    assert_eq!(metadata["ft.chat_template_sha256"], template.sha256());
    assert_eq!(metadata["ft.chat_template"], template.source());
    assert_eq!((metadata["ft.prefix"].as_str(), metadata.get("ft.system")), ("Tax", None));
    let ends: Vec<u32> = serde_json::from_str(&metadata["ft.end_ids"]).unwrap();
    assert_eq!(ends, ft_text::TextModel::open(&bench.model()).unwrap().end_ids);
}

#[test]
fn threads_do_not_change_the_bytes() {
    let bench = Bench::new();
    let rows: Vec<Rows> =
        (0..3000).map(|i| question(&format!("How much is {i} percent of {}?", i * 7), "All.")).collect();
    bench.input(&rows);
    let bytes = |threads: &str| {
        let out = bench.run(&["in.parquet", "-o", "out.parquet", "--threads", threads]);
        assert!(out.ok, "{}", out.stderr);
        fs::read(bench.path("out.parquet")).unwrap()
    };
    assert!(bytes("1") == bytes("2"));
    assert!(bench.rows("out.parquet").text[2999].contains("How much is 2999 percent"));
}

#[test]
fn json_logs_are_one_object_a_line() {
    let bench = Bench::new();
    bench.input(&[question("q", "a")]);
    let out = bench.run(&["in.parquet", "-o", "out.parquet", "--log-format", "json"]);
    let lines: Vec<serde_json::Value> = out.stderr.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let done = lines.last().unwrap();
    assert_eq!((&done["rows"], &done["rows_ending_in_labelled_end_token"]), (&1.into(), &1.into()));
}

#[test]
fn wrong_usage() {
    let bench = Bench::new();
    bench.input(&[question("q", "a")]);
    for (args, told) in [
        (&["in.parquet", "--mode", "eval"][..], "invalid value 'eval'"),
        (&["in.parquet", "--max-seq-length", "0"], "0 is not in 1.."),
        (&["in.parquet", "--overlong", "drop"], "--max-seq-length"),
    ] {
        let out = bench.run(args);
        assert_eq!(out.code, 2, "{}", out.stderr);
        assert!(out.stderr.contains(told), "{}", out.stderr);
    }
    let help = bench.command("model", &["--help"]).stdout(Stdio::piped()).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for word in ["--user-format", "--overlong", "Examples:", "straddles"] {
        assert!(help.contains(word), "{word}");
    }
}

#[test]
fn a_full_disk_is_told() {
    let bench = Bench::new();
    bench.input(&[question("q", "a")]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let out = bench.command("model", &["in.parquet"]).stdout(full).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let words = String::from_utf8(out.stderr).unwrap();
    for word in ["standard output", "No space left on device"] {
        assert!(words.contains(word), "{words}");
    }
}

#[test]
fn smollm2_with_its_default_system_prompt() {
    let folder = std::env::var_os("FT_TEST_MODEL_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.cache/models"), PathBuf::from);
    let model = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(model.is_file(), "{} is missing: 'make test' fetches it", model.display());
    let bench = Bench::new();
    bench.input(&[question("What is the capital of France?", "The capital of France is Paris.")]);
    let out = bench.run_with(model.to_str().unwrap(), &["in.parquet", "-o", "out.parquet"]);
    assert!(out.ok, "{}", out.stderr);
    let rows = bench.rows("out.parquet");
    assert!(rows.text[0].contains("named SmolLM, trained by Hugging Face<|im_end|>"), "{}", rows.text[0]);
    let learned: Vec<i32> = rows.labels[0].iter().copied().filter(|&l| l >= 0).collect();
    assert_eq!(learned, [504, 3575, 282, 4649, 314, 7042, 30, 2, 198]);
}
