//! Tools, calls of tools, and the template's further variables.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::Field;
use serde_json::{Value, json};

use crate::bench::{Bench, question, table, texts};

const TEMPLATE: &str = "{% for t in tools or [] %}<{{ t.function.name }}>{% endfor %}\
    {% if mood is defined %}({{ mood }}){% endif %}\
    {% for m in messages %}[{{ m.role }}]{{ m.content }}\
    {% for c in m.tool_calls or [] %}{{ c.function.name }}={{ c.function.arguments | tojson }}{% endfor %}<|im_end|>\
    {% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";

fn bench() -> Bench {
    let bench = Bench::new();
    fs::write(bench.path("t.jinja"), TEMPLATE).unwrap();
    bench
}

const ARGS: [&str; 5] = ["in.parquet", "-o", "out.parquet", "--chat-template", "t.jinja"];

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name}})
}

fn call(name: &str, arguments: &Value) -> Value {
    json!({"type": "function", "function": {"name": name, "arguments": arguments}})
}

/// A question, a call of a tool, its result and the answer, as JSON.
fn conversation() -> String {
    json!([
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": null, "tool_calls": [call("weather", &json!({"city": "Zürich"}))]},
        {"role": "tool", "name": "weather", "content": "yes"},
        {"role": "assistant", "content": "It rains."},
    ])
    .to_string()
}

#[test]
fn json_in_texts() {
    let bench = bench();
    let (conversation, tools) = (conversation(), json!([tool("weather"), tool("tax")]).to_string());
    let columns = vec![
        ("messages", texts([Some(conversation.as_str()), Some(&conversation)])),
        ("tools", texts([Some(tools.as_str()), None])),
        ("chat_template_kwargs", texts([None, Some(r#"{"mood": "good"}"#)])),
    ];
    table(&bench.path("in.parquet"), columns);
    let out = bench.run(&[&ARGS[..], &["--labels", "completion"]].concat());
    assert!(out.ok, "{}", out.stderr);
    let rows = bench.rows("out.parquet");
    let turns = "[user]Rain?<|im_end|>[assistant]weather={\"city\": \"Zürich\"}<|im_end|>[tool]yes<|im_end|>\
                 [assistant]It rains.<|im_end|>";
    assert_eq!(rows.text, [format!("<weather><tax>{turns}"), format!("(good){turns}")]);
    assert_eq!(rows.learned, ["It rains.<|im_end|>", "It rains.<|im_end|>"]);
    let out = bench.run(&[&ARGS[..], &["--labels", "assistant"]].concat());
    assert!(out.ok, "{}", out.stderr);
    let call = "weather={\"city\": \"Zürich\"}<|im_end|>It rains.<|im_end|>";
    assert_eq!(bench.rows("out.parquet").learned[0], call);
}

fn list(items: StructArray, lengths: &[usize]) -> ArrayRef {
    let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths.iter().copied()), Arc::new(items), None))
}

fn fields(columns: Vec<(&str, ArrayRef)>) -> StructArray {
    let named = columns.into_iter().map(|(n, c)| (Arc::new(Field::new(n, c.data_type().clone(), true)), c));
    StructArray::from(named.collect::<Vec<_>>())
}

#[test]
fn lists_and_structs() {
    let bench = bench();
    let arguments = fields(vec![("city", texts([Some("Bern")])), ("days", Arc::new(Int64Array::from(vec![3])))]);
    let function = fields(vec![("name", texts([Some("weather")])), ("arguments", Arc::new(arguments))]);
    let calls = list(fields(vec![("function", Arc::new(function))]), &[0, 1, 0]);
    let messages = fields(vec![
        ("role", texts([Some("user"), Some("assistant"), Some("assistant")])),
        ("content", texts([Some("Rain?"), Some(""), Some("Yes.")])),
        ("tool_calls", calls),
    ]);
    let functions = fields(vec![("name", texts([Some("weather")]))]);
    let tools = list(fields(vec![("function", Arc::new(functions))]), &[1]);
    let moods = fields(vec![("mood", texts([None])), ("other", texts([Some("x")]))]);
    table(
        &bench.path("in.parquet"),
        vec![("messages", list(messages, &[3])), ("tools", tools), ("chat_template_kwargs", Arc::new(moods))],
    );
    let out = bench.run(&ARGS);
    assert!(out.ok, "{}", out.stderr);
    let expected = "<weather>[user]Rain?<|im_end|>[assistant]weather={\"city\": \"Bern\", \"days\": 3}<|im_end|>\
                    [assistant]Yes.<|im_end|>";
    assert_eq!(bench.rows("out.parquet").text, [expected]);
}

#[test]
fn what_the_command_gives_to_rows_without_their_own() {
    let bench = bench();
    let conversation = conversation();
    let rows = [Some(conversation.as_str()), Some(&conversation), Some(&conversation)];
    let own = json!([tool("own")]).to_string();
    let columns = vec![
        ("messages", texts(rows)),
        ("tools", texts([None, Some(own.as_str()), Some("[]")])),
        ("chat_template_kwargs", texts([None, Some(r#"{"mood": 2}"#), Some("")])),
    ];
    table(&bench.path("in.parquet"), columns);
    fs::write(bench.path("tools.json"), json!([tool("all")]).to_string()).unwrap();
    let out = bench.run(&[&ARGS[..], &["--tools", "tools.json", "--template-kwarg", "mood=1.0"]].concat());
    assert!(out.ok, "{}", out.stderr);
    let begins: Vec<String> =
        bench.rows("out.parquet").text.iter().map(|t| t.split("[user]").next().unwrap().to_owned()).collect();
    assert_eq!(begins, ["<all>(1.0)", "<own>(2)", "(1.0)"]);
    // A file's path is an argument like others, and its rows say what was typed.
    assert!(bench.rows("out.parquet").metadata["ft.arguments"].contains("mood=1.0"));
}

#[test]
fn test_mode_keeps_a_call_as_the_reference() {
    let bench = bench();
    let asked = json!([
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": "", "tool_calls": [call("weather", &json!({"a": 1}))]},
    ])
    .to_string();
    table(&bench.path("in.parquet"), vec![("messages", texts([Some(asked.as_str())]))]);
    let out = bench.run(&[&ARGS[..], &["--mode", "test"]].concat());
    assert!(out.ok, "{}", out.stderr);
    let rows = bench.rows("out.parquet");
    assert_eq!(rows.text, ["[user]Rain?<|im_end|>[assistant]"]);
    let reference: Value = serde_json::from_str(rows.reference[0].as_ref().unwrap()).unwrap();
    assert_eq!(reference, json!([call("weather", &json!({"a": 1}))]));
}

/// `testdata/templates/tools.jinja` on the conversations that transformers rendered with it.
#[test]
fn tools_calls_and_thoughts_as_in_transformers() {
    let bench = Bench::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/templates");
    fs::copy(folder.join("tools.jinja"), bench.path("t.jinja")).unwrap();
    let file: Value = serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let model = ft_text::TextModel::open(&bench.model()).unwrap();
    let token = |t: &Option<ft_text::SpecialToken>| t.as_ref().map_or(String::new(), |t| t.text.clone());
    let (mut columns, mut expected) = ([vec![], vec![], vec![]], vec![]);
    for case in file["templates"][0]["cases"].as_array().unwrap() {
        let chat = &file["chats"][case["chat"].as_str().unwrap()];
        // An empty list of tools is none here, and a message that says nothing is refused.
        let is_other = case["prompt"] == true || chat["tools"] == json!([]) || case["chat"] == "nulls";
        let Some(text) = case["text"].as_str().filter(|_| !is_other) else { continue };
        for (column, name) in columns.iter_mut().zip(["messages", "tools", "variables"]) {
            column.push(chat[name].to_string());
        }
        expected.push(text.replace("<s>", &token(&model.bos)).replace("</s>", &token(&model.eos)));
    }
    let [messages, tools, variables] = columns.map(|c| texts(c.iter().map(|t| Some(t.as_str()))));
    let columns = vec![("messages", messages), ("tools", tools), ("chat_template_kwargs", variables)];
    table(&bench.path("in.parquet"), columns);
    let date = file["now"].as_str().unwrap();
    let out = bench.run(&[&ARGS[..], &["--labels", "all", "--date", date]].concat());
    assert!(out.ok, "{}", out.stderr);
    let rows = bench.rows("out.parquet");
    assert!(expected.len() > 25 && rows.text == expected);
    assert_eq!(rows.metadata["ft.template_date"], "2025-03-09");
}

#[test]
fn what_cannot_be_read_is_told() {
    let bench = bench();
    let good = conversation();
    let told = |messages: &str, tools: &str, variables: &str| {
        let columns = [("messages", messages), ("tools", tools), ("chat_template_kwargs", variables)];
        table(&bench.path("in.parquet"), columns.map(|(name, text)| (name, texts([Some(text)]))).into());
        let out = bench.run(&ARGS);
        assert_eq!(out.code, 1, "{}", out.stderr);
        out.stderr
    };
    for ((messages, tools, variables), words) in [
        (("[{", "", ""), "row 1: messages is not JSON of a list of messages: "),
        ((r#"[{"content": "x"}]"#, "", ""), "row 1: message 0: role is missing, expected text"),
        ((r#"[{"role": "user"}]"#, "", ""), "row 1: message 0: content is null, expected text"),
        ((r#"[{"role": "user", "tool_calls": "[x"}]"#, "", ""), "row 1: message 0: tool_calls is not JSON: "),
        ((&good, "{}", ""), "row 1: tools is {}, expected a list"),
        ((&good, "[", ""), "row 1: tools is not JSON: "),
        ((&good, r#"["x"]"#, ""), "row 1: tools: a tool is not JSON: "),
        ((&good, "", "[1]"), "row 1: chat_template_kwargs is [1], expected names and values"),
    ] {
        let stderr = told(messages, tools, variables);
        assert!(stderr.contains(words), "{stderr}");
    }
    let parts = json!([{"role": "user", "content": [{"type": "text", "text": "x"}]}]).to_string();
    table(&bench.path("in.parquet"), vec![("messages", texts([Some(parts.as_str())]))]);
    let out = bench.run(&[&ARGS[..], &["--prefix", "Tax"]].concat());
    assert!(out.stderr.contains("row 1: message 0: content is no text, which --prefix"), "{}", out.stderr);
    bench.input(&[question("q", "a")]);
    fs::write(bench.path("tools.json"), "{}").unwrap();
    let out = bench.run(&[&ARGS[..], &["--tools", "tools.json"]].concat());
    assert!(out.stderr.contains("tools.json: expected a JSON list of functions"), "{}", out.stderr);
    for (args, words) in [
        (["--template-kwarg", "mood"], "expected KEY=JSON"),
        (["--template-kwarg", "mood=Yes"], "Yes is not JSON; texts stand in double quotes: mood='\"Yes\"'"),
        (["--template-kwarg", "messages=1"], "'messages' cannot be set"),
        (["--date", "today"], "expected YYYY-MM-DD"),
    ] {
        let out = bench.run(&[&ARGS[..], &args].concat());
        assert_eq!(out.code, 2);
        assert!(out.stderr.contains(words), "{}", out.stderr);
    }
}
