"""Two systems on the same users: the difference of each metric, its interval, and a paired test.

    python benchmarks/paired.py ROOT/comparisons/ID/users/tastegraph.parquet lightgcn.parquet

Takes two files of the table USER_METRICS; a comparison writes one for each system. Users that are in only one of them
are an error, as the two were then not measured on one split.
"""

import argparse
import sys

import numpy as np
import pyarrow.parquet as pq

from models.evaluation import metrics

KEY = ("protocol", "slice", "metric", "k")
Figures = dict[tuple[str | int, ...], dict[str, float]]


def main() -> None:
    """Print a line for each figure that both files have."""
    parser = argparse.ArgumentParser(description="Test the difference of two systems, paired over users.")
    parser.add_argument("one", help="Parquet of USER_METRICS")
    parser.add_argument("other", help="the same of another system")
    files = parser.parse_args()
    one, other = _read(files.one), _read(files.other)
    print(f"{'figure':28} {'users':>6} {'one':>7} {'other':>7} {'difference':>10} {'95 % interval':>18} {'p':>7}")
    for figure in sorted(one.keys() & other.keys()):
        if apart := one[figure].keys() ^ other[figure].keys():
            sys.exit(f"{figure}: {len(apart)} users are in only one file, such as {min(apart)}: not the same split")
        users = sorted(one[figure])
        values_2U = np.array([[of[figure][user] for user in users] for of in (one, other)])
        difference, p_value = metrics.paired_test(*values_2U)
        means = " ".join(f"{mean:7.4f}" for mean in values_2U.mean(axis=1))
        interval = f"[{difference.low:+.4f}, {difference.high:+.4f}]"
        print(f"{_name(figure):28} {len(users):6} {means} {difference.value:+10.4f} {interval:>18} {p_value:7.4f}")


def _name(figure: tuple[str | int, ...]) -> str:
    protocol, slice_, metric, k = figure
    return f"{protocol} {slice_} {metric}" + (f"@{k}" if k else "")


def _read(file: str) -> Figures:
    figures: Figures = {}
    for row in pq.read_table(file).to_pylist():
        figures.setdefault(tuple(row[key] for key in KEY), {})[row["user_id"]] = row["value"]
    return figures


if __name__ == "__main__":
    main()
