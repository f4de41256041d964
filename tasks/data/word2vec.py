"""Vectors of tokens that stand together: skip-gram word2vec by gensim (CDL, section 5).

A token is a tag or, where the community has no tags, an image; a sentence is an image's tags, a user's tags, or a
user's favorites. Gensim is called here, because `models` must import where it is not installed.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from gensim.models import Word2Vec
from scipy.sparse import csr_array

from tasks.runtime.progress import Progress
from tasks.settings.word2vec import Word2VecConfig

MAX_SENTENCE_TOKENS = 10_000  # gensim drops what goes beyond, without a word

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences over one vocabulary, kept as sparse rows: memory is that of the matrices, however often one iterates.

    Each nonempty row of each matrix is a sentence of the columns that it marks; the values do not matter. For tags:
    `Sentences(tags, (image_tags_IT, user_tags_UT))`; without tags: `Sentences(image_ids, (favorites_UI,))`.
    """

    tokens: np.ndarray  # object (T,): the columns' names
    matrices: tuple[csr_array, ...]  # each (any number of sentences, T), no pair twice

    def __iter__(self) -> Iterator[np.ndarray]:
        """Each sentence as its int columns."""
        for matrix in self.matrices:
            for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
                if stop > start:
                    yield matrix.indices[start:stop]

    def counts(self) -> np.ndarray:
        """int64 (T,): in how many sentences each token stands."""
        counts = np.zeros(len(self.tokens), np.int64)
        for matrix in self.matrices:
            counts += np.bincount(matrix.indices, minlength=len(counts))
        return counts


class _ShuffledEpochs:
    """The sentences as gensim wants them, in another order of their tokens each time one iterates.

    Tags and favorites have no order, so the window has to meet every pair of a sentence in the end.
    """

    def __init__(self, sentences: Sentences, seed: int) -> None:
        self._sentences = sentences
        self._seed = seed
        self._epoch = 0
        self.on_sentence: Callable[[], object] = lambda: None

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng((self._seed, self._epoch))
        self._epoch += 1
        for sentence in self._sentences:
            shuffled = rng.permutation(sentence).tolist()
            for start in range(0, len(shuffled), MAX_SENTENCE_TOKENS):
                yield shuffled[start : start + MAX_SENTENCE_TOKENS]
                self.on_sentence()

    def __len__(self) -> int:
        """How many pieces one epoch yields."""
        return sum(-(-len(sentence) // MAX_SENTENCE_TOKENS) for sentence in self._sentences)


def train(sentences: Sentences, config: Word2VecConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The vectors of the tokens that occur at least `min_count` times, in the order of `sentences.tokens`.

    Equal input gives equal bytes on one kind of machine, in any process: one worker, and tokens are handed to gensim
    as column numbers, whose hash does not change with PYTHONHASHSEED.

    Returns:
        tokens: object (V,).
        counts: int64 (V,), in how many sentences each stands.
        vectors: float32 (V, dimensions), not normalised.
    Raises:
        ValueError: no token occurs often enough.
    """
    counts = sentences.counts()
    kept = np.flatnonzero(counts >= max(config.min_count, 1))
    if not len(kept):
        raise ValueError(
            f"none of the {len(counts)} tokens stands in min_count = {config.min_count} sentences "
            f"(the most frequent stands in {counts.max(initial=0)}); lower min_count"
        )
    model = Word2Vec(
        sg=1,
        vector_size=config.dimensions,
        window=config.window,
        shrink_windows=False,  # nearness means nothing in a shuffled sentence
        negative=config.negative,
        sample=0,  # thinning out frequent words is for language; of twenty genres it would leave a tenth
        alpha=config.learning_rate,
        min_count=1,
        sorted_vocab=0,  # keep our order
        workers=1,
        seed=config.seed,
    )
    model.build_vocab_from_freq(dict(zip(kept.tolist(), counts[kept].tolist(), strict=True)))
    epochs = _ShuffledEpochs(sentences, config.seed)
    progress = Progress("learn-vectors", config.epochs * len(epochs), "sentences")
    epochs.on_sentence = progress.advance
    model.train(epochs, total_examples=len(epochs), epochs=config.epochs)
    log.info("word2vec: %d of %d tokens, %d uses", len(kept), len(counts), counts.sum())
    return sentences.tokens[kept], counts[kept], np.asarray(model.wv.vectors, np.float32)
