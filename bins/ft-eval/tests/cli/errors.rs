//! What the program says when something is wrong.

use crate::bench::{Bench, Row, testdata};

#[test]
fn files_that_cannot_be_read() {
    let bench = Bench::new();
    std::fs::write(bench.path("empty.parquet"), b"").unwrap();
    std::fs::write(bench.path("text.parquet"), b"question,answer\nx,y\n").unwrap();
    bench.prompts("p.parquet");
    let bytes = std::fs::read(bench.path("p.parquet")).unwrap();
    std::fs::write(bench.path("cut.parquet"), &bytes[..bytes.len() - 9]).unwrap();
    for task in ["loss", "generate"] {
        let told = |name: &str| bench.run(task, &[name]).failure().to_owned();
        assert!(told("none.parquet").starts_with("cannot read 'none.parquet': No such file"), "{task}");
        assert_eq!(told("empty.parquet"), "empty.parquet: is empty, expected Parquet");
        assert_eq!(told("text.parquet"), "text.parquet: is not Parquet: it does not begin with 'PAR1'");
        assert!(told("cut.parquet").starts_with("cut.parquet: is a truncated Parquet file"));
        let out = bench.run_on(task, "no-model".as_ref(), &["p.parquet"], b"");
        assert!(out.failure().contains("no-model"), "{}", out.stderr);
    }
    let out = bench.run("loss", &["p.parquet", "--report", "no/such/f.json"]);
    assert_eq!(out.failure(), "cannot write 'no/such/f.json': its folder does not exist");
}

#[test]
fn tokens_that_are_not_the_models() {
    let bench = Bench::new();
    let row = |ids: &[u32]| Row::labelled(ids, &ids.iter().map(|&id| id as i32).collect::<Vec<_>>());
    bench.tokens("other.parquet", &[row(&[5, 6])], Some("0123456789abcdef"));
    bench.tokens("prompts.parquet", &[Row::prompt(&[5, 6], "x")], Some("0123456789abcdef"));
    for (task, name) in [("loss", "other.parquet"), ("generate", "prompts.parquet")] {
        let out = bench.run(task, &[name]);
        let told = out.failure();
        let begin =
            format!("{name}: its tokens were made with another tokenizer (0123456789ab…) than that of 'model' (");
        assert!(told.starts_with(&begin), "{told}");
        assert!(told.ends_with("make them again with 'ft-template --model model'"), "{told}");
    }
    bench.tokens("big.parquet", &[row(&[5, 6]), row(&[5, 400])], None);
    let told = bench.run("loss", &["big.parquet"]).stderr;
    assert!(told.contains("big.parquet, row 2: token 400, but the model's vocabulary has 400"), "{told}");
    bench.tokens("long.parquet", &[row(&[5; 1025])], None);
    let told = bench.run("loss", &["long.parquet"]).stderr;
    assert!(told.contains("long.parquet: up to 1025 tokens in a row, but the model was made for 1024"), "{told}");
}

#[test]
fn rows_that_measure_nothing() {
    let bench = Bench::new();
    bench.tokens("p.parquet", &[Row::prompt(&[5, 6], "x")], None);
    let told = bench.run("loss", &["p.parquet"]).stderr;
    assert!(told.contains("p.parquet: no row has a label (all are -100), so there is no loss"), "{told}");
    let learned = Row::labelled(&[5, 6], &[-100, 6]);
    bench.tokens("t.parquet", &[Row::prompt(&[5], "x"), learned], None);
    let told = bench.run("generate", &["t.parquet"]).failure().to_owned();
    assert!(told.starts_with("t.parquet, row 2: it has labels, so it is made to learn from and holds the answer"));
    bench.tokens("none.parquet", &[], None);
    assert_eq!(bench.run("generate", &["none.parquet"]).failure(), "none.parquet: holds no rows");
    std::fs::write(bench.path("a.csv"), "prompt,answer\nx,y\n").unwrap();
    let sample = testdata("samples/professional_accounting_dev.arrow").canonicalize().unwrap();
    let told = bench.run("generate", &[sample.to_str().unwrap()]).failure().to_owned();
    assert!(told.contains("is not Parquet"), "{told}");
}

#[test]
fn questions_that_are_none() {
    let bench = Bench::new();
    let told = |lines: &str| {
        std::fs::write(bench.path("q.jsonl"), lines).unwrap();
        bench.run("choice", &["q.jsonl"]).failure().to_owned()
    };
    let columns = "{\"question\": \"?\", \"options\": [\"a\", \"b\"], \"answer\": 0}";
    assert_eq!(told(columns), "q.jsonl: no column 'choices'; there are: 'question', 'options', 'answer'");
    let answer = "{\"question\": \"?\", \"choices\": [\"a\", \"b\"], \"answer\": 0}\n\
                  {\"question\": \"?\", \"choices\": [\"a\", \"b\"], \"answer\": 2}";
    assert_eq!(told(answer), "q.jsonl, line 2: 'answer' is 2, expected 0 to 1, A to B, or one of the choices");
    let choices = "{\"question\": \"?\", \"choices\": \"a\", \"answer\": 0}";
    assert_eq!(told(choices), "q.jsonl, line 1: 'choices' is text, expected a list of 2 to 26 texts");
    let question = "{\"question\": null, \"choices\": [\"a\", \"b\"], \"answer\": 0}";
    assert_eq!(told(question), "q.jsonl, line 1: 'question' is null, expected text");
    assert_eq!(told(""), "q.jsonl: is empty");
    let long = format!("{{\"question\": \"{}\", \"choices\": [\"a\", \"b\"], \"answer\": 0}}", "7 ".repeat(600));
    std::fs::write(bench.path("q.jsonl"), long).unwrap();
    let told = bench.run("choice", &["q.jsonl"]).stderr;
    assert!(told.contains("tokens in a row, but the model was made for 1024"), "{told}");
}

#[test]
fn prompts_of_another_template_than_the_adapters_are_told() {
    let bench = Bench::new();
    let adapter = bench.path("adapter");
    std::fs::create_dir(&adapter).unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(testdata("reference/llama-s0/adapter_final").join(name), adapter.join(name)).unwrap();
    }
    std::fs::write(adapter.join("chat_template.jinja"), "{{ messages }}").unwrap();
    let own = ft_text::ChatTemplate::new("{{ messages }}", &[]).unwrap().sha256();
    let model = testdata("reference/llama-s0/model").canonicalize().unwrap();
    let rows = [Row::labelled(&[3, 4, 5], &[-100, 4, 5])];
    let told = |digest: &str| {
        bench.tokens_with("t.parquet", &rows, &[("ft.chat_template_sha256", digest)]);
        let out = bench.run_on("loss", &model, &["t.parquet", "--adapter", "adapter"], b"");
        assert_eq!(out.code, 0, "{}", out.stderr);
        out.stderr
    };
    let words = "t.parquet: made with another chat template than the adapter was trained with";
    let (same, other) = (told(&own), told("another"));
    assert!(!same.contains(words) && other.contains(words), "{same}\n{other}");
}

#[test]
fn adapters_that_do_not_fit() {
    let bench = Bench::new();
    bench.prompts("p.parquet");
    let adapter = testdata("reference/llama-s0/adapter_final").canonicalize().unwrap();
    let out = bench.run("generate", &["p.parquet", "--adapter", adapter.to_str().unwrap()]);
    let told = out.failure();
    assert!(told.contains("does not fit 'model': the adapter"), "{told}");
    let out = bench.run("generate", &["p.parquet", "--adapter", "none"]);
    assert!(out.failure().contains("none"), "{}", out.stderr);
}

#[test]
fn what_cannot_be_meant_is_wrong_usage() {
    let bench = Bench::new();
    bench.prompts("p.parquet");
    for (task, args, words) in [
        ("generate", &["p.parquet", "--top-k", "5"][..], "--temperature"),
        ("generate", &["p.parquet", "--top-p", "1.5"], "1 at most"),
        ("generate", &["--adapter", "-", "-"], "both the adapter and the rows"),
        ("loss", &["p.parquet", "-o", "x"], "--per-example"),
        ("loss", &["p.parquet", "--load-in", "q4"], "bf16"),
    ] {
        let out = bench.run(task, args);
        assert_eq!(out.code, 2, "{args:?}: {}", out.stderr);
        assert!(out.failure().contains(words), "{}", out.stderr);
    }
}

#[test]
fn a_device_that_is_not_there() {
    let bench = Bench::new();
    bench.prompts("p.parquet");
    for task in ["loss", "generate"] {
        let out = bench.run(task, &["p.parquet", "--device", "cuda:5"]);
        assert!(out.failure().starts_with("there is no device cuda:5: "), "{}", out.stderr);
    }
}

#[test]
fn weights_that_are_not_finite_are_no_figures() {
    let bench = Bench::new();
    bench.prompts("p.parquet");
    bench.tokens("t.parquet", &[Row::labelled(&[5, 6, 7, 8], &[-100, 6, 7, 8])], None);
    let question = "{\"question\": \"?\", \"choices\": [\"a\", \"b\"], \"answer\": 0}";
    std::fs::write(bench.path("q.jsonl"), question).unwrap();
    let tasks: [(&str, &[&str], &str); 5] = [
        ("loss", &["t.parquet"], "t.parquet, row 1"),
        ("generate", &["p.parquet", "-o", "a.parquet"], "p.parquet, row 1"),
        ("generate", &["p.parquet", "-o", "a.parquet", "--temperature", "1"], "p.parquet, row 1"),
        ("choice", &["q.jsonl"], "q.jsonl, line 1"),
        ("choice", &["q.jsonl", "--format", "text"], "q.jsonl, line 1"),
    ];
    // One that is no number in a layer, and ones that are numbers but make logits that are none.
    for (tensor, value) in [("model.layers.1.mlp.up_proj.weight", f32::NAN), ("model.norm.weight", 3e38)] {
        bench.spoil(tensor, value);
        for (task, args, row) in tasks {
            let out = bench.run(task, args);
            let told = out.failure();
            assert_eq!(out.code, 1, "{told}");
            assert!(told.contains("finite"), "{told}");
            let layer = value.is_nan() && told.contains("layers.1");
            assert!(layer || told.contains(row), "{tensor}, {task}: {told}");
            assert!(!bench.path("a.parquet").exists());
        }
    }
}

#[test]
fn a_report_or_rows_in_the_place_of_another_file_are_refused() {
    let bench = Bench::new();
    bench.prompts("p.parquet");
    bench.tokens("t.parquet", &[Row::labelled(&[5, 6], &[-100, 6])], None);
    std::fs::write(bench.path("q.jsonl"), "{\"question\": \"?\", \"choices\": [\"a\", \"b\"], \"answer\": 0}").unwrap();
    std::fs::hard_link(bench.path("p.parquet"), bench.path("link.parquet")).unwrap();
    let files = ["p.parquet", "t.parquet", "q.jsonl", "model/config.json", "model/tokenizer.json"];
    let bytes = || files.map(|name| std::fs::read(bench.path(name)).unwrap());
    let before = bytes();
    for (task, args, words) in [
        ("loss", &["t.parquet", "--report", "t.parquet"][..], "'t.parquet', which is read"),
        ("loss", &["t.parquet", "--per-example", "-o", "./t.parquet"], "'t.parquet', which is read"),
        ("loss", &["t.parquet", "--per-example", "-o", "x", "--report", "x"], "'x', which is written too (-o)"),
        ("generate", &["p.parquet", "-o", "link.parquet"], "'p.parquet', which is read"),
        ("generate", &["p.parquet", "-o", "x", "--report", "./x"], "'x', which is written too (-o)"),
        ("generate", &["p.parquet", "-o", "model/config.json"], "which is read (--model)"),
        ("choice", &["q.jsonl", "--report", "q.jsonl"], "'q.jsonl', which is read"),
        ("choice", &["q.jsonl", "--report", "model/tokenizer.json"], "which is read (--model)"),
    ] {
        let out = bench.run(task, args);
        assert_eq!(out.code, 2, "{args:?}: {}", out.stderr);
        assert!(out.failure().contains(words), "{}", out.stderr);
    }
    assert!(bytes() == before && !bench.path("x").exists());
}
