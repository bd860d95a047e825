#!/usr/bin/env python3
"""Make the inputs that both sides of the comparisons read, into .cache/peers/. Same bytes each time.

    .venv/bin/python scripts/peers/make_inputs.py [NAME...]

    chats          chats_train.jsonl, chats_test.jsonl: the accounting and tax chats, prompt and completion,
                   split by scikit-learn (0.1, seed 42)
    tokens         tokens_full.parquet: 80 rows of 256 tokens of the training texts, all labelled
                   tokens_real.parquet: the first 80 training chats, only answers labelled
                   tokens_test.parquet: the held-out chats, labelled likewise
                   tokens_eval.parquet: 64 rows of 256 tokens of other financial texts
    adapter        adapter_init/: a PEFT adapter, r 16, alpha 32, all-linear; adapter_noise/: the same with
                   a B that is not zero, for merging and reading back
    table          qa.csv: 1,000,000 question-answer rows, 230 MB
    pairs          pairs.jsonl: 50,000 chats of a question and an answer
    questions      questions.jsonl: eight questions with long answers, for generation
"""

import csv
import json
import random
import sys

from common import DATA, SMOLLM2_HF, WORK

CHATS = ["taxes", "finance_calc", "invoices", "accounting_audit"]
QUESTIONS = [
    "Explain the difference between cash accounting and accrual accounting, with an example of each.",
    "Describe step by step how a bank reconciliation is prepared at the end of a month.",
    "What are the five elements of financial statements? Explain each one in detail.",
    "Write a long letter to a client that explains why the tax return will be filed late.",
    "Explain how straight-line depreciation works and show a schedule for a machine over five years.",
    "Describe the main duties of an external auditor and how an audit is planned.",
    "Explain double-entry bookkeeping to a student who has never seen a ledger.",
    "List ten common deductions of a small business and explain every one of them.",
]
WIDTH = 256
QUESTION_WORDS, ANSWER_WORDS = 22, 11


def rows_of(name):
    with open(DATA / "evals" / f"{name}.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def write_jsonl(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def chats():
    from sklearn.model_selection import train_test_split
    rows = [{"prompt": [{"role": m["role"], "content": m["content"]} for m in row["input"]],
             "completion": [{"role": "assistant", "content": row["ideal"]}]}
            for name in CHATS for row in rows_of(name)]
    train, test = train_test_split(rows, test_size=0.1, random_state=42)
    write_jsonl(WORK / "chats_train.jsonl", train)
    write_jsonl(WORK / "chats_test.jsonl", test)


def write_tokens(path, rows):
    import pyarrow as pa
    import pyarrow.parquet as pq
    ids = [row[0] for row in rows]
    table = pa.table({
        "input_ids": pa.array(ids, pa.list_(pa.uint32())),
        "labels": pa.array([row[1] for row in rows], pa.list_(pa.int32())),
        "length": pa.array([len(i) for i in ids], pa.uint32()),
    })
    pq.write_table(table, path)


def full_rows(tokenizer, texts, count):
    """`count` rows of WIDTH tokens cut from the joined texts. The first label is -100, for nothing predicts it."""
    ids = []
    for text in texts:
        ids += tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) >= count * WIDTH:
            break
    rows = [ids[i * WIDTH:(i + 1) * WIDTH] for i in range(count)]
    return [(row, [-100] + row[1:]) for row in rows]


def labelled(tokenizer, row):
    """One chat with labels on all that follows the generation prompt: answer, end token, line break (as in TRL)."""
    start = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
    assert whole.startswith(start)
    coded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    labels = [i if len(start) <= a else -100 for i, (a, _) in zip(coded["input_ids"], coded["offset_mapping"])]
    return coded["input_ids"], labels


def tokens():
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(SMOLLM2_HF)
    train, test = ([json.loads(line) for line in open(WORK / f"chats_{side}.jsonl", encoding="utf-8")]
                   for side in ("train", "test"))
    texts = [tokenizer.apply_chat_template(r["prompt"] + r["completion"], tokenize=False) for r in train]
    write_tokens(WORK / "tokens_full.parquet", full_rows(tokenizer, texts, 80))
    write_tokens(WORK / "tokens_real.parquet", [labelled(tokenizer, r) for r in train[:80]])
    write_tokens(WORK / "tokens_test.parquet", [labelled(tokenizer, r) for r in test])
    other = [r["input"][-1]["content"] + "\n" for r in rows_of("ner_finance")]
    write_tokens(WORK / "tokens_eval.parquet", full_rows(tokenizer, other, 64))


def adapter():
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(SMOLLM2_HF, dtype=torch.float32)
    torch.manual_seed(1)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    model.save_pretrained(WORK / "adapter_init")
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.01)
    model.save_pretrained(WORK / "adapter_noise")


def question_answers(count):
    """Question and answer rows, drawn word by word from the financial texts."""
    words = [w for row in rows_of("ner_finance") for w in row["input"][-1]["content"].split() if w.isalpha()]
    draw = random.Random(7)
    for i in range(count):
        question = " ".join(draw.choices(words, k=QUESTION_WORDS))
        answer = " ".join(draw.choices(words, k=ANSWER_WORDS))
        yield f"{i}: {question}?", f"{answer}, \"{draw.randrange(10**6):,}\""


def table():
    with open(WORK / "qa.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer"])
        writer.writerows(question_answers(1_000_000))


def pairs():
    write_jsonl(WORK / "pairs.jsonl", (
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for q, a in question_answers(50_000)))


def questions():
    write_jsonl(WORK / "questions.jsonl", (
        {"prompt": [{"role": "user", "content": q}], "completion": [{"role": "assistant", "content": "(open)"}]}
        for q in QUESTIONS))


PARTS = {"chats": (chats, "chats_test.jsonl"), "tokens": (tokens, "tokens_eval.parquet"),
         "adapter": (adapter, "adapter_noise"), "table": (table, "qa.csv"), "pairs": (pairs, "pairs.jsonl"),
         "questions": (questions, "questions.jsonl")}

if __name__ == "__main__":
    if any(a in ("-h", "--help") for a in sys.argv[1:]):
        sys.exit(print(__doc__))
    from gguf_to_hf import smollm2
    WORK.mkdir(parents=True, exist_ok=True)
    smollm2()
    for name in sys.argv[1:] or PARTS:
        make, last = PARTS[name]
        done = WORK / f".{name}.done"
        if sys.argv[1:] or not (done.exists() and (WORK / last).exists()):
            print(f"make_inputs: {name}", file=sys.stderr)
            make()
            done.touch()
