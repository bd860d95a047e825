//! Which answers are learned, and where a template forgets.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bench::{Bench, chat, question, table, texts};

/// Qwen3's way: thoughts of all answers but the last are left out.
const FORGETFUL: &str = "{% for m in messages %}[{{ m.role }}]\
    {% if m.reasoning_content is defined and loop.last %}<think>{{ m.reasoning_content }}</think>{% endif %}\
    {{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";

fn messages(bench: &Bench, rows: &[Value]) {
    let rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    table(&bench.path("in.parquet"), vec![("messages", texts(rows.iter().map(|row| Some(row.as_str()))))]);
}

fn learned(bench: &Bench, args: &[&str]) -> Vec<String> {
    let out = bench.run(&[&["in.parquet", "-o", "out.parquet"], args].concat());
    assert!(out.ok, "{}", out.stderr);
    bench.rows("out.parquet").learned
}

#[test]
fn every_answer_is_learned_by_default() {
    let bench = Bench::new();
    bench.input(&[chat(&[("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")])]);
    assert_eq!(learned(&bench, &[]), ["b<|im_end|>\nd<|im_end|>\n"]);
}

/// 8,000 messages took 42 s: each answer was found by rendering all that came before it.
#[test]
fn long_chats_take_time_by_their_length() {
    let bench = Bench::new();
    let run = |answers: usize, template: &str| {
        fs::write(bench.path("t.jinja"), template).unwrap();
        let texts: Vec<[String; 2]> = (0..answers).map(|i| [format!("question {i}"), format!("answer {i}")]).collect();
        let turns = texts.iter().flat_map(|[q, a]| [("user", q.as_str()), ("assistant", a.as_str())]);
        bench.input(&[chat(&turns.collect::<Vec<_>>())]);
        let start = Instant::now();
        let learned = learned(&bench, &["--chat-template", "t.jinja"]);
        let took = start.elapsed();
        assert_eq!(learned, [texts.iter().flat_map(|[_, a]| [a.as_str(), "<|im_end|>\n"]).collect::<String>()]);
        took
    };
    let chatml = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let zephyr = "{% for m in messages %}{% if m.role == 'user' %}<|im_start|>user\n{{ m.content }}<|im_end|>\n\
        {% else %}<|im_start|>assistant\n{{ m.content }}<|im_end|>\n{% endif %}\
        {% if loop.last and add_generation_prompt %}<|im_start|>assistant\n{% endif %}{% endfor %}";
    for template in [chatml, zephyr] {
        let fastest = |answers| (0..2).map(|_| run(answers, template)).min().unwrap_or(Duration::MAX);
        let (short, long) = (fastest(500), fastest(4000));
        // Eight times the messages; 64 times the time where each is rendered for each other.
        assert!(long < short * 24 + Duration::from_secs(1), "{short:?} for 1,000 messages, {long:?} for 8,000");
    }
}

/// F02: weights of single messages (OpenAI), and the flags of axolotl, ms-swift and torchtune.
#[test]
fn f02_an_answer_that_says_so_is_not_learned() {
    let bench = Bench::new();
    for flag in [
        json!({"weight": 0}),
        json!({"loss": false}),
        json!({"train": false}),
        json!({"training": false}),
        json!({"masked": true}),
        json!({"weight": 0.0, "train": false}),
    ] {
        let mut bad = json!({"role": "assistant", "content": "bad"});
        bad.as_object_mut().unwrap().extend(flag.as_object().unwrap().clone());
        let good = json!({"role": "assistant", "content": "good", "weight": 1});
        let user = json!({"role": "user", "content": "q", "weight": null});
        messages(&bench, &[json!([user, bad, user, good]), json!([user, good, user, bad])]);
        assert_eq!(learned(&bench, &[]), ["good<|im_end|>\n"; 2], "{flag}");
        // The last answer is not learned, so nothing of the second row is.
        assert_eq!(learned(&bench, &["--labels", "completion"]), ["good<|im_end|>\n"], "{flag}");
        let all = learned(&bench, &["--labels", "all"]);
        assert!(!all[0].contains("bad") && all[0].contains("user\nq") && !all[1].contains("bad"), "{all:?}");
    }
}

#[test]
fn what_says_that_it_is_learned_is_whoever_speaks() {
    let bench = Bench::new();
    let asked = json!({"role": "user", "content": "q", "train": true});
    messages(&bench, &[json!([asked, {"role": "assistant", "content": "a"}])]);
    assert_eq!(learned(&bench, &[]), ["<|im_start|>user\nq<|im_end|>\na<|im_end|>\n"]);
}

#[test]
fn flags_that_say_nothing_clear_are_refused() {
    let bench = Bench::new();
    for (flags, told) in [
        (json!({"weight": 0.5}), "message 0: has weight 0.5, expected 0 or 1"),
        (
            json!({"weight": 1, "masked": true}),
            "message 0: is learned by its 'weight' and not by its 'masked', or the other way round",
        ),
    ] {
        let mut message = json!({"role": "assistant", "content": "x"});
        message.as_object_mut().unwrap().extend(flags.as_object().unwrap().clone());
        messages(&bench, &[json!([message])]);
        let out = bench.run(&["in.parquet", "-o", "x"]);
        assert!(!out.ok && out.stderr.contains(told), "{}", out.stderr);
    }
}

/// F01: thoughts are rendered as the template has them, and an answer of nothing but calls is one.
#[test]
fn f01_thoughts_and_calls_are_rendered() {
    let bench = Bench::new();
    let thinking = json!({"role": "assistant", "content": "4", "reasoning_content": "2+2"});
    messages(&bench, &[json!([{"role": "user", "content": "q"}, thinking])]);
    fs::write(bench.path("t.jinja"), FORGETFUL).unwrap();
    assert_eq!(learned(&bench, &["--chat-template", "t.jinja"]), ["<think>2+2</think>4<|im_end|>\n"]);
    let call = json!({"id": "c1", "type": "function", "function": {"name": "w", "arguments": {"city": "Paris"}}});
    let calls = json!([
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "content": "rain", "tool_call_id": "c1"},
        {"role": "assistant", "content": "It rains."},
    ]);
    messages(&bench, &[calls]);
    let template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% for c in m.tool_calls or [] %}\
        {{ c | tojson }}{% endfor %}<|im_end|>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
    fs::write(bench.path("t.jinja"), template).unwrap();
    let expected = "{\"id\": \"c1\", \"type\": \"function\", \"function\": {\"name\": \"w\", \"arguments\": \
                    {\"city\": \"Paris\"}}}<|im_end|>It rains.<|im_end|>";
    assert_eq!(learned(&bench, &["--chat-template", "t.jinja"]), [expected]);
}

/// Qwen3's and DeepSeek's way of writing an answer: its text, whether there is one or not.
#[test]
fn f01_calls_without_a_text_are_rendered_by_templates_that_append_to_it() {
    let bench = Bench::new();
    let call = json!({"function": {"name": "w"}});
    messages(
        &bench,
        &[json!([
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "content": "rain"},
            {"role": "assistant", "content": "It rains."},
        ])],
    );
    let template = "{% for m in messages %}{{ '[' + m.role + ']' + m.content }}{% for c in m.tool_calls or [] %}\
        <{{ c.function.name }}>{% endfor %}<|im_end|>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
    fs::write(bench.path("t.jinja"), template).unwrap();
    for args in [&["--chat-template", "t.jinja"][..], &["--chat-template", "t.jinja", "--expand-turns"]] {
        assert_eq!(learned(&bench, args), ["<w><|im_end|>It rains.<|im_end|>"]);
    }
    // What fails for another reason is told as before.
    fs::write(bench.path("t.jinja"), template.replace("m.role", "m.rule")).unwrap();
    let out = bench.run(&["in.parquet", "-o", "x", "--chat-template", "t.jinja"]);
    assert!(!out.ok && out.stderr.contains("row 1: chat template: line 1: "), "{}", out.stderr);
}

#[test]
fn a_template_that_leaves_out_earlier_thoughts_makes_a_row_of_each_answer() {
    let bench = Bench::new();
    let user = |text: &str| json!({"role": "user", "content": text});
    let answer =
        |text: &str, thought: &str| json!({"role": "assistant", "content": text, "reasoning_content": thought});
    let thoughtful = json!([user("a"), answer("b", "B"), user("c"), answer("d", "D"), user("e"), answer("f", "F")]);
    let plain = json!([user("a"), {"role": "assistant", "content": "b"}, user("c"), answer("d", "D")]);
    messages(&bench, &[thoughtful, plain]);
    fs::write(bench.path("t.jinja"), FORGETFUL).unwrap();
    let out = bench.run(&["in.parquet", "-o", "x", "--chat-template", "t.jinja"]);
    assert!(!out.ok && out.stderr.contains("row 1: cannot tell where message 2 begins"), "{}", out.stderr);
    assert!(out.stderr.contains("--expand-turns makes an example of each answer"), "{}", out.stderr);

    let args = ["in.parquet", "-o", "out.parquet", "--chat-template", "t.jinja", "--expand-turns"];
    let out = bench.run(&args);
    assert!(out.ok, "{}", out.stderr);
    let rows = bench.rows("out.parquet");
    // The second row's earlier answer is the same once more follows, and needs no row of its own.
    let second =
        "[user]a<|im_end|>\n[assistant]b<|im_end|>\n[user]c<|im_end|>\n[assistant]<think>D</think>d<|im_end|>\n";
    assert_eq!(rows.text.len(), 4);
    assert_eq!(rows.text[0], "[user]a<|im_end|>\n[assistant]<think>B</think>b<|im_end|>\n");
    assert_eq!([&rows.text[1], &rows.text[3]], [second; 2]);
    let learned: Vec<&str> = rows.learned.iter().map(String::as_str).collect();
    let answers = ["<think>B</think>b", "<think>D</think>d", "<think>F</think>f", "b"];
    let expected: Vec<String> = answers.iter().map(|answer| format!("{answer}<|im_end|>\n")).collect();
    assert_eq!(learned[..3], expected[..3]);
    assert_eq!(learned[3], "b<|im_end|>\n<think>D</think>d<|im_end|>\n");
    assert!(out.stderr.contains("rows_cut_up=1"), "{}", out.stderr);

    // A template with the tag would not refuse, and learn an answer without its thoughts.
    let tagged = FORGETFUL
        .replace("[{{ m.role }}]", "[{{ m.role }}]{% generation %}")
        .replace("{% endfor %}{% if", "{% endgeneration %}{% endfor %}{% if");
    fs::write(bench.path("t.jinja"), tagged).unwrap();
    assert!(bench.run(&args).ok);
    assert_eq!(bench.rows("out.parquet").text.len(), 4);
}

/// QwQ, DeepSeek-R1 and others ask for an answer by opening its thoughts.
#[test]
fn an_answer_without_the_thoughts_that_the_prompt_opens_is_told() {
    let bench = Bench::new();
    bench.input(&[question("q", "a")]);
    let template = "{% for m in messages %}[{{ m.role }}]{% if m.reasoning_content is defined %}<think>\n\
        {{ m.reasoning_content }}</think>{% endif %}{{ m.content }}<|im_end|>{% endfor %}\
        {% if add_generation_prompt %}[assistant]{% if enable_thinking is not false %}<think>\n{% endif %}{% endif %}";
    fs::write(bench.path("t.jinja"), template).unwrap();
    let args = ["in.parquet", "-o", "out.parquet", "--chat-template", "t.jinja"];
    let out = bench.run(&args);
    let told = "in.parquet: row 1: message 1 does not begin as the template asks for it: the generation prompt goes on with \
                \"<think>\\n\", the message with \"a<|im_end|>\"; give its thoughts as reasoning_content";
    assert!(!out.ok && out.stderr.contains(told), "{}", out.stderr);
    assert!(bench.run(&[&args[..], &["--template-kwarg", "enable_thinking=false"]].concat()).ok);
    let thoughtful = json!({"role": "assistant", "content": "a", "reasoning_content": "t"});
    messages(&bench, &[json!([{"role": "user", "content": "q"}, thoughtful])]);
    assert_eq!(learned(&bench, &args[3..]), ["t</think>a<|im_end|>"]);
}

/// F21: the prompt ends in a space, which the answer's first token takes.
#[test]
fn f21_a_token_that_straddles_the_begin_of_an_answer_is_learned() {
    let bench = Bench::new();
    bench.input(&[question("Which?", "the")]);
    let vicuna = "{% for m in messages %}{% if m.role=='user' %}USER: {{m.content}} {% elif m.role=='assistant' %}\
        ASSISTANT: {{m.content}}<|im_end|>{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT: {% endif %}";
    fs::write(bench.path("t.jinja"), vicuna).unwrap();
    let learned = learned(&bench, &["--chat-template", "t.jinja"]);
    assert_eq!(learned, [" the<|im_end|>"]);
}

#[test]
fn an_answer_without_an_end_token_is_told_at_the_first_one() {
    let bench = Bench::new();
    bench.input(&[question("q", "fine"), question("q", "open"), question("q", "open")]);
    let template =
        "{% for m in messages %}{{ m.content }}{% if m.content != 'open' %}<|im_end|>{% endif %}\n{% endfor %}";
    fs::write(bench.path("t.jinja"), template).unwrap();
    let out = bench.run(&["in.parquet", "-o", "out.parquet", "--chat-template", "t.jinja"]);
    assert!(out.ok, "{}", out.stderr);
    assert_eq!(out.stderr.matches("which is no end token of the model").count(), 1);
    assert!(out.stderr.contains("row 2: what is learned ends in "), "{}", out.stderr);
    assert!(out.stderr.contains("rows_ending_in_labelled_end_token=1"), "{}", out.stderr);
}

/// Each kind of token is counted once, and the learned ones are thoughts and answers.
#[test]
fn tokens_are_counted_by_part() {
    let bench = Bench::new();
    let template = "{% for m in messages %}[{{ m.role }}]{% if m.role == 'system' %}{{ m.content }}\
        {% for t in tools or [] %}<{{ t.function.name }}>{% endfor %}{% else %}\
        {% if m.reasoning_content is defined %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}\
        {% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
    fs::write(bench.path("t.jinja"), template).unwrap();
    let row = json!([
        {"role": "system", "content": "Be brief and kind."},
        {"role": "user", "content": "How much is the tax?"},
        {"role": "assistant", "content": "20 percent.", "reasoning_content": "A fifth of it."},
    ]);
    let tools = json!([{"type": "function", "function": {"name": "compute_tax"}}]).to_string();
    let row = row.to_string();
    table(
        &bench.path("in.parquet"),
        vec![("messages", texts([Some(row.as_str())])), ("tools", texts([Some(tools.as_str())]))],
    );
    let out = bench.run(&["in.parquet", "-o", "out.parquet", "--chat-template", "t.jinja"]);
    assert!(out.ok, "{}", out.stderr);
    let count = |name: &str| -> usize {
        let at = out.stderr.find(&format!("{name}=")).unwrap_or_else(|| panic!("{}", out.stderr)) + name.len() + 1;
        out.stderr[at..].split_whitespace().next().unwrap().parse().unwrap()
    };
    let parts = ["system_tokens", "tool_tokens", "prompt_tokens", "reasoning_tokens", "answer_tokens"].map(count);
    assert!(parts.iter().all(|&n| n > 0), "{parts:?}");
    let (tokens, labelled) = (bench.rows("out.parquet").ids[0].len(), count("labelled_tokens"));
    assert_eq!((parts.iter().sum::<usize>(), parts[3] + parts[4]), (tokens, labelled));
    let tokenizer = ft_text::TextModel::open(&bench.model()).unwrap().tokenizer;
    let length = |text: &str| tokenizer.encode(text, false).unwrap().len();
    assert!(parts[0].abs_diff(length("Be brief and kind.")) <= 1, "{parts:?}");
    assert!(parts[1].abs_diff(length("<compute_tax>")) <= 2, "{parts:?}");
    assert!(parts[3].abs_diff(length("A fifth of it.")) <= 1, "{parts:?}");
}
