"""Ids of many texts by transformers' tokenizers, for the tests of ft-text (tests/vocabularies.rs).

    .venv/bin/python scripts/make_tokenizer_cases.py make     .cache/text/tokenizer_cases.json
    .venv/bin/python scripts/make_tokenizer_cases.py check    the tokenizer that the test saved of Gemma's GGUF,
                                                              opened by transformers: equal ids, its text back

The texts are llama.cpp's, lines of real code and data, and a few of our own in many
scripts. 'scripts/fetch text gemma' fetches what is read.
"""

import json
import sys
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parent.parent
TEXT = ROOT / ".cache/text"
NAMES = ["llama3", "llama3_1", "qwen3", "gemma3", "deepseek_v3"]

OWN = [
    "", " ", "  ", "   a    b", "\t\tx\n\n\ny\r\n z ", "a\u00a0b\u3000c", "naïve café, Ærø; Straße",
    "e\u0301 \u1e9b\u0323 Å \ufb01", "Привет, мир! Как дела?", "مرحبا بالعالم ١٢٣", "שלום עולם", "नमस्ते दुनिया १२३",
    "你好，世界！一二三", "こんにちは、世界。カタカナ", "안녕하세요 세계", "สวัสดีชาวโลก", "Γειά σου Κόσμε", "Xin chào thế giới",
    "😀👍🏽👨‍👩‍👧‍👦🇨🇭 ☃️", "\U0001f9ff\U000e0067 \u2066x\u2069", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𓀀𓂀 ꧁꧂", "\ufffd\u0000\u0001\u007f\u200b\ufeff",
    "1234567890 3.14159 1,234,567.89 0x1F 1e-5 ²³ ½ Ⅷ", "don't you're we'll I'd DON'T it's 'tis", "_a__b___c____",
    "def f(x):\n    return {'a': [x ** 2 for x in range(10)]}  # ok\n", "<html><body class=\"x\">&amp;</body></html>",
    "SELECT * FROM t WHERE a >= 1 AND b != 'x';", "https://example.org/a?b=c&d=%20#e", "a" * 300, "ab " * 200,
    "=" * 80, "-" * 33 + " " * 40 + "|", "\n" * 35, "▁a▁▁b ▁", "<s></s><bos><eos><unused3>", "日本語とEnglishと123の混在",
    "Tax on $1,234.50 is 20 %; VAT: €5.", "x" + "\u0301" * 20, "ﷺ ﬃ ㎏ ①",
]


def texts():
    found = list(OWN)
    for path in sorted((TEXT / "vocab").glob("*.inp")):
        found += path.read_bytes().decode().split("\n__ggml_vocab_test__\n")
    for path in ["README.md", "CONTRIBUTING.md", "scripts/fetch", "shared/ft-text/src/labels.rs"]:
        found.append((ROOT / path).read_text())
    found += (ROOT / "README.md").read_text().split("\n")
    for path in sorted((ROOT / ".cache/data/evals").glob("*.jsonl")):
        found += path.read_text().split("\n")[:20]
    for path in sorted((TEXT / "templates").glob("*.jinja"))[:20]:
        found.append(path.read_text())
    return list(dict.fromkeys(found))


def make():
    out = {"texts": texts(), "ids": {}}
    for name in NAMES:
        # The class that takes tokenizer.json as it is.
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(TEXT / "tokenizers" / name / "tokenizer.json"))
        out["ids"][name] = [tokenizer.encode(text, add_special_tokens=False) for text in out["texts"]]
    (TEXT / "tokenizer_cases.json").write_text(json.dumps(out) + "\n")
    print(f"{len(out['texts'])} texts, {len(NAMES)} tokenizers")


def check():
    cases = json.loads((TEXT / "tokenizer_cases.json").read_text())
    saved = TEXT / "saved/gemma-3-270m"
    tokenizer = AutoTokenizer.from_pretrained(saved)
    reference = AutoTokenizer.from_pretrained(TEXT / "tokenizers/gemma3", tokenizer_class="PreTrainedTokenizerFast")
    differ = 0
    for text, ids in zip(cases["texts"], cases["ids"]["gemma3"]):
        ours = tokenizer.encode(text, add_special_tokens=False)
        differ += ours != ids or tokenizer.decode(ids) != reference.decode(ids)
    ours, theirs = (json.loads((folder / "tokenizer.json").read_text()) for folder in
                    (saved, TEXT / "tokenizers/gemma3"))
    merges = sum(list(a) != list(b) for a, b in zip(ours["model"]["merges"], theirs["model"]["merges"]))
    missing = abs(len(ours["model"]["merges"]) - len(theirs["model"]["merges"]))
    pieces = sum(theirs["model"]["vocab"].get(piece) != i for piece, i in ours["model"]["vocab"].items())
    print(f"saved Gemma-3 tokenizer in transformers ({type(tokenizer).__name__}): {len(cases['texts']) - differ} of "
          f"{len(cases['texts'])} texts equal; {pieces} pieces and {merges} merges differ, {missing} are missing; "
          f"with its begin token: {tokenizer.encode('a') == [2] + tokenizer.encode('a', add_special_tokens=False)}")
    sys.exit(differ != 0)


if sys.argv[1:] not in (["make"], ["check"]):
    sys.exit(__doc__)
make() if sys.argv[1] == "make" else check()
