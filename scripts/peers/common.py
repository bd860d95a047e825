"""What the peers' programs share: paths, threads, memory, timing. Import it before torch.

Two threads for torch, no network, no progress bars. `VmHWM` is the process's own peak
of resident memory, the figure that the tables give for both sides.
"""

import json
import os
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()
THREADS = os.environ.get("FT_PEER_THREADS", "2")
for name, value in [("OMP_NUM_THREADS", THREADS), ("MKL_NUM_THREADS", THREADS), ("OMP_WAIT_POLICY", "PASSIVE"),
                    ("TOKENIZERS_PARALLELISM", "true"), ("HF_HUB_OFFLINE", "1"), ("TRANSFORMERS_OFFLINE", "1"),
                    ("HF_DATASETS_DISABLE_PROGRESS_BARS", "1"), ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
                    ("TRANSFORMERS_VERBOSITY", "error"), ("CUDA_VISIBLE_DEVICES", "")]:
    os.environ.setdefault(name, value)

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache"
WORK = CACHE / "peers"  # scratch of the comparisons
DATA = CACHE / "data"
SMOLLM2_GGUF = CACHE / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_HF = CACHE / "models" / "SmolLM2-135M-Instruct-f32"


def seconds_since_exec():
    """Seconds since this process was started, interpreter and imports included (Linux)."""
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    with open("/proc/uptime") as file:
        up = float(file.read().split()[0])
    return up - ticks / os.sysconf("SC_CLK_TCK")


def peak_mb():
    """Peak resident memory of this process in MB (10^6 bytes)."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def use_two_threads():
    import torch
    torch.set_num_threads(int(THREADS))


def report(**values):
    """Prints the figures as the one JSON line on stdout, with peak memory and the process's age."""
    values.setdefault("peak_mb", round(peak_mb(), 1))
    values.setdefault("process_s", round(seconds_since_exec(), 3))
    print(json.dumps(values))
    sys.stdout.flush()
