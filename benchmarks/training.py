"""CDL's training step and embedding from packed shards beside tensors in memory: `python benchmarks/training.py`.

`--paper` takes a step of 128 triplets in the paper's preset at 256 px too, which is minutes on a CPU; else of 8.
"""

import argparse
import tempfile

from steps import Case, embedding, training_step

from models.devices import choose_device
from storage import shards
from storage.roots import Root
from storage.shards import Shards

SHARD_IMAGES = 256


def main() -> None:
    """Two rows for each preset."""
    parser = argparse.ArgumentParser(description="Time training and embedding from packed shards.")
    parser.add_argument("--paper", action="store_true", help="whole steps in the paper's preset")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way runs (default 3)")
    options = parser.parse_args()
    large = Case("paper", 256, 512, 1) if options.paper else Case("paper", 256, 32, 1, 8)
    for case in (Case("small", 64, 2048, 4), large):
        with tempfile.TemporaryDirectory() as folder:
            root, pixels = Root(folder), case.pixels()
            blocks = [range(first, first + SHARD_IMAGES) for first in range(0, case.images, SHARD_IMAGES)]
            refs = [
                shards.write(
                    [f"{row:09}" for row in block if row < case.images],
                    pixels[block.start : block.stop],
                    "pixels",
                    root,
                )
                for block in blocks
            ]
            gather, device = Shards.open(refs, root).gather, choose_device("auto").type
            training_step(case, gather, device, options.rounds)
            embedding(case, gather, device, options.rounds)


if __name__ == "__main__":
    main()
