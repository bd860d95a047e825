"""Renders chat templates with transformers, for the tests of ft-text (tests/templates.rs).

    .venv/bin/python scripts/make_template_cases.py own        testdata/templates: *.jinja -> expected.json,
                                                               snippets.txt -> snippets.json
    .venv/bin/python scripts/make_template_cases.py fetched    the templates in .cache/text -> .cache/text/cases.json

`own` are small templates of this repository, one for each group of features; what Python
makes of them is committed. `fetched` are those of other models' makers ('scripts/fetch
text'), which are not ours to commit.

Each template meets each conversation below, with and without the generation prompt. What
comes of it is the text and the spans of {% generation %} (in characters), or the words of
raise_exception, or the name of the Python error. The clock stands at NOW.
"""

import json
import sys
from datetime import datetime
from pathlib import Path

import jinja2
from transformers.utils import chat_template_utils
from transformers.utils.chat_template_utils import render_jinja_template

ROOT = Path(__file__).resolve().parent.parent
NOW = datetime(2025, 3, 9, 14, 5, 7)
PLAIN_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city <now> & \"later\".\nÜberall.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The city's name, e.g. Zürich"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": "integer", "minimum": 1, "description": "How many days"},
            },
            "required": ["city"],
        },
    },
}
TAX = {
    "type": "function",
    "function": {
        "name": "compute_tax",
        "description": "Tax of a list of items.",
        "parameters": {
            "type": "object",
            "properties": {
                "items": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"net": {"type": "number"}, "name": {"type": ["string", "null"]}},
                        "required": ["net"],
                    },
                    "description": "What was bought",
                },
                "rate": {"type": "number", "default": 0.2, "maximum": 1.0},
                "strict": {"type": "boolean", "nullable": True},
                "mode": {"anyOf": [{"type": "string"}, {"type": "integer"}], "description": "How"},
            },
            "required": ["items", "rate"],
        },
        "return": {"type": "object", "description": "The tax"},
    },
}
NOTHING = {"type": "function", "function": {"name": "ping", "description": "Asks.", "parameters": {}}}
TOOLS = [WEATHER, TAX]


def say(role, content=None, **more):
    return {"role": role} | ({} if content is None else {"content": content}) | more


def call(name, arguments, number=1):
    return {"id": f"call{number:05}", "type": "function", "function": {"name": name, "arguments": arguments}}


ARGUMENTS = {"items": [{"net": 12.5, "name": None}, {"net": 3}], "rate": 0.2, "strict": True, "mode": "übrig <b>"}
CITY = {"city": "Zürich", "days": 3}
RESULT = '{"tax": 3.1, "note": "a\\u00e9 \'q\'"}'

# name, messages, tools, further variables of the template
CHATS = [
    ("turns", [say("user", "Hi <b> & 'you'"), say("assistant", "Hello é."), say("user", " What is 2+2?\n")], None, {}),
    ("system", [say("system", "Be brief.\n"), say("user", "Hi"), say("assistant", "Hello."), say("user", "Bye"),
                say("assistant", "Bye! ")], None, {}),
    ("one", [say("user", "Only this.")], None, {}),
    ("system-one", [say("system", "  Be kind. "), say("user", "\nHi\t")], None, {}),
    ("long", [say("system", "S"), say("user", "a{{ b }}"), say("assistant", "c\n\n"), say("user", ""),
              say("assistant", "{% d %}"), say("user", "e 😀"), say("assistant", "f"), say("user", "g")], None, {}),
    ("empty-system", [say("system", ""), say("user", "Hi"), say("assistant", "")], None, {}),
    ("tools", [say("user", "Weather?")], TOOLS, {}),
    ("tools-system", [say("system", "Be brief."), say("user", "Weather?"), say("assistant", "Where?"),
                      say("user", "Zürich")], [WEATHER, NOTHING], {}),
    ("no-tools", [say("user", "Weather?")], [], {}),
    ("call", [say("user", "Weather?"), say("assistant", "", tool_calls=[call("get_weather", CITY)]),
              say("tool", RESULT, name="get_weather", tool_call_id="call00001"),
              say("assistant", "It rains."), say("user", "Thanks")], TOOLS, {}),
    ("call-system", [say("system", "S."), say("user", "Tax?"),
                     say("assistant", "I compute.", tool_calls=[call("compute_tax", ARGUMENTS)]),
                     say("tool", RESULT, name="compute_tax", tool_call_id="call00001")], TOOLS, {}),
    ("calls", [say("user", "Both?"),
               say("assistant", tool_calls=[call("get_weather", CITY), call("compute_tax", ARGUMENTS, 2)]),
               say("tool", "rain", name="get_weather", tool_call_id="call00001"),
               say("tool", RESULT, name="compute_tax", tool_call_id="call00002"),
               say("assistant", "Rain and 3.1."), say("user", "So?"), say("assistant", "So.")], TOOLS, {}),
    ("call-text", [say("user", "Weather?"),
                   say("assistant", "", tool_calls=[call("get_weather", json.dumps(CITY, ensure_ascii=False))]),
                   say("tool", "rain", name="get_weather", tool_call_id="call00001"),
                   say("assistant", "It rains.")], TOOLS, {}),
    ("call-alone", [say("user", "Weather?"), say("assistant", None, tool_calls=[call("ping", {})]),
                    say("tool", "", name="ping", tool_call_id="call00001")], None, {}),
    ("call-bare", [say("user", "Weather?"),
                   say("assistant", "", tool_calls=[{"name": "get_weather", "arguments": CITY}]),
                   say("tool", {"tax": [1, 2.0, None]}, name="get_weather")], TOOLS, {}),
    ("nulls", [say("user", "Hi"), {"role": "assistant", "content": None, "tool_calls": None}, say("user", "?")],
     None, {}),
    ("thoughts", [say("user", "Why?"), say("assistant", "So.", reasoning_content="I think.\n"), say("user", "And?"),
                  say("assistant", "Thus.", reasoning_content="Hm é")], None, {}),
    ("thoughts-call", [say("user", "Weather?"),
                       say("assistant", "", reasoning_content="Ask.", tool_calls=[call("get_weather", CITY)]),
                       say("tool", "rain", name="get_weather", tool_call_id="call00001"),
                       say("assistant", "It rains.", reasoning_content="Rain.")], TOOLS, {}),
    ("thinking", [say("user", "Why?"), say("assistant", "So.", thinking="T"), say("user", "?")], None, {}),
    ("think-tags", [say("user", "Why?"), say("assistant", "<think>\nHm\n</think>\n\nSo."), say("user", "And?"),
                    say("assistant", "<think></think>Thus.")], None, {}),
    ("no-thinking", [say("user", "Why?")], None, {"enable_thinking": False, "thinking": False}),
    ("with-thinking", [say("system", "S /no_think"), say("user", "Why? /think")], None,
     {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}),
    ("date", [say("user", "When?")], TOOLS, {"date_string": "01 Jan 2020", "tools_in_user_message": False}),
    ("builtin", [say("system", "S"), say("user", "When?")], [WEATHER],
     {"builtin_tools": ["brave_search", "code_interpreter"], "custom_tools": None}),
    ("documents", [say("user", "What does it say?")], None,
     {"documents": [{"title": "A", "text": "First é."}, {"title": "B", "text": "Second"}], "citations": True}),
    ("parts", [say("system", [{"type": "text", "text": "S."}]),
               say("user", [{"type": "text", "text": "One "}, {"type": "text", "text": "two."}]),
               say("assistant", [{"type": "text", "text": "Three."}]), say("user", "Four")], None, {}),
    ("image", [say("user", [{"type": "image"}, {"type": "text", "text": "What is it?"}])], None, {}),
    ("developer", [say("developer", "D."), say("user", "Hi")], None, {}),
    ("late-system", [say("user", "Hi"), say("system", "Now S."), say("assistant", "Hello.")], None, {}),
    ("two-users", [say("user", "Hi"), say("user", "there"), say("assistant", "Hello.")], None, {}),
    ("assistant-first", [say("assistant", "Hello."), say("user", "Hi")], None, {}),
    ("critic", [say("user", "Hi"), say("critic", "Bad.")], None, {}),
    ("tool-first", [say("tool", "rain", name="get_weather"), say("user", "Hi")], None, {}),
    ("numbers", [say("user", 7), say("assistant", True), say("user", 1.0)], None, {}),
]


class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def render(source, tokens, messages, tools, variables, prompt):
    """What apply_chat_template does before it tokenises."""
    messages = [{k: v for k, v in m.items() if v is not None} for m in messages]
    variables = {**tokens, **variables}
    texts, spans = render_jinja_template(
        [messages], tools=tools, documents=variables.pop("documents", None), chat_template=source,
        add_generation_prompt=prompt, return_assistant_tokens_mask=True, **variables,
    )
    return {"text": texts[0], "spans": spans[0]}


def outcome(*arguments):
    try:
        return render(*arguments)
    except jinja2.exceptions.UndefinedError as error:
        return {"error": f"UndefinedError: {error}"}
    except (jinja2.exceptions.TemplateSyntaxError, jinja2.exceptions.SecurityError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    except jinja2.exceptions.TemplateError as error:
        # raise_exception raises exactly this class.
        kind = "raised" if type(error) is jinja2.exceptions.TemplateError else "error"
        return {kind: str(error)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def cases_of(source, tokens):
    for name, messages, tools, variables in CHATS:
        for prompt in (False, True):
            yield {"chat": name, "prompt": prompt} | outcome(source, tokens, messages, tools, variables, prompt)


def token_text(token):
    return token["content"] if isinstance(token, dict) else token


def fetched():
    """Name, source and special tokens of each template in .cache/text."""
    folder = ROOT / ".cache/text"
    for path in sorted(folder.glob("templates/*.jinja")):
        yield path.name, path.read_text(), PLAIN_TOKENS
    for path in sorted(folder.glob("tokenizers/*/tokenizer_config.json")):
        config = json.loads(path.read_text())
        names = ("bos_token", "eos_token", "unk_token", "pad_token")
        tokens = {name: token_text(config[name]) for name in names if config.get(name)}
        yield f"tokenizer {path.parent.name}", config["chat_template"], tokens


def own():
    for path in sorted((ROOT / "testdata/templates").glob("*.jinja")):
        yield path.name, path.read_text(), PLAIN_TOKENS


def snippets():
    """The templates of snippets.txt, each on the chat "calls", and what becomes of them."""
    _, messages, tools, variables = next(chat for chat in CHATS if chat[0] == "calls")
    for line in (ROOT / "testdata/templates/snippets.txt").read_text().split("\n"):
        if line and not line.startswith("# "):
            source = line.replace("\u23ce", "\n")
            yield {"template": source} | outcome(source, PLAIN_TOKENS, messages, tools, variables, False)


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n")
    print(f"wrote {path.relative_to(ROOT)}")


def main():
    if sys.argv[1:] not in (["own"], ["fetched"]):
        sys.exit(__doc__)
    chat_template_utils.datetime = Clock
    is_own = sys.argv[1] == "own"
    templates = []
    for name, source, tokens in own() if is_own else fetched():
        entry = {"name": name, "tokens": tokens}
        if not is_own:
            entry["source"] = source
        templates.append(entry | {"cases": list(cases_of(source, tokens))})
    if not templates:
        sys.exit("no templates: run 'scripts/fetch text' first")
    chats = {name: {"messages": messages, "tools": tools, "variables": variables}
             for name, messages, tools, variables in CHATS}
    out = {"now": NOW.isoformat(), "chats": chats, "templates": templates}
    folder = ROOT / ("testdata/templates" if is_own else ".cache/text")
    write(folder / ("expected.json" if is_own else "cases.json"), out)
    if is_own:
        write(folder / "snippets.json", {"now": NOW.isoformat(), "chats": chats, "snippets": list(snippets())})
    print(f"{len(templates)} templates, {sum(len(t['cases']) for t in templates)} renderings")


main()
