"""The table of scripts/ranks_memory.sh: what ranks measured beside what was planned.

    python3 scripts/ranks_memory_table.py FOLDER LOAD_IN
"""

import json
import sys
from pathlib import Path

COMPARED = [
    "frozen_bytes",
    "largest_gathered_bytes",
    "gathered_bytes_per_step",
    "gradient_bytes",
    "gradient_peak_bytes",
    "moment_bytes",
    "adapter_bytes",
    "sent_bytes_per_step",
]
MICRO_BATCHES = 2
faults = []


def megabytes(count):
    return f"{count / 1e6:.2f}"


def check(holds, what):
    if not holds:
        faults.append(what)


def planned(folder, name):
    model = json.loads((folder / name).read_text())["models"][0]
    return model, {(plan["world"], plan["sharding"]): plan["ranks"] for plan in model["plans"]}


def compare(name, plan, measured):
    check(len(plan) == len(measured), f"{name}: {len(measured)} ranks, expected {len(plan)}")
    same = True
    for want, found in zip(plan, measured):
        for key in COMPARED:
            if want[key] != found[key]:
                same = False
                faults.append(f"{name}, rank {found['rank']}: {key} is {found[key]}, planned {want[key]}")
    return same


def row(name, plan, measured):
    most = lambda key: max(rank[key] for rank in measured)
    sent = lambda key: max(rank["sent_bytes_per_step"][key] for rank in measured)
    cells = [
        name,
        megabytes(most("frozen_bytes")),
        megabytes(most("largest_gathered_bytes")),
        megabytes(most("gradient_bytes")),
        megabytes(most("moment_bytes")),
        megabytes(most("adapter_bytes")),
        megabytes(most("gathered_bytes_per_step")),
        megabytes(sent("frozen")),
        megabytes(sent("gradients")),
        megabytes(sent("adapter")),
        str(sent("small")),
        "yes" if compare(name, plan, measured) else "NO",
    ]
    print("| " + " | ".join(cells) + " |")


def main():
    folder, load_in = Path(sys.argv[1]), sys.argv[2]
    model, plans = planned(folder, "plan.json")
    _, kept = planned(folder, "plan-kept.json")
    whole = model["frozen_bytes"]
    print(f"{model['model']} in {load_in}: {megabytes(whole)} MB frozen. MB a rank, of the rank with most; a step of")
    print(f"{MICRO_BATCHES} micro-batches of one row a rank.\n")
    print("| sharding, ranks | frozen | largest gathered | gradients | moments | adapter | gathered a step "
          "| sent: frozen | gradients | adapter | small, bytes | as planned |")
    print("|---|" + "---:|" * 10 + "---|")
    for (world, sharding), plan in plans.items():
        name = f"{sharding}-{world}"
        measured = json.loads((folder / f"{name}.json").read_text())["memory_per_rank"]
        row(name, plan, measured)
        if sharding == "zero3" and world > 1:
            for rank in measured:
                share = rank["frozen_bytes"] * world / whole
                check(0.95 <= share <= 1.05, f"{name}, rank {rank['rank']}: {share:.3f} of its share")
            # The vocabulary's matrix is the head too: it is asked for twice, as a layer is.
            times = measured[0]["gathered_bytes_per_step"] / whole / MICRO_BATCHES
            check(1.98 < times <= 2, f"{name}: each frozen byte is gathered {times:.3f} times a micro-batch")
    measured = json.loads((folder / "zero3-4-kept.json").read_text())["memory_per_rank"]
    row("zero3-4, kept", kept[4, "zero3"], measured)
    times = measured[0]["gathered_bytes_per_step"] / whole / MICRO_BATCHES
    check(0.99 < times <= 1, f"zero3-4, kept: each frozen byte is gathered {times:.3f} times a micro-batch")
    for fault in faults:
        print(f"ranks_memory: error: {fault}", file=sys.stderr)
    return 1 if faults else 0


sys.exit(main())
