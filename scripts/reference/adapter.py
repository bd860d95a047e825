"""The adapter: its config from the command line, the names of its tensors, its training."""

import json

import torch
from peft import LoraConfig
from peft.utils.save_and_load import get_peft_model_state_dict

LR = 1e-3


def lora_config(given):
    keys = {k: json.loads(v) for k, v in (pair.split("=", 1) for pair in given.lora)}
    return LoraConfig(**{
        "r": given.r, "lora_alpha": given.alpha, "lora_dropout": 0.0, "target_modules": given.targets,
        "task_type": "CAUSAL_LM", "use_rslora": given.rslora, "use_dora": given.dora, **keys})


def saved_names(model):
    """Each trainable parameter's name in the model, with its key in adapter_model.safetensors.

    The two are matched by their memory, since peft renames by many rules (see make_reference.py).
    """
    keys = {value.data_ptr(): key for key, value in get_peft_model_state_dict(model).items()}
    names = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            if parameter.data_ptr() not in keys:
                raise SystemExit(f"make_reference: error: peft trains {name} and does not save it")
            names[name] = keys[parameter.data_ptr()]
    return names


def save_adapter(model, folder):
    """As peft saves it, less its model card, and with its sets in one order, so that a second run gives the same."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    for key in ("target_modules", "target_parameters", "modules_to_save", "exclude_modules"):
        if isinstance(config[key], list):
            config[key] = sorted(config[key])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def train(model, batch, given, loss_of):
    """Steps with torch's AdamW; gives what meta.json says of them and the first gradients, by saved key."""
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    names = saved_names(model)
    optimizer = torch.optim.AdamW(trainable.values(), lr=LR, betas=(0.9, 0.999), eps=1e-8,
                                  weight_decay=given.weight_decay)
    losses, norms, first = [], [], None
    for _ in range(given.steps):
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        if first is None:
            first = {names[n]: gradient(p) for n, p in trainable.items()}
        norms.append(torch.sqrt(sum(gradient(p).double().pow(2).sum() for p in trainable.values())).item())
        losses.append(loss.item())
        optimizer.step()
    raw = {key: name for name, key in names.items() if name.replace(".default", "") != key}
    return losses, norms, first, raw


def gradient(parameter):
    """Of a tensor that no token reached (an expert that was never chosen) it is zero."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
