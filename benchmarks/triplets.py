"""Triplets with every exclusion exact, beside a uniform sampler: `python benchmarks/triplets.py`.

The reference draws as Cornac's `uij_iter` does, one image at a time, again while it is a favorite of the user; it knows
no other exclusion. `--paper` takes the size of the paper's community; figures are seconds for each million triplets,
the assignment of negatives included.
"""

import argparse

import numpy as np
from reach import Claim, Run, measured, report
from scipy.sparse import csr_array

from models.cdl import negatives, triplets
from models.community import Signals
from models.settings.negatives import NegativeConfig
from models.settings.triplets import TripletConfig

BATCH = 100_000  # triplets that the reference draws


def main() -> None:
    parser = argparse.ArgumentParser(description="Time triplets beside a uniform sampler.")
    parser.add_argument("--paper", action="store_true", help="54,173 users, 101,496 images, 35,844 tags")
    options = parser.parse_args()
    scale = 1.0 if options.paper else 0.1
    num_users, num_images, num_groups, num_tags = (round(n * scale) for n in (54_173, 101_496, 6_439, 35_844))
    rng = np.random.default_rng(0)
    signals = Signals(
        _pairs(rng, num_users, num_images, 6),
        _pairs(rng, num_users, num_tags, 24),
        _pairs(rng, num_images, num_tags, 5),
        _pairs(rng, num_users, num_users, 8),
        _pairs(rng, num_users, num_groups, 4),
    )
    drawn: list[int] = []

    def ours() -> None:
        assignment = negatives.assign(signals, NegativeConfig())
        sampled = triplets.sample(signals, assignment, None, TripletConfig(), np.ones(num_images, bool))
        drawn.append(len(sampled.user))

    runs: dict[str, Run] = {"ours": ours, "uniform": lambda: _uniform(signals.favorites_UI)}
    found = measured(runs, warm_up=False)
    for name, number in (("ours", drawn[0]), ("uniform", BATCH)):
        for values in found[name]:
            values[:] = [seconds * 1e6 / number for seconds in values]
    claim = Claim(f"a million triplets, {num_users:,} users", "uniform sampler as Cornac's", 0.1)
    report(claim, found["ours"], found["uniform"], triplets=drawn[0])


def _uniform(favorites_UI: csr_array) -> np.ndarray:
    """A negative for each of BATCH favorites."""
    rng = np.random.RandomState(0)
    users, images = favorites_UI.nonzero()
    ratings = dict.fromkeys(zip(users.tolist(), images.tolist(), strict=True), 1.0)
    everything = np.arange(favorites_UI.shape[1])
    drawn = np.empty(BATCH, np.int64)
    for place, pair in enumerate(rng.randint(0, len(users), BATCH)):
        image = rng.choice(everything)
        while ratings.get((users[pair], image), 0.0) >= 1.0:
            image = rng.choice(everything)
        drawn[place] = image
    return drawn


def _pairs(rng: np.random.Generator, num_rows: int, num_columns: int, each: int) -> csr_array:
    rows, columns = np.repeat(np.arange(num_rows), each), rng.zipf(1.3, num_rows * each) % num_columns
    columns = rng.permutation(num_columns)[columns]
    pairs = np.unique(rows * num_columns + columns)
    entries = (np.ones(len(pairs), np.float32), (pairs // num_columns, pairs % num_columns))
    return csr_array(entries, shape=(num_rows, num_columns))


if __name__ == "__main__":
    main()
