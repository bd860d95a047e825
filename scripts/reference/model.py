"""The tiny random model and its batch."""

import json

import torch
from transformers import AutoModelForCausalLM

from .configs import STD, early_config, make_config, v4_config


def make_model(given):
    torch.manual_seed(given.seed)
    model = AutoModelForCausalLM.from_config(make_config(given), dtype=torch.float32).eval()
    plain(model)
    noise = torch.Generator().manual_seed(given.seed + 1000)
    with torch.no_grad():
        for name, value in model.named_parameters():
            drawn = torch.randn(value.shape, generator=noise)
            if value.ndim == 1:  # norms stay near their neutral value, biases near 0
                norm = "norm" in name or ".ln_" in name
                value.add_(drawn * 0.1) if norm and name.endswith("weight") else value.copy_(drawn * STD)
            else:
                value.copy_(drawn * STD)
    return model


def plain(model):
    """The written-out forms of attention and of the experts, not the fused ones."""
    model.set_attn_implementation("eager")
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")


def reload(folder, config=None):
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32)
    plain(model)
    return model.eval()


def make_batch(given):
    draw = torch.Generator().manual_seed(given.seed + 2000)
    shape = (len(given.lengths), max(given.lengths))
    lengths = torch.tensor(given.lengths)[:, None]
    positions = torch.arange(shape[1]).expand(shape).contiguous()
    inside = positions < lengths
    ids = torch.where(inside, torch.randint(3, given.vocab, shape, generator=draw), 0)
    labels = torch.where(inside & (positions >= given.masked), ids, -100)
    return {"input_ids": ids, "attention_mask": inside.long(), "labels": labels, "position_ids": positions}


def logits_of(model, batch):
    with torch.no_grad():
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


def loss_of(model, batch):
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=-100)


def largest(a, b, batch):
    return (a - b).abs()[batch["attention_mask"].bool()].max().item()


def alone(model, batch, whole):
    """How far each row's logits move when the row is computed by itself, without padding."""
    moved = 0.0
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        ids = batch["input_ids"][row:row + 1, :length]
        by_itself = logits_of(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        moved = max(moved, (by_itself[0] - whole[row, :length]).abs().max().item())
    return moved


def save_model(model, folder):
    """The model's folder, with its config in three styles."""
    model.save_pretrained(folder)
    v4 = v4_config(json.loads((folder / "config.json").read_text()))
    (folder / "config_v4.json").write_text(json.dumps(v4, indent=2) + "\n")
    early = early_config(v4)
    if {k: v for k, v in early.items() if k != "transformers_version"} != {
            k: v for k, v in v4.items() if k != "transformers_version"}:
        (folder / "config_early.json").write_text(json.dumps(early, indent=2) + "\n")
