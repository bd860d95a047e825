#!/usr/bin/env python3
"""Make testdata/recipes/arguments.json: every argument of the classes that recipes for SFTTrainer are written for, and
its default.

    .venv/bin/python scripts/make_arguments_reference.py
"""

import dataclasses
import enum
import json
from importlib.metadata import version
from pathlib import Path

from peft import LoraConfig
from trl import ModelConfig, ScriptArguments, SFTConfig

OUT = Path(__file__).resolve().parent.parent / "testdata" / "recipes" / "arguments.json"


def default(field):
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if isinstance(value, enum.Enum):
        value = value.value
    try:
        return json.loads(json.dumps(value))
    except TypeError:
        return None


def main():
    classes = {}
    for of in (SFTConfig, ModelConfig, LoraConfig, ScriptArguments):
        classes[of.__name__] = {field.name: default(field) for field in dataclasses.fields(of)}
    versions = {name: version(name) for name in ("transformers", "trl", "peft")}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"made_by": versions, "arguments": classes}, indent=1) + "\n")
    print(f"{sum(map(len, classes.values()))} arguments in {OUT.name}")


if __name__ == "__main__":
    main()
