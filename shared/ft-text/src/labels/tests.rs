use super::*;
use crate::error::{Error, Result};
use crate::template::{ChatTemplate, Message, Variables};

const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n\
    {{ m.content }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

fn chat(turns: &[(&str, &str)]) -> Vec<Message> {
    turns.iter().map(|(r, c)| Message::new(*r, *c)).collect()
}

fn learned(source: &str, turns: &[(&str, &str)], mode: LabelMode) -> Result<Vec<String>> {
    let template = ChatTemplate::new(source, &[])?;
    let out = render_labelled(&template, &chat(turns), &Variables::default(), mode)?;
    Ok(out.spans.iter().map(|s| out.text[s.clone()].to_owned()).collect())
}

const TURNS: [(&str, &str); 5] =
    [("system", "s"), ("user", "u"), ("assistant", "a"), ("user", "v"), ("assistant", "b")];

#[test]
fn modes_of_a_template_without_the_tag() {
    // A line of only a tag loses its line break, so the rendering is as written.
    let all = |mode| learned(CHATML, &TURNS, mode).unwrap();
    assert_eq!(all(LabelMode::Completion), ["b<|im_end|>\n"]);
    assert_eq!(all(LabelMode::Assistant), ["a<|im_end|>\n", "b<|im_end|>\n"]);
    assert_eq!(all(LabelMode::All).len(), 1);
}

#[test]
fn the_assistant_need_not_speak_last() {
    let got = learned(CHATML, &TURNS[..4], LabelMode::Completion).unwrap();
    assert_eq!(got, ["a<|im_end|>\n"]);
}

#[test]
fn no_assistant_no_spans() {
    for mode in [LabelMode::Completion, LabelMode::Assistant] {
        assert!(learned(CHATML, &TURNS[..2], mode).unwrap().is_empty());
    }
}

#[test]
fn the_tag_decides_where_it_stands() {
    let source = "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}\
        {% generation %}{{ m.content }}<e>{% endgeneration %}!{% else %}{{ m.content }}\
        {% endif %}{% endfor %}";
    let of = |mode| learned(source, &TURNS, mode).unwrap();
    assert_eq!(of(LabelMode::Completion), ["b<e>"]);
    assert_eq!(of(LabelMode::Assistant), ["a<e>", "b<e>"]);
}

/// Phi-3.5's way of ending: the end token stands behind the last turn alone.
#[test]
fn an_end_token_behind_the_whole_is_no_part_of_earlier_turns() {
    let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|end|>{% endfor %}\
        {% if add_generation_prompt %}<assistant>{% else %}{{ eos_token }}{% endif %}";
    let template = ChatTemplate::new(source, &[("eos_token".into(), "</s>".into())]).unwrap();
    let many: Vec<(&str, &str)> = TURNS[1..].iter().cycle().take(40).copied().collect();
    for turns in [&TURNS[..], &many] {
        let messages = chat(turns);
        for mode in [LabelMode::Assistant, LabelMode::Completion] {
            let out = render_labelled(&template, &messages, &Variables::default(), mode).unwrap();
            let got: Vec<&str> = out.spans.iter().map(|s| &out.text[s.clone()]).collect();
            let (last, others) = got.split_last().unwrap();
            assert_eq!(*last, "b<|end|></s>");
            assert!(others.iter().enumerate().all(|(i, said)| *said == ["a<|end|>", "b<|end|>"][i % 2]), "{got:?}");
            assert_eq!(got.len(), if mode == LabelMode::Completion { 1 } else { turns.len() / 2 });
        }
        assert!(!forgets_earlier_turns(&template, &messages, &Variables::default(), LabelMode::Assistant).unwrap());
    }
    // A message that only says so is none.
    let source = "{{ messages | length }}</s>{% for m in messages %}{{ m.content }}{% endfor %}{{ eos_token }}";
    let template = ChatTemplate::new(source, &[("eos_token".into(), "</s>".into())]).unwrap();
    render_labelled(&template, &chat(&TURNS), &Variables::default(), LabelMode::Assistant).unwrap_err();
}

/// Llama-3's first template: the generation prompt stands behind every rendering, and no answer ends with it.
#[test]
fn a_generation_prompt_that_is_always_there_is_not_learned() {
    let source = "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}<{{ m.role }}>{{ m.content }}<e>\
        {% endfor %}<assistant>";
    for mode in [LabelMode::Assistant, LabelMode::Completion] {
        let got = learned(source, &TURNS, mode).unwrap();
        assert_eq!(got, if mode == LabelMode::Completion { vec!["b<e>"] } else { vec!["a<e>", "b<e>"] });
    }
    // Begin and end are one token: that is no prompt.
    let source = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ bos_token }}{% endfor %}";
    let template = ChatTemplate::new(source, &[("bos_token".into(), "<s>".into())]).unwrap();
    let out = render_labelled(&template, &chat(&TURNS), &Variables::default(), LabelMode::Completion).unwrap();
    assert_eq!(&out.text[out.spans[0].clone()], "b<s>");
}

#[test]
fn a_template_that_rewrites_the_past_is_refused() {
    let source = "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}";
    let error = learned(source, &TURNS, LabelMode::Completion).unwrap_err();
    assert!(matches!(error, Error::PrefixDiffers { message: 4, at: 0 }), "{error}");
    assert!(error.to_string().contains("{% generation %}"), "{error}");
}

/// The flags of `TURNS`, in order.
fn flagged(source: &str, flags: [Option<bool>; 5], mode: LabelMode) -> Vec<String> {
    let template = ChatTemplate::new(source, &[]).unwrap();
    let mut messages = chat(&TURNS);
    messages.iter_mut().zip(flags).for_each(|(message, flag)| message.set_learned(flag));
    let out = render_labelled(&template, &messages, &Variables::default(), mode).unwrap();
    out.spans.iter().map(|s| out.text[s.clone()].to_owned()).collect()
}

const TAGGED: &str = "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}\
    {% generation %}{{ m.content }}<e>{% endgeneration %}!{% else %}{{ m.content }}\
    {% endif %}{% endfor %}";

#[test]
fn a_messages_own_word_goes_before_the_mode() {
    let first_masked = [None, None, Some(false), None, None];
    assert_eq!(flagged(CHATML, first_masked, LabelMode::Assistant), ["b<|im_end|>\n"]);
    assert_eq!(flagged(TAGGED, first_masked, LabelMode::Assistant), ["b<e>"]);
    let last_masked = [None, None, None, None, Some(false)];
    assert_eq!(flagged(CHATML, last_masked, LabelMode::Assistant), ["a<|im_end|>\n"]);
    assert_eq!(flagged(TAGGED, last_masked, LabelMode::Assistant), ["a<e>"]);
    for source in [CHATML, TAGGED] {
        assert!(flagged(source, last_masked, LabelMode::Completion).is_empty());
    }
    let with_question = [None, Some(true), None, None, None];
    let got = flagged(CHATML, with_question, LabelMode::Assistant);
    assert_eq!(got[0], "<|im_start|>user\nu<|im_end|>\n");
    assert_eq!(got.len(), 3);
    let all = flagged(CHATML, first_masked, LabelMode::All);
    assert_eq!(all.len(), 2);
    assert!(all[0].ends_with("<|im_start|>assistant\n") && all[1].starts_with("<|im_start|>user\nv"), "{all:?}");
}

#[test]
fn a_template_that_leaves_out_earlier_thoughts_is_seen() {
    let thinks = "{% for m in messages %}{{ m.content if loop.last else m.content[:1] }};{% endfor %}";
    let asked = |turns: &[(&str, &str)]| {
        let template = ChatTemplate::new(thinks, &[]).unwrap();
        forgets_earlier_turns(&template, &chat(turns), &Variables::default(), LabelMode::Assistant).unwrap()
    };
    assert!(asked(&[("user", "u"), ("assistant", "abc"), ("user", "v"), ("assistant", "b")]));
    assert!(!asked(&[("user", "u"), ("assistant", "a"), ("user", "v"), ("assistant", "bcd")]));
}
