//! Rows that are no Parquet of messages: JSON lines and the other shapes that ft-table knows.

use std::fs;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use ft_io::Source;
use ft_table::read_parquet;
use serde_json::json;

use crate::bench::{Bench, chat, table, texts};

const CHATML: &str = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n";

fn run(bench: &Bench, input: &str, args: &[&str]) -> Vec<String> {
    let out = bench.run(&[&[input, "-o", "out.parquet"], args].concat());
    assert!(out.ok, "{}", out.stderr);
    bench.rows("out.parquet").text
}

#[test]
fn json_lines_of_every_shape() {
    let bench = Bench::new();
    for row in [
        json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}),
        json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}),
        json!({"instruction": "q", "input": "", "output": "a"}),
        json!({"prompt": "q", "completion": "a", "id": 7}),
        json!({"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}),
        json!({"question": "q", "answer": "a"}),
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]},
                            {"role": "assistant", "content": "a"}]}),
    ] {
        fs::write(bench.path("in.jsonl"), format!("{row}\n{row}\n")).unwrap();
        assert_eq!(run(&bench, "in.jsonl", &[]), [CHATML, CHATML], "{row}");
        fs::write(bench.path("in.json"), json!([row]).to_string()).unwrap();
        assert_eq!(run(&bench, "in.json", &[]), [CHATML], "{row}");
    }
    fs::write(bench.path("in.csv"), "question,answer\nq,a\n").unwrap();
    assert_eq!(run(&bench, "in.csv", &[]), [CHATML]);
    table(&bench.path("in.parquet"), vec![("prompt", texts([Some("q")])), ("response", texts([Some("a")]))]);
    assert_eq!(run(&bench, "in.parquet", &[]), [CHATML]);
    fs::write(bench.path("in.jsonl"), "{\"text\": \"One.\"}\n{\"text\": \"Two.\"}\n").unwrap();
    assert_eq!(run(&bench, "in.jsonl", &[]), ["One.<|im_end|>", "Two.<|im_end|>"]);
}

/// Tools, thoughts, flags of learning, a system column, and columns that go with their rows.
#[test]
fn all_of_a_json_row_is_read() {
    let bench = Bench::new();
    fs::write(
        bench.path("t.jinja"),
        "{% for t in tools or [] %}<{{ t.function.name }}>{% endfor %}{% if mood is defined %}({{ mood }}){% endif %}\
         {% for m in messages %}[{{ m.role }}]{% if m.reasoning_content is defined %}{{ m.reasoning_content }}:{% endif %}\
         {{ m.content }}{{ m.tool_calls | tojson if m.tool_calls else '' }}{{ m.tool_call_id }}<|im_end|>{% endfor %}\
         {% if add_generation_prompt %}[assistant]{% endif %}",
    )
    .unwrap();
    let call = json!({"id": "c1", "type": "function", "function": {"name": "w", "arguments": {"city": "Bern"}}});
    let first = json!({
        "messages": [
            {"role": "user", "content": "q", "mood": "good"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "content": "rain", "tool_call_id": "c1"},
            {"role": "assistant", "content": "bad", "weight": 0},
            {"role": "assistant", "content": "good", "reasoning": "r"},
        ],
        "system": "S", "tools": [{"type": "function", "function": {"name": "w"}}],
        "chat_template_kwargs": {"mood": 2}, "client": {"id": 3}, "source_file": "a.csv", "source_row": 12,
    });
    let second = json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
                        "client": "x"});
    fs::write(bench.path("in.jsonl"), format!("{first}\n{second}\n")).unwrap();
    let args = ["in.jsonl", "-o", "out.parquet", "--chat-template", "t.jinja", "--keep-columns", "client"];
    let out = bench.run(&args);
    assert!(out.ok, "{}", out.stderr);
    let rows = bench.rows("out.parquet");
    let call = "[{\"id\": \"c1\", \"type\": \"function\", \"function\": {\"name\": \"w\", \"arguments\": {\"city\": \"Bern\"}}}]";
    let expected = format!(
        "<w>(2)[system]S<|im_end|>[user]q<|im_end|>[assistant]{call}<|im_end|>[tool]rainc1<|im_end|>\
         [assistant]bad<|im_end|>[assistant]r:good<|im_end|>"
    );
    assert_eq!(rows.text[0], expected);
    assert_eq!(rows.learned[0], format!("{call}<|im_end|>r:good<|im_end|>"));
    assert!(out.stderr.contains("the field 'mood' of messages is not read; 1 rows have it, row 1 is the first"));
    let digest = ft_io::sha256_file(&bench.path("in.jsonl")).unwrap();
    assert_eq!(rows.metadata["ft.inputs"], format!(r#"[{{"name":"in.jsonl","sha256":"{digest}"}}]"#));
    let table = read_parquet(&Source::Path(bench.path("out.parquet"))).unwrap();
    let batches: Vec<RecordBatch> = table.batches(None).unwrap().map(Result::unwrap).collect();
    let column = |name: &str| batches[0].column_by_name(name).unwrap().clone();
    assert_eq!(column("client").as_string::<i32>().iter().collect::<Vec<_>>(), [Some("{\"id\":3}"), Some("x")]);
    assert_eq!(column("source_row").as_primitive::<UInt64Type>().iter().collect::<Vec<_>>(), [Some(12), None]);
    assert_eq!(column("source_file").as_string::<i32>().value(0), "a.csv");
}

#[test]
fn prompts_of_json_lines_have_their_references() {
    let bench = Bench::new();
    let asked = json!({"messages": [{"role": "user", "content": "q"}], "reference": "ideal"});
    let answered = json!({"prompt": "q", "completion": "a"});
    let open = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n";
    for (row, reference) in [(asked, "ideal"), (answered, "a")] {
        fs::write(bench.path("in.jsonl"), row.to_string()).unwrap();
        assert_eq!(run(&bench, "in.jsonl", &["--mode", "test"]), [open]);
        assert_eq!(bench.rows("out.parquet").reference, [Some(reference.to_owned())]);
    }
}

#[test]
fn json_rows_that_cannot_be_used_name_their_line() {
    let bench = Bench::new();
    let good = json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]});
    for (bad, told) in [
        (json!({"messages": [{"role": "narrator", "content": "x"}]}).to_string(), "has the role 'narrator'"),
        (json!({"messages": [{"role": "user", "content": [{"type": "image"}]}]}).to_string(), "an image"),
        (json!({"messages": []}).to_string(), "the conversation has no messages"),
    ] {
        // An empty line is no row.
        fs::write(bench.path("in.jsonl"), format!("{good}\n\n{bad}\n")).unwrap();
        let out = bench.run(&["in.jsonl", "-o", "x"]);
        assert_eq!((out.code, bench.path("x").exists()), (1, false));
        assert!(out.stderr.contains("in.jsonl, line 3: ") && out.stderr.contains(told), "{}", out.stderr);
        assert_eq!(run(&bench, "in.jsonl", &["--bad-rows", "drop"]), [CHATML]);
    }
    fs::write(bench.path("in.jsonl"), format!("{good}\n{{\"messages\": [\n")).unwrap();
    let out = bench.run(&["in.jsonl", "-o", "x"]);
    assert!(!out.ok && out.stderr.contains("in.jsonl, line 2"), "{}", out.stderr);
    fs::write(bench.path("in.jsonl"), "{\"headline\": \"x\"}\n").unwrap();
    let out = bench.run(&["in.jsonl", "-o", "x"]);
    assert!(out.stderr.contains("in.jsonl: its columns tell no shape (there are: headline)"), "{}", out.stderr);
    assert!(out.stderr.contains("ft-prep reads any other, with --input-column"), "{}", out.stderr);
    let out = bench.run(&["in.jsonl", "-o", "x", "--keep-columns", "other"]);
    assert!(!out.ok);
}

/// The same rows as JSON lines and as ft-prep's Parquet are the same tokens, from files and pipes.
#[test]
fn json_lines_through_a_pipe() {
    let bench = Bench::new();
    let row = |i: usize| {
        json!({"messages": chat(&[("user", "q"), ("assistant", "a")]).iter()
        .map(|(role, content)| json!({"role": role, "content": format!("{content}{i}")})).collect::<Vec<_>>()})
    };
    let lines: String = (0..6000).flat_map(|i| [row(i).to_string(), "\n".to_owned()]).collect();
    fs::write(bench.path("in.jsonl"), &lines).unwrap();
    let from_file = run(&bench, "in.jsonl", &["--threads", "1"]);
    bench.input(
        &(0..6000).map(|i| chat(&[("user", &format!("q{i}")), ("assistant", &format!("a{i}"))])).collect::<Vec<_>>(),
    );
    assert!(from_file == run(&bench, "in.parquet", &[]));
    let input = fs::File::open(bench.path("in.jsonl")).unwrap();
    let out = bench.command("model", &["-", "-o", "out.parquet"]).stdin(input).output().unwrap();
    assert!(out.status.success());
    assert!(from_file == bench.rows("out.parquet").text);
}
