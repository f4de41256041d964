"""word2vec of tags beside gensim alone on the same sentences: `python benchmarks/vectors.py`.

Gensim alone has the sentences as lists in memory, in one order; ours makes them from sparse rows and shuffles each anew
in every epoch. `--paper` takes the tags of the paper's community at 300 dimensions.
"""

import argparse

import numpy as np
from gensim.models import Word2Vec
from reach import Claim, measured, report
from scipy.sparse import csr_array

from tasks.data import word2vec
from tasks.settings.word2vec import Word2VecConfig


def main() -> None:
    parser = argparse.ArgumentParser(description="Time word2vec beside gensim alone.")
    parser.add_argument("--paper", action="store_true", help="35,844 tags of 101,496 images and 54,173 users")
    parser.add_argument("--epochs", type=int, default=3, help="passes over the sentences (default 3)")
    options = parser.parse_args()
    scale = 1.0 if options.paper else 0.1
    num_users, num_images, num_tags = (round(n * scale) for n in (54_173, 101_496, 35_844))
    config = Word2VecConfig(epochs=options.epochs, dimensions=300 if options.paper else 64)
    rng = np.random.default_rng(0)
    matrices = (_tags(rng, num_images, num_tags, 12), _tags(rng, num_users, num_tags, 24))
    sentences = word2vec.Sentences(np.array([str(tag) for tag in range(num_tags)], object), matrices)
    lists = [sentence.tolist() for sentence in sentences]
    counts = {tag: count for tag, count in enumerate(sentences.counts().tolist()) if count}

    def gensim_alone() -> None:
        model = Word2Vec(
            sg=1,
            vector_size=config.dimensions,
            window=config.window,
            shrink_windows=False,
            negative=config.negative,
            sample=0,
            alpha=config.learning_rate,
            min_count=1,
            sorted_vocab=0,
            workers=1,
            seed=config.seed,
        )
        model.build_vocab_from_freq(counts)
        model.train(lists, total_examples=len(lists), epochs=config.epochs)

    found = measured({"ours": lambda: word2vec.train(sentences, config), "gensim": gensim_alone}, warm_up=False)
    claim = Claim(f"word2vec, {num_tags:,} x {config.dimensions}, {len(lists):,} sentences", "gensim alone", 1.05)
    report(claim, found["ours"], found["gensim"])


def _tags(rng: np.random.Generator, num_rows: int, num_tags: int, each: int) -> csr_array:
    rows, tags = np.repeat(np.arange(num_rows), each), rng.zipf(1.3, num_rows * each) % num_tags
    pairs = np.unique(rows * num_tags + tags)
    return csr_array((np.ones(len(pairs), bool), (pairs // num_tags, pairs % num_tags)), shape=(num_rows, num_tags))


if __name__ == "__main__":
    main()
