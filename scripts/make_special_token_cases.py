"""Writes testdata/tokenizer/special_tokens.json: what transformers' fast tokenizer makes of special tokens that only the
files beside tokenizer.json name.

    python scripts/make_special_token_cases.py

Each case is a set of files that stand beside testdata/tokenizer/tokenizer.json (the others of that folder are left out)
and what the tokenizer that AutoTokenizer loads from there then gives: the ids of TEXTS without added special tokens, the
named special tokens, which templates see, and the ids of all tokens that tokenizer.json lacks.
Needs the package transformers (made with 5.24.0, tokenizers 0.23.3).
"""

import json
import shutil
import tempfile
from pathlib import Path

from transformers import AutoTokenizer

FOLDER = Path(__file__).resolve().parent.parent / "testdata" / "tokenizer"
BASE = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>", "unk_token": "<|endoftext|>"}
TEXTS = [
    "The tax<sep>is <sep> 20 percent. <sep>",
    "a <mask>  b\n<mask>\tc<mask>",
    "one <x> two<x>three  <x>  four <x>\n<y> five <y>  six<y><z>",
    "<|im_start|>user \nHi<|im_end|> \n <|im_end|>there <|endoftext|>  x",
    "the capital<img>the capital <img> thecapital the",
    "<|role|>a<|tool|>b <|role|> c",
    "  <x>  <sep>  <mask>  ",
]


def token(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False,
            "special": True} | flags


def typed(content, **flags):
    return {"__type": "AddedToken"} | token(content, **flags)


OLD = {str(i): token(t) for i, t in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])}

# name, files beside tokenizer.json
CASES = [
    ("plain", {"tokenizer_config.json": BASE}),
    ("roles", {"tokenizer_config.json": BASE | {"sep_token": "<sep>", "mask_token": "<mask>", "cls_token": "<x>"}}),
    ("roles-typed", {"tokenizer_config.json": BASE | {
        "mask_token": typed("<mask>", lstrip=True), "sep_token": typed("<sep>", rstrip=True, special=False)}}),
    ("decoder", {"tokenizer_config.json": BASE | {"added_tokens_decoder": OLD | {
        "401": token("<y>", rstrip=True), "400": token("<x>", lstrip=True), "402": token("<z>", special=False)}}}),
    ("decoder-strips-both", {"tokenizer_config.json": BASE | {"added_tokens_decoder": OLD | {
        "400": token("<x>", lstrip=True, rstrip=True), "500": token("<y>", single_word=True)}}}),
    ("decoder-flags-go-first", {"tokenizer_config.json": BASE | {"added_tokens_decoder": OLD | {
        "2": token("<|im_end|>", rstrip=True), "1": token("<|im_start|>", lstrip=True)}}}),
    ("decoder-normalized", {"tokenizer_config.json": BASE | {"added_tokens_decoder": OLD | {
        "400": token("<x>", normalized=True, special=False), "401": token("the capital", normalized=True, special=False),
        "402": token("the", normalized=False, special=False)}}}),
    ("decoder-of-a-piece", {"tokenizer_config.json": BASE | {"added_tokens_decoder": OLD | {
        "50": token("the", special=False, single_word=True)}}}),
    ("decoder-and-map", {
        "tokenizer_config.json": BASE | {"sep_token": "<sep>", "added_tokens_decoder": OLD},
        "special_tokens_map.json": {"sep_token": "<x>", "mask_token": "<mask>"}}),
    ("decoder-names-a-role", {"tokenizer_config.json": BASE | {
        "sep_token": "<sep>", "added_tokens_decoder": OLD | {"400": token("<sep>", lstrip=True, special=False)}}}),
    ("map", {
        "tokenizer_config.json": BASE | {"sep_token": "<sep>"},
        "special_tokens_map.json": {
            "sep_token": "<x>", "mask_token": {k: v for k, v in token("<mask>", lstrip=True).items() if k != "special"},
            "additional_special_tokens": ["<|role|>", "<y>"]}}),
    ("map-alone", {"special_tokens_map.json": {"eos_token": "<|im_end|>", "cls_token": "<y>"}}),
    ("additional", {"tokenizer_config.json": BASE | {"additional_special_tokens": ["<|role|>", "<|tool|>", "<|im_end|>"]}}),
    ("extra-list", {"tokenizer_config.json": BASE | {
        "extra_special_tokens": ["<|tool|>", typed("<|role|>", rstrip=True)], "additional_special_tokens": ["<x>"]}}),
    ("extra-map", {"tokenizer_config.json": BASE | {
        "extra_special_tokens": {"image_token": "<img>", "role_token": "<|role|>"}, "tool_token": "<|tool|>"}}),
    ("own-roles", {"tokenizer_config.json": BASE | {"image_token": "<img>", "sep_token": "<sep>", "boi_token": "<x>"}}),
    ("added-tokens-file", {
        "tokenizer_config.json": BASE | {"sep_token": "<sep>"}, "added_tokens.json": {"<x>": 401, "<sep>": 400, "<y>": 403}}),
    ("split", {"tokenizer_config.json": BASE | {"split_special_tokens": True, "sep_token": "<sep>"}}),
    ("no-files", {}),
]


def case(name, files):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(FOLDER / "tokenizer.json", folder)
        for file, content in files.items():
            (Path(folder) / file).write_text(json.dumps(content))
        # Without a configuration AutoTokenizer asks config.json for the class.
        (Path(folder) / "config.json").write_text('{"model_type": "llama"}')
        from transformers import PreTrainedTokenizerFast
        auto = AutoTokenizer if "tokenizer_config.json" in files else PreTrainedTokenizerFast
        tokenizer = auto.from_pretrained(folder)
        known = {t["content"] for t in json.loads((FOLDER / "tokenizer.json").read_text())["added_tokens"]}
        return {
            "name": name, "files": files,
            "ids": [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS],
            "named": tokenizer.special_tokens_map,
            "added": {t: i for t, i in sorted(tokenizer.get_added_vocab().items()) if t not in known},
        }


def main():
    cases = [case(name, files) for name, files in CASES]
    lines = ",\n".join("    " + json.dumps(c, ensure_ascii=False) for c in cases)
    texts = json.dumps(TEXTS, ensure_ascii=False)
    (FOLDER / "special_tokens.json").write_text(f'{{\n  "texts": {texts},\n  "cases": [\n{lines}\n  ]\n}}\n')


if __name__ == "__main__":
    main()
