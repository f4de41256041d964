"""Vectors of tokens that stand together: skip-gram word2vec by gensim (CDL, section 5).

A token is a tag, or an image where the community has no tags. Gensim is called here because `models` must import
where it is not installed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from gensim.models import Word2Vec
from scipy.sparse import csr_array

MAX_SENTENCE_TOKENS = 10_000  # gensim drops what goes beyond, without a word


@dataclass(frozen=True, kw_only=True)
class Word2VecConfig:
    dimensions: int = 64
    window: int = 5
    epochs: int = 20
    min_count: int = 1
    negative: int = 5
    sample: float = 1e-3
    alpha: float = 0.025
    shrink: bool = False
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Sentences:
    tokens: np.ndarray
    matrices: tuple[csr_array, ...]

    def __iter__(self) -> Iterator[np.ndarray]:
        for matrix in self.matrices:
            starts = matrix.indptr.tolist()
            for start, stop in zip(starts, starts[1:], strict=False):
                if stop > start:
                    yield matrix.indices[start:stop]

    def counts(self):
        return sum(np.bincount(matrix.indices, minlength=len(self.tokens)) for matrix in self.matrices)


class _ShuffledEpochs:
    def __init__(self, sentences, seed):
        self.sentences, self.seed, self.epoch = sentences, seed, 0

    def __iter__(self):
        rng = np.random.default_rng((self.seed, self.epoch))
        self.epoch += 1
        for sentence in self.sentences:
            shuffled = rng.permutation(sentence).tolist()
            for start in range(0, len(shuffled), MAX_SENTENCE_TOKENS):
                yield shuffled[start : start + MAX_SENTENCE_TOKENS]


def train(sentences, config):
    counts = sentences.counts()
    kept = np.flatnonzero(counts >= max(config.min_count, 1))
    model = Word2Vec(
        vector_size=config.dimensions,
        window=config.window,
        negative=config.negative,
        sg=1,
        seed=config.seed,
        alpha=config.alpha,
        workers=1,
        min_count=1,
        sorted_vocab=0,
        sample=config.sample,
        shrink_windows=config.shrink,
        hashfxn=lambda s: crc32(str(s).encode()),
    )
    model.build_vocab_from_freq(dict(zip(kept.tolist(), counts[kept].tolist(), strict=True)))
    n = sum(-(-len(s) // MAX_SENTENCE_TOKENS) for s in sentences)
    model.train(_ShuffledEpochs(sentences, config.seed), total_examples=n, epochs=config.epochs)
    return sentences.tokens[kept], counts[kept], model.wv.vectors
