#!/usr/bin/env python3
"""Make testdata/smollm2/reference.json: what transformers computes on SmolLM2, dequantised to f32 from its GGUF.

    .venv/bin/python scripts/make_smollm2_reference.py

greedy   a user message, the ids of its rendered prompt, the ids of the greedy answer (end token included)
texts    a text, its ids, the mean loss of its tokens but the first, and of the last position's logits the
         five largest (id, value) and the sum of all
chats    a chat, its ids, the position where the answer starts, the summed loss of the answer, its end token
         and the line break that the template puts behind it
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts" / "peers"))

import common  # noqa: E402  (sets torch's threads before it is loaded)
from gguf_to_hf import smollm2  # noqa: E402
from make_inputs import labelled  # noqa: E402

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

GREEDY = ["What is the capital of France?", "What is 17 + 25?", "Name the two sides of a ledger entry."]
TEXTS = [
    "The accountant recorded the invoice in the general ledger.",
    "In 2023 the company paid $1,234.56 in taxes, 7% more than the year before.",
    "def main():\n    print('Grüße, 世界')\n",
    "Debits increase assets and expenses; credits increase liabilities, equity and revenue.\n\nAssets = ",
]
CHATS = [
    ([{"role": "user", "content": "Is rent an expense or an asset?"}], "An expense."),
    ([{"role": "system", "content": "Answer with one letter."},
      {"role": "user", "content": "Which is a liability? A. cash B. a loan C. a truck"}], "B"),
]


def greedy(model, tokenizer, question):
    inputs = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True,
                                           return_tensors="pt", return_dict=True)
    out = model.generate(**inputs, do_sample=False, max_new_tokens=40)
    prompt = inputs["input_ids"][0].tolist()
    answer = out[0, len(prompt):].tolist()
    return {"question": question, "prompt_ids": prompt, "answer_ids": answer,
            "answer": tokenizer.decode(answer, skip_special_tokens=True)}


def text_loss(model, tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    inputs = torch.tensor([ids])
    out = model(input_ids=inputs, labels=inputs)
    last = out.logits[0, -1]
    top = last.topk(5)
    return {"text": text, "ids": ids, "loss": out.loss.item(),
            "top_logits": [[i, v] for i, v in zip(top.indices.tolist(), top.values.tolist())],
            "logit_sum": last.double().sum().item()}


def chat_loss(model, tokenizer, messages, answer):
    completion = [{"role": "assistant", "content": answer}]
    ids, labels = labelled(tokenizer, {"prompt": messages, "completion": completion})
    count = sum(label != -100 for label in labels)
    loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss.item()
    return {"messages": messages + completion, "ids": ids,
            "answer_start": next(i for i, label in enumerate(labels) if label != -100),
            "labelled": count, "loss_sum": loss * count}


@torch.no_grad()
def main():
    folder = smollm2()
    common.use_two_threads()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    values = {
        "model": "SmolLM2-135M-Instruct.Q4_1.gguf, dequantised to f32",
        "made_with": {"torch": torch.__version__, "transformers": transformers.__version__},
        "greedy": [greedy(model, tokenizer, q) for q in GREEDY],
        "texts": [text_loss(model, tokenizer, t) for t in TEXTS],
        "chats": [chat_loss(model, tokenizer, m, a) for m, a in CHATS],
    }
    out = ROOT / "testdata" / "smollm2" / "reference.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n")
    print(f"make_smollm2_reference: wrote {out.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
