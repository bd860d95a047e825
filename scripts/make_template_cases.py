"""Renders every *.jinja of a folder with transformers, for the test
`other_models_templates_render_as_in_transformers` of ft-text.

    .venv/bin/python scripts/make_template_cases.py FOLDER cases.json
    FT_TEST_TEMPLATE_CASES=$PWD/cases.json cargo test --release -p ft-text --test models -- --ignored templates
"""

import json
import sys
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

CHATS = [
    [("user", "Hi <b> & 'you'"), ("assistant", "Hello \u00e9."), ("user", " What is 2+2?\n")],
    [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Bye"), ("assistant", "Bye!")],
]


def main():
    cases = []
    for path in sorted(Path(sys.argv[1]).glob("*.jinja")):
        source = path.read_text()
        for turns in CHATS:
            messages = [{"role": role, "content": content} for role, content in turns]
            prompt = turns[-1][0] == "user"
            case = {"name": path.name, "template": source, "turns": turns, "prompt": prompt, "text": None, "error": None}
            try:
                rendered, _ = render_jinja_template(
                    [messages], chat_template=source, add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>"
                )
                case["text"] = rendered[0]
            except Exception as error:
                case["error"] = str(error)
            cases.append(case)
    Path(sys.argv[2]).write_text(json.dumps(cases, ensure_ascii=False))


main()
