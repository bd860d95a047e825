use super::*;

fn render(source: &str) -> String {
    let template = ChatTemplate::new(source, &[("eos_token".into(), "</s>".into())]).unwrap();
    let messages = [Message::new("user", "Hi <b>"), Message::new("assistant", "é\"\u{1f600}")];
    template.render(&messages, true).unwrap().text
}

fn failure(source: &str) -> String {
    match ChatTemplate::new(source, &[]) {
        Err(e) => e.to_string(),
        Ok(t) => t.render(&[Message::new("user", "x")], false).unwrap_err().to_string(),
    }
}

#[test]
fn blocks_are_trimmed_as_transformers_trims_them() {
    assert_eq!(render("a\n  {% if true %}\nb\n  {% endif %}\nc\n"), "a\nb\nc");
}

#[test]
fn variables_that_transformers_passes() {
    assert_eq!(render("{{ eos_token }}{{ bos_token is defined }}"), "</s>False");
    assert_eq!(render("{{ tools is none }}{{ add_generation_prompt }}"), "TrueTrue");
    assert_eq!(render("{{ messages | length }}{{ messages[0]['role'] }}"), "2user");
    assert_eq!(render("{{ messages[1:][0].role }}{{ messages[-1].role }}"), "assistantassistant");
    assert_eq!(render("{{ 'tool_calls' in messages[0] }}"), "False");
    assert_eq!(render("{{ messages[0].tool_calls is defined }}"), "False");
    assert_eq!(render("{{ messages[0].content is string }}"), "True");
    assert_eq!(render("{{ messages[0] is mapping }}"), "True");
    assert_eq!(render("{{ tools is iterable and tools | length > 0 }}"), "False");
    assert_eq!(render("{{ messages is iterable }}{{ 'x' is iterable }}{{ 1 is iterable }}"), "TrueTrueFalse");
}

#[test]
fn python_methods() {
    assert_eq!(render("{{ messages[0].get('role') }}{{ messages[0].get('x', 'y') }}"), "usery");
    assert_eq!(render("{{ messages[0].content.split(' ')[1].upper() }}"), "<B>");
    assert_eq!(
        render("{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}"),
        "role=user;content=Hi <b>;"
    );
    assert_eq!(render("{{ '  x '.strip() }}{{ 'abc'.startswith('ab') }}"), "xTrue");
}

#[test]
fn loops_can_be_left() {
    assert_eq!(render("{% for m in messages %}{{ m.role }}{% break %}{% endfor %}"), "user");
    assert_eq!(
        render("{% set n = namespace(x=0) %}{% for m in messages %}{% set n.x = n.x + 1 %}{% endfor %}{{ n.x }}"),
        "2"
    );
}

// The expected texts are json.dumps of Python 3.11.
#[test]
fn tojson_is_pythons() {
    assert_eq!(render("{{ messages[0] | tojson }}"), r#"{"role": "user", "content": "Hi <b>"}"#);
    assert_eq!(render("{{ messages[1].content | tojson }}"), "\"é\\\"\u{1f600}\"");
    assert_eq!(render("{{ messages[1].content | tojson(ensure_ascii=True) }}"), r#""\u00e9\"\ud83d\ude00""#);
    assert_eq!(
        render("{{ {'b': [1, 2.0, none], 'a': {}} | tojson(indent=2, sort_keys=true) }}"),
        "{\n  \"a\": {},\n  \"b\": [\n    1,\n    2.0,\n    null\n  ]\n}"
    );
    assert_eq!(render("{{ {'a': [1, true]} | tojson(separators=(',', ':')) }}"), r#"{"a":[1,true]}"#);
    assert_eq!(render("{{ [1e16, 0.00001, 1.5, 123456789.0] | tojson }}"), "[1e+16, 1e-05, 1.5, 123456789.0]");
    assert_eq!(render("{{ [] | tojson(indent=4) }}"), "[]");
}

#[test]
fn errors_are_the_templates_own_words() {
    assert_eq!(failure("{{ raise_exception('Roles must alternate') }}"), "chat template: Roles must alternate");
    let words = failure("a\n{% for m in messages %}");
    assert!(words.starts_with("chat template: line 2: "), "{words}");
    let words = failure("\n\n{{ messages[0].x.y }}");
    assert!(words.starts_with("chat template: line 3: "), "{words}");
    let words = failure("{{ nothing | tojson }}");
    assert!(words.contains("undefined is not JSON serializable"), "{words}");
    let words = failure("{{ strftime_now('%Q') }}");
    assert!(words.contains("not a date format"), "{words}");
}

#[test]
fn the_generation_tag_keeps_its_dashes() {
    let source = "{% for m in messages %}\n<{{ m.role }}>\n  {%- generation -%}\n  \
        {{ m.content }}{{ loop.index }}\n  {%- endgeneration +%}\n{% endfor %}";
    let template = ChatTemplate::new(source, &[]).unwrap();
    assert!(template.marks_generation());
    assert_eq!(template.source(), source);
    let got = template.render(&[Message::new("a", "x"), Message::new("b", "yy")], false).unwrap();
    assert_eq!(got.text, "<a>x1\n<b>yy2\n");
    let spans: Vec<&str> = got.generated.iter().map(|s| &got.text[s.clone()]).collect();
    assert_eq!(spans, ["x1", "yy2"]);
}

#[test]
fn the_framing_characters_are_refused_in_messages() {
    let template = ChatTemplate::new("{% generation %}{% endgeneration %}", &[]).unwrap();
    let error = template.render(&[Message::new("user", "a\u{FDD1}")], false).unwrap_err();
    assert!(error.to_string().contains("message 0 holds U+FDD1"), "{error}");
}
