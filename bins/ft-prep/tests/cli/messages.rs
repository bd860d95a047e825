//! Messages keep all that they have, and what is not read is told.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::support::{Scratch, rows, stderr};

/// The rows made of these JSON lines, and what is said on the way.
fn made(lines: &[Value], more: &str) -> (Vec<Value>, String) {
    let scratch = Scratch::new();
    let text: Vec<_> = lines.iter().map(Value::to_string).collect();
    scratch.write("in.jsonl", text.join("\n"));
    let output = scratch.run(&format!("in.jsonl {more} -o out.parquet"));
    assert!(output.status.success(), "{}", stderr(&output));
    (rows(&scratch.path("out.parquet")), stderr(&output))
}

/// The one row made of one.
fn row(line: &Value) -> Value {
    let (mut rows, _) = made(std::slice::from_ref(line), "");
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

fn weather(content: &Value) -> Value {
    let arguments = "{\"city\":\"Paris\"}";
    let call = json!({"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": arguments}});
    json!([
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": content, "tool_calls": [call]},
        {"role": "tool", "content": "rain", "tool_call_id": "c1"},
        {"role": "assistant", "content": "It rains."},
    ])
}

#[test]
fn calls_of_tools_are_kept_whole() {
    let expected = weather(&json!(""));
    assert_eq!(row(&json!({"messages": expected}))["messages"], expected);
    // An answer that only calls has no content, and is no missing answer.
    let mut without = weather(&Value::Null);
    let found = row(&json!({"messages": without}))["messages"].clone();
    without[1].as_object_mut().unwrap().shift_remove("content");
    assert_eq!(found, without);
}

#[test]
fn a_conversation_may_end_with_a_call() {
    let mut ends = weather(&Value::Null);
    ends.as_array_mut().unwrap().truncate(2);
    assert_eq!(made(&[json!({"messages": ends})], "").0.len(), 1);
}

#[test]
fn reasoning_is_kept_under_all_its_names() {
    for key in ["reasoning_content", "reasoning", "thinking"] {
        let line =
            json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "4", key: "2+2"}]});
        assert_eq!(row(&line)["messages"][1], json!({"role": "assistant", "content": "4", "reasoning_content": "2+2"}));
    }
}

#[test]
fn whether_an_answer_is_learned_is_kept() {
    for (key, off, on) in [
        ("weight", json!(0), json!(1)),
        ("weight", json!(0.0), json!(1.0)),
        ("loss", json!(false), json!(true)),
        ("train", json!(false), json!(true)),
        ("training", json!(false), json!(true)),
        ("masked", json!(true), json!(false)),
    ] {
        let line = json!({"messages": [
            {"role": "user", "content": "q"}, {"role": "assistant", "content": "bad", key: off},
            {"role": "user", "content": "q2"}, {"role": "assistant", "content": "good", key: on},
        ]});
        let found = row(&line);
        assert_eq!(found["messages"][1]["train"], false, "{key}");
        assert_eq!(found["messages"][3]["train"], true, "{key}");
        assert!(found["messages"][0].get("train").is_none());
    }
    let scratch = Scratch::new();
    let messages = r#"[{"role":"user","content":"q"},{"role":"assistant","content":"a","weight":0.5}]"#;
    scratch.write("in.jsonl", format!("{{\"messages\":{messages}}}"));
    let told = scratch.failure("in.jsonl -o out.parquet", 1);
    assert_eq!(told, "in.jsonl, line 1: message 2 of 'messages' has weight 0.5, expected 0 or 1");
}

#[test]
fn tools_and_variables_of_the_template_are_kept() {
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    let chat = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    for line in [
        json!({"messages": chat, "tools": [tool]}),
        json!({"messages": chat, "tools": json!([tool]).to_string()}),
        json!({"messages": chat, "functions": [tool["function"]]}),
        json!({"prompt": "q", "completion": "a", "tools": [tool]}),
    ] {
        let found = row(&line);
        assert_eq!(found["tools"], json!([tool]));
        assert_eq!(found["messages"], chat);
    }
    let found = row(&json!({"messages": chat, "chat_template_kwargs": {"enable_thinking": false}}));
    assert_eq!(found["chat_template_kwargs"], json!({"enable_thinking": false}));
}

#[test]
fn fields_that_only_later_rows_have_are_kept() {
    let plain = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    let mut lines = vec![json!({"messages": plain}); 5000];
    lines.push(json!({"messages": weather(&Value::Null), "tools": [{"type": "function"}]}));
    let (found, told) = made(&lines, "");
    assert_eq!(found.len(), 5001);
    assert_eq!(found[0]["messages"], plain);
    assert_eq!(found[5000]["messages"][1]["tool_calls"][0]["id"], "c1");
    assert_eq!(found[5000]["tools"], json!([{"type": "function"}]));
    assert!(!told.contains("not read"), "{told}");
}

#[test]
fn columns_first_seen_after_the_first_rows_are_read_or_told() {
    let lines = |last: Value| {
        let first =
            |i| json!({"conversations": [{"from": "human", "value": format!("q{i}")}, {"from": "gpt", "value": "a"}]});
        let mut lines: Vec<_> = (0..4096).map(first).collect();
        let mut late = first(4096);
        late.as_object_mut().unwrap().extend(last.as_object().unwrap().clone());
        lines.push(late);
        lines
    };
    let (found, _) = made(&lines(json!({"system": "Be brief"})), "");
    assert_eq!(found[4096]["messages"][0], json!({"role": "system", "content": "Be brief"}));
    let (_, told) = made(&lines(json!({"mood": "good"})), "");
    let expected =
        "not read, for the beginning of the input does not have it: 'mood' (1 row, first in.jsonl, line 4097)";
    assert!(told.contains(expected), "{told}");

    let mut lines = vec![json!({"instruction": "q", "output": "a"}); 4097];
    lines[4096]["input"] = "more".into();
    lines[4096]["history"] = json!([["x", "y"]]);
    let (found, _) = made(&lines, "");
    let said: Vec<_> = found[4096]["messages"].as_array().unwrap().iter().map(|m| m["content"].clone()).collect();
    assert_eq!(said, ["x", "y", "q\nmore", "a"]);
}

#[test]
fn what_is_not_read_is_told() {
    let chat = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "mood": "good"}]);
    let (_, told) = made(&[json!({"messages": chat, "id": 7})], "");
    assert!(told.contains("in.jsonl: columns that are not read: 'id'"), "{told}");
    let fields = "fields of messages that are not read: 'mood' (1 row, first in.jsonl, line 1)";
    assert!(told.contains(fields), "{told}");
    let (_, told) = made(&[json!({"input": "q", "output": "a", "id": 7})], "--keep-columns id");
    assert!(!told.contains("not read"), "{told}");
}

#[test]
fn integers_beyond_64_bits_keep_their_digits() {
    let scratch = Scratch::new();
    let call = r#"{"function":{"name":"f","arguments":{"n":-31900441201190696999}}}"#;
    let mut text = String::from("{\"prompt\":\"q\",\"completion\":31900441201190696999}\n");
    writeln!(text, r#"{{"prompt":"q","completion":[{{"role":"assistant","content":null,"tool_calls":[{call}]}}]}}"#)
        .unwrap();
    scratch.write("in.jsonl", text);
    assert!(scratch.run("in.jsonl -o out.parquet").status.success());
    let found = rows(&scratch.path("out.parquet"));
    assert_eq!(found[0]["messages"][1]["content"], "31900441201190696999");
    let call = &found[1]["messages"][1]["tool_calls"][0];
    assert_eq!(call["function"]["arguments"]["n"], "-31900441201190696999");
}

#[test]
fn lists_of_messages_as_json_in_cells_are_messages() {
    let scratch = Scratch::new();
    let cell = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let asked = cell(r#"[{"role":"user","content":"q"}]"#);
    let answered = cell(r#"[{"role":"assistant","content":"a"}]"#);
    scratch.write("in.csv", format!("prompt,completion\n{asked},{answered}\n[1] is a list?,\"[2, 3] is one\"\n"));
    let found = scratch.examples("in.csv -o out.parquet", "out.parquet");
    assert_eq!(found, [["user: q", "assistant: a"], ["user: [1] is a list?", "assistant: [2, 3] is one"]]);
}

#[test]
fn a_system_column_stands_beside_every_shape() {
    let chat = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    let with_own = json!([{"role": "system", "content": "own"}, chat[0], chat[1]]);
    let (found, _) = made(
        &[
            json!({"messages": chat, "system": "Be brief"}),
            json!({"messages": with_own, "system": "Be brief"}),
            json!({"messages": chat, "system": null}),
        ],
        "",
    );
    let first: Vec<_> = found.iter().map(|row| row["messages"][0]["content"].as_str().unwrap()).collect();
    assert_eq!(first, ["Be brief", "own", "q"]);
    let (found, _) = made(&[json!({"question": "q", "response": "a", "system_prompt": "Be brief"})], "");
    assert_eq!(found[0]["messages"][0]["content"], "Be brief");
    let scratch = Scratch::new();
    scratch.write("in.csv", "prompt,completion,system\nq,a,Be brief\nq,b,\n");
    let found = scratch.examples("in.csv -o out.parquet", "out.parquet");
    let expected = [vec!["system: Be brief", "user: q", "assistant: a"], vec!["user: q", "assistant: b"]];
    assert_eq!(found, expected);
    let output = scratch.command("in.csv -o out.parquet --system").arg("Be kind").output().unwrap();
    assert!(output.status.success());
    let found = rows(&scratch.path("out.parquet"));
    assert_eq!(found[1]["messages"][0], json!({"role": "system", "content": "Be kind"}));
    assert_eq!(found[0]["messages"][0]["content"], "Be brief");
}

#[test]
fn roles_that_the_user_names() {
    let chat = json!([{"role": "Narrator", "content": "s"}, {"role": "client", "content": "q"}, {"role": "AI", "content": "a"}]);
    let (found, _) = made(&[json!({"messages": chat})], "--roles narrator=system,client=user");
    let roles: Vec<_> = found[0]["messages"].as_array().unwrap().iter().map(|m| m["role"].clone()).collect();
    assert_eq!(roles, ["system", "user", "assistant"]);
    let scratch = Scratch::new();
    scratch.write("in.jsonl", json!({"messages": chat}).to_string());
    let told = scratch.failure("in.jsonl -o out.parquet", 1);
    assert!(
        told.starts_with("in.jsonl, line 1: message 1 of 'messages' has the role 'Narrator'; known are:"),
        "{told}"
    );
    let told = scratch.failure("in.jsonl --roles narrator -o out.parquet", 2);
    assert!(told.contains("'narrator' is no FROM=TO"), "{told}");
}

#[test]
fn parts_of_a_content_are_joined_and_what_is_no_text_is_counted_by_kind() {
    let chat = |part: Value| json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, part]}, {"role": "assistant", "content": "b"}]});
    let (found, told) = made(
        &[
            chat(json!({"type": "text", "text": "c"})),
            chat(json!({"type": "image_url", "image_url": {"url": "x"}})),
            chat(json!({"type": "input_audio", "input_audio": {}})),
            chat(json!({"type": "file", "file": {}})),
        ],
        "",
    );
    assert_eq!(found[0]["messages"][0]["content"], "ac");
    assert!(told.contains("4 rows read, 1 kept, 3 dropped (an image 1, audio 1, a file 1)"), "{told}");
}

#[test]
fn rows_that_differ_in_one_field_are_no_duplicates() {
    let chat = |key: &str, value: Value| json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", key: value}]});
    let lines = [
        chat("name", Value::Null),
        chat("name", "n".into()),
        chat("reasoning", "n".into()),
        chat("weight", 0.into()),
        chat("reasoning_content", "n".into()),
    ];
    let (found, _) = made(&lines, "--dedup");
    assert_eq!(found.len(), 4);
}
