#!/usr/bin/env python3
"""Writes testdata/compare/reference.json: rows under two models, and what scipy says of them.

    python3 -m venv V && V/bin/pip install scipy && V/bin/python scripts/make_compare_reference.py

The sign test is scipy.stats.binomtest's. The interval is scipy.stats.bootstrap's (method "percentile"), whose draws are
here those of ft: Philox4x32-10 by stream and number, in the place of numpy's generator.
"""

import json
import random
from pathlib import Path

import numpy as np
from scipy import stats

PURPOSE = 0x600
RESAMPLES = 1000


def philox(counter, key):
    x, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [(b >> 32) ^ x[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ x[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return x


class Stream:
    def __init__(self, seed, index):
        drawn = philox([index & 0xFFFFFFFF, index >> 32, PURPOSE, 0xFFFFFFFF], [seed & 0xFFFFFFFF, seed >> 32])
        self.key, self.nonce = drawn[:2], drawn[2:]

    def below(self, i, bound):
        block = i // 2
        words = philox([block & 0xFFFFFFFF, block >> 32, *self.nonce], self.key)
        at = i % 2 * 2
        return ((words[at + 1] << 32 | words[at]) * bound) >> 64


class Draws(np.random.Generator):
    """numpy's generator with the rows that ft draws: resample r's from stream r."""

    def __init__(self, seed):
        super().__init__(np.random.PCG64())
        self.seed = seed

    def integers(self, low, high=None, size=None, dtype=np.int64, endpoint=False):
        assert low == 0 and not endpoint
        resamples, rows = size
        streams = (Stream(self.seed, r) for r in range(resamples))
        return np.array([[stream.below(i, high) for i in range(rows)] for stream in streams], dtype=dtype)


def case(name, metric, rows, lower_is_better, confidence, seed):
    """rows: (a, b, weight)"""
    a, b, w = (np.array(column, dtype=float) for column in zip(*rows))
    gain = (a - b) if lower_is_better else (b - a)
    wins, losses = int((gain > 0).sum()), int((gain < 0).sum())
    p = stats.binomtest(wins, wins + losses, 0.5).pvalue if wins + losses else 1.0
    mean = lambda gain, w, axis: (gain * w).sum(axis) / w.sum(axis)
    found = stats.bootstrap((gain, w), mean, paired=True, vectorized=True, n_resamples=RESAMPLES, method="percentile",
                            confidence_level=confidence, rng=Draws(seed))
    interval = found.confidence_interval
    return {
        "name": name, "metric": metric, "rows": rows, "confidence": confidence, "seed": seed, "resamples": RESAMPLES,
        "a": (a * w).sum() / w.sum(), "b": (b * w).sum() / w.sum(), "gain": mean(gain, w, 0),
        "interval": [interval.low, interval.high],
        "wins": wins, "losses": losses, "ties": len(rows) - wins - losses, "p_value": p,
    }


def main():
    draw = random.Random(7)
    yes = lambda p: float(draw.random() < p)
    losses = [(round(draw.uniform(0, 4), 6), draw.randint(1, 40)) for _ in range(60)]
    cases = [
        case("answers that got better", "exact_match", [(yes(0.3), yes(0.55), 1) for _ in range(80)], False, 0.95, 42),
        case("answers that did not", "f1",
             [(round(draw.random(), 3), round(draw.random(), 3), 1) for _ in range(41)], False, 0.9, 7),
        case("losses by labels", "loss",
             [(loss, round(loss + draw.gauss(-0.05, 0.2), 6), labels) for loss, labels in losses], True, 0.95, 42),
        case("a few choices", "acc", [(yes(0.5), yes(0.5), 1) for _ in range(9)], False, 0.99, 2**40 + 3),
        case("all alike but one", "acc_norm", [(1.0, 1.0, 1)] * 11 + [(1.0, 0.0, 1)], False, 0.95, 1),
    ]
    signs = [[w, l, stats.binomtest(w, w + l, 0.5).pvalue]
             for w, l in [(1, 0), (5, 0), (8, 2), (13, 12), (60, 40), (520, 480), (700, 300), (5000, 5200), (3, 90)]]
    file = Path(__file__).parent.parent / "testdata/compare/reference.json"
    file.write_text(json.dumps({"cases": cases, "sign_tests": signs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
