#!/usr/bin/env python3
"""Split a CSV into train and test Parquet with pandas and scikit-learn.

    .venv/bin/python scripts/peers/prep_pandas.py [qa.csv] [FOLDER]
"""

import sys
from pathlib import Path

import common
from common import WORK

import pandas as pd
from sklearn.model_selection import train_test_split


def main():
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else WORK / "qa.csv"
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else WORK / "pandas"
    folder.mkdir(parents=True, exist_ok=True)
    imported = common.seconds_since_exec()
    frame = pd.read_csv(source)
    train, test = train_test_split(frame, test_size=0.1, random_state=42)
    train.to_parquet(folder / "train.parquet", index=False)
    test.to_parquet(folder / "test.parquet", index=False)
    common.report(rows=len(frame), train=len(train), test=len(test),
                  work_s=round(common.seconds_since_exec() - imported, 3))


if __name__ == "__main__":
    main()
