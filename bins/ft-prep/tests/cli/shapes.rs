//! Every shape of rows becomes messages.

use crate::support::{Scratch, examples, stderr, text_column};

/// The examples made of these JSON lines.
fn from_lines(lines: &str, more: &str) -> Vec<Vec<String>> {
    let scratch = Scratch::new();
    scratch.write("in.jsonl", lines);
    scratch.examples(&format!("in.jsonl {more} -o out.parquet"), "out.parquet")
}

#[test]
fn messages_stay_as_they_are() {
    let lines = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}
{"messages":[{"role":"user","content":"1"},{"role":"assistant","content":"2"},{"role":"user","content":"3"},{"role":"assistant","content":"4"}]}"#;
    let expected =
        [vec!["system: s", "user: q", "assistant: a"], vec!["user: 1", "assistant: 2", "user: 3", "assistant: 4"]];
    assert_eq!(from_lines(lines, ""), expected);
}

#[test]
fn sharegpt_roles_are_renamed() {
    let lines = r#"{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}],"system":"s"}
{"conversations":[{"from":"system","value":"t"},{"from":"human","value":"q"},{"from":"gpt","value":"a"}],"system":""}"#;
    let expected = [["system: s", "user: q", "assistant: a"], ["system: t", "user: q", "assistant: a"]];
    assert_eq!(from_lines(lines, ""), expected);
}

#[test]
fn alpaca_with_all_its_columns() {
    let lines = r#"{"instruction":"add","input":"1 2","output":"3"}
{"instruction":"hi","input":"","output":"hello","system":"s","history":[["a","b"]]}"#;
    let expected = [
        vec!["user: add\n1 2", "assistant: 3"],
        vec!["system: s", "user: a", "assistant: b", "user: hi", "assistant: hello"],
    ];
    assert_eq!(from_lines(lines, ""), expected);
}

#[test]
fn prompt_and_completion_as_text_or_messages() {
    let lines = r#"{"prompt":"q","completion":"a"}
{"prompt":[{"role":"system","content":"s"},{"role":"user","content":"q"}],"completion":[{"role":"assistant","content":"a"}]}"#;
    let expected = [vec!["user: q", "assistant: a"], vec!["system: s", "user: q", "assistant: a"]];
    assert_eq!(from_lines(lines, ""), expected);
}

#[test]
fn evals_take_the_first_of_several_ideals() {
    let lines = r#"{"input":[{"role":"system","content":"s"},{"role":"user","content":"q"}],"ideal":"a"}
{"input":[{"role":"system","content":"s"},{"role":"user","content":"q"}],"ideal":["b","c"]}
{"input":"plain","ideal":"d"}"#;
    let expected = [
        vec!["system: s", "user: q", "assistant: a"],
        vec!["system: s", "user: q", "assistant: b"],
        vec!["user: plain", "assistant: d"],
    ];
    assert_eq!(from_lines(lines, ""), expected);
}

#[test]
fn input_and_output() {
    let lines = r#"{"input":"q","output":"a","id":7}"#;
    assert_eq!(from_lines(lines, ""), [["user: q", "assistant: a"]]);
}

#[test]
fn named_columns_go_before_known_ones() {
    let lines = r#"{"input":"x","output":"y","question":"q","answer":5,"rules":"s"}"#;
    let named = "--input-column question --output-column answer --system-column rules";
    let expected = [["system: s", "user: q", "assistant: 5"]];
    assert_eq!(from_lines(lines, named), expected);
}

#[test]
fn a_conversation_and_its_answer_from_two_columns() {
    let lines = r#"{"chat":[{"role":"user","content":"q"}],"best":"a"}"#;
    let named = "--messages-column chat --output-column best";
    assert_eq!(from_lines(lines, named), [["user: q", "assistant: a"]]);
    let lines = r#"{"chat":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]}"#;
    let named = "--messages-column chat";
    assert_eq!(from_lines(lines, named), [["user: q", "assistant: a"]]);
}

#[test]
fn rows_without_question_or_answer_are_dropped_and_counted() {
    let scratch = Scratch::new();
    scratch.write("in.csv", "question,answer\nq,a\n,a\nq,  \n\"q\",\"a\"\nlast,one\n");
    let line = "in.csv --input-column question --output-column answer --dedup \
                --report report.json -o out.parquet";
    let output = scratch.run(line);
    let told = stderr(&output);
    let counts = "ft-prep: 5 rows read, 2 kept, 3 dropped (empty question 1, empty answer 1, duplicate 1)";
    assert!(told.starts_with(counts), "{told}");
    assert_eq!(examples(&scratch.path("out.parquet")).len(), 2);
    let report = std::fs::read_to_string(scratch.path("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["rows_read"], 5);
    assert_eq!(report["rows_kept"], 2);
    assert_eq!(report["dropped"]["duplicate"], 1);
    assert_eq!(report["written"]["all"], 2);
    assert_eq!(report["inputs"][0]["shape"], "named columns");
    assert_eq!(report["inputs"][0]["name"], "in.csv");
}

#[test]
fn pictures_and_missing_answers_are_dropped() {
    let scratch = Scratch::new();
    let lines = r#"{"messages":[{"role":"user","content":[{"type":"image","url":"x"}]},{"role":"assistant","content":"a"}]}
{"messages":[{"role":"user","content":"q"}]}
{"messages":[]}
{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}"#;
    scratch.write("in.jsonl", lines);
    let told = stderr(&scratch.run("in.jsonl -o out.parquet"));
    let counts = "4 rows read, 1 kept, 3 dropped (no messages 1, no message of the assistant 1, an image 1)";
    assert!(told.contains(counts), "{told}");
}

#[test]
fn kept_columns_stand_beside_the_messages() {
    let scratch = Scratch::new();
    scratch.write("in.csv", "id,input,output,other\n7,q,a,x\n8,,a,y\n9,q,b,z\n");
    let line = "in.csv --keep-columns id,other -o out.parquet";
    assert_eq!(scratch.examples(line, "out.parquet").len(), 2);
    let ids = text_column(&scratch.path("out.parquet"), "id");
    assert_eq!(ids, [Some("7".into()), Some("9".into())]);
    scratch
        .write("in.jsonl", "{\"input\":\"q\",\"output\":\"a\",\"id\":{\"n\":1}}\n{\"input\":\"q\",\"output\":\"b\"}\n");
    scratch.examples("in.jsonl --keep-columns id -o json.parquet", "json.parquet");
    let ids = text_column(&scratch.path("json.parquet"), "id");
    assert_eq!(ids, [Some("{\"n\":1}".into()), None]);
}

#[test]
fn several_inputs_of_several_shapes_follow_each_other() {
    let scratch = Scratch::new();
    scratch.write("a.csv", "input,output\n1,2\n").write("b.jsonl", r#"{"prompt":"3","completion":"4"}"#);
    let got = scratch.examples("a.csv b.jsonl -o out.parquet", "out.parquet");
    let expected = [["user: 1", "assistant: 2"], ["user: 3", "assistant: 4"]];
    assert_eq!(got, expected);
}

#[test]
fn questions_and_answers_under_other_names() {
    for (asked, answered) in [
        ("question", "answer"),
        ("Question", "Answer"),
        ("prompt", "response"),
        ("query", "response"),
        ("instruction", "response"),
        ("question", "response"),
    ] {
        let lines = format!(r#"{{"{asked}":"q","{answered}":"a","id":7}}"#);
        assert_eq!(from_lines(&lines, ""), [["user: q", "assistant: a"]], "{asked}");
        let scratch = Scratch::new();
        scratch.write("in.csv", format!("{asked},{answered}\nq,a\n"));
        assert_eq!(scratch.examples("in.csv -o out.parquet", "out.parquet"), [["user: q", "assistant: a"]]);
    }
    let dolly = r#"{"instruction":"sum up","context":"text","response":"a","category":"x"}"#;
    assert_eq!(from_lines(dolly, ""), [["user: sum up\ntext", "assistant: a"]]);
}

#[test]
fn the_side_of_preference_pairs_that_is_asked_for() {
    let chat = |said: &str| format!(r#"[{{"role":"user","content":"q"}},{{"role":"assistant","content":"{said}"}}]"#);
    for lines in [
        r#"{"prompt":"q","chosen":"good","rejected":"bad"}"#.to_owned(),
        format!(r#"{{"chosen":{},"rejected":{}}}"#, chat("good"), chat("bad")),
        format!(r#"{{"prompt":"q","chosen":{},"rejected":{}}}"#, chat("good"), chat("bad")),
        r#"{"prompt":[{"role":"user","content":"q"}],"chosen":[{"role":"assistant","content":"good"}],"rejected":[{"role":"assistant","content":"bad"}]}"#.to_owned(),
        r#"{"question":"q","chosen":{"role":"assistant","content":"good"},"rejected":{"role":"assistant","content":"bad"}}"#.to_owned(),
    ] {
        assert_eq!(from_lines(&lines, "--preference chosen"), [["user: q", "assistant: good"]], "{lines}");
        assert_eq!(from_lines(&lines, "--preference rejected"), [["user: q", "assistant: bad"]], "{lines}");
    }
    let scratch = Scratch::new();
    scratch.write("in.jsonl", r#"{"prompt":"q","chosen":"good","rejected":"bad"}"#);
    let told = scratch.failure("in.jsonl -o out.parquet", 2);
    assert!(told.contains("these are preference pairs: --preference chosen reads the better answer"), "{told}");
    scratch.write("in.csv", "prompt,completion\nq,a\n").write("text.csv", "text\nwords\n");
    let told = scratch.failure("in.csv --preference chosen -o out.parquet", 2);
    assert_eq!(told, "--preference chosen: in.csv has no column 'chosen'");
    let told = scratch.failure("text.csv --system Hello -o out.parquet", 2);
    assert!(told.starts_with("--system: text.csv has whole documents"), "{told}");
}

#[test]
fn whole_documents() {
    let scratch = Scratch::new();
    scratch.write("in.csv", "id,text\n1,one\n2,\n3,\"two\nlines\"\n");
    let output = scratch.run("in.csv --dedup --keep-columns id -o out.parquet");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("3 rows read, 2 kept, 1 dropped (empty text 1)"), "{}", stderr(&output));
    let out = scratch.path("out.parquet");
    assert_eq!(text_column(&out, "text"), [Some("one".into()), Some("two\nlines".into())]);
    assert_eq!(text_column(&out, "id"), [Some("1".into()), Some("3".into())]);
    scratch.write("chat.csv", "input,output\nq,a\n");
    let told = scratch.failure("in.csv chat.csv -o both.parquet", 1);
    assert!(told.contains("conversations ('messages') and whole documents ('text') do not go into one file"), "{told}");
}
