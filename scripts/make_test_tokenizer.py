"""Makes testdata/tokenizer: a byte-level BPE of a few hundred tokens with a ChatML
template, and the ids that Python's `tokenizers` gives for a list of texts, with it and
with SmolLM2's vocabulary out of its GGUF file.

    python scripts/make_test_tokenizer.py .cache/models/SmolLM2-135M-Instruct.Q4_1.gguf

Needs the packages tokenizers and jinja2.
"""

import json
import struct
import sys
from pathlib import Path

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

OUT = Path(__file__).resolve().parent.parent / "testdata" / "tokenizer"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CORPUS = """
system user assistant question answer
What is the tax on an income of 1200 dollars? The tax is 20 percent of the income.
How are the assets of a company valued in the balance sheet? At their cost or market value.
Debit the account receivable and credit the account of sales.
The invoice is due in thirty days; the interest is paid by the customer.
What is the capital of France? The capital of France is Paris.
Depreciation reduces the value of an asset over the years of its useful life.
""".strip()
TEXTS = [
    "",
    " ",
    "The capital of France is Paris.",
    "What is the tax on 1234.56 dollars?",
    "  two  spaces   three\n\nlines\r\n\ttab \n",
    "it's we'LL they've I'm 'quoted'",
    "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|> <|im_end|> <|im_",
    "na\u00efve caf\u00e9 cafe\u0301 \u65e5\u672c\u8a9e \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u00bd \u00b2 \u2167 \u0664\u0665 1,000,000",
    "\u00a0\u3000 \u200b\ufeff",
    "def f(x):\n    return x ** 2  # square\n",
    "Debit: $1,200.00 (net) \u2014 credit: \u20ac950",
]
CHATS = [
    [["user", "What is the capital of France?"]],
    [["user", "What is the capital of France?"], ["assistant", "The capital of France is Paris."]],
    [["system", "Be brief."], ["user", "2+2?"], ["assistant", "4"], ["user", "x \u00e9\n"], ["assistant", " y "]],
]


def pipeline(tokenizer):
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def tiny():
    tokenizer = pipeline(Tokenizer(models.BPE()))
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS.splitlines(), trainer)
    return tokenizer


def gguf_metadata(path):
    formats = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    with open(path, "rb") as file:

        def take(form):
            return struct.unpack("<" + form, file.read(struct.calcsize("<" + form)))[0]

        def value(kind):
            if kind == 8:
                return file.read(take("Q")).decode()
            if kind == 9:
                inner, count = take("I"), take("Q")
                return [value(inner) for _ in range(count)]
            return take(formats[kind])

        assert file.read(4) == b"GGUF" and take("I") == 3
        take("Q")
        return {key: value(kind) for key, kind in ((value(8), take("I")) for _ in range(take("Q")))}


def smollm2(metadata):
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(m.split(" ")) for m in metadata["tokenizer.ggml.merges"]]
    tokenizer = pipeline(Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges)))
    kinds = metadata["tokenizer.ggml.token_type"]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, kinds) if k == 3])
    return tokenizer


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def chats(tokenizer, source):
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(source)
    for turns in CHATS:
        messages = [{"role": role, "content": content} for role, content in turns]
        prompt = turns[-1][0] == "user"
        text = template.render(messages=messages, add_generation_prompt=prompt)
        yield [turns, prompt, text, ids(tokenizer, text)]


def write(name, value):
    text = json.dumps(value, ensure_ascii=False, indent=None if isinstance(value, list) else 2)
    (OUT / name).write_text(text + "\n")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    small = tiny()
    small.save(str(OUT / "tokenizer.json"), pretty=False)
    roles = {"bos_token": SPECIAL[1], "eos_token": SPECIAL[2], "pad_token": SPECIAL[2], "unk_token": SPECIAL[0]}
    write("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **roles, "chat_template": CHATML})
    write("special_tokens_map.json", roles)
    write("generation_config.json", {"eos_token_id": [2, 0]})
    write("expected_tiny.json", [[text, ids(small, text)] for text in TEXTS])
    metadata = gguf_metadata(sys.argv[1])
    large = smollm2(metadata)
    write("expected_smollm2.json", [[text, ids(large, text)] for text in TEXTS])
    write("expected_smollm2_chats.json", list(chats(large, metadata["tokenizer.chat_template"])))


main()
