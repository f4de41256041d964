import hashlib
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from tasks.data import word2vec
from tasks.data.word2vec import Sentences, train
from tasks.settings.word2vec import Word2VecConfig

CONFIG = Word2VecConfig(dimensions=16, epochs=20)


def two_topics() -> Sentences:
    """Sentences of four of the six tokens of one topic or of the other."""
    rng = np.random.default_rng(0)
    rows = [topic * 6 + rng.choice(6, 4, replace=False) for topic in (0, 1) for _ in range(150)]
    table = np.zeros((len(rows), 12), np.float32)
    for row, columns in enumerate(rows):
        table[row, columns] = 1
    tokens = np.array([f"{topic} {n}" for topic in ("sea", "city") for n in range(6)], object)
    return Sentences(tokens, (csr_array(table[:200]), csr_array(table[200:])))


def test_tokens_of_one_topic_end_up_nearer_than_those_of_two():
    tokens, counts, vectors = train(two_topics(), CONFIG)
    assert tokens.tolist() == two_topics().tokens.tolist()
    assert counts.sum() == 300 * 4
    assert vectors.dtype == np.float32
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    nearness = unit @ unit.T
    within = [nearness[:6, :6], nearness[6:, 6:]]
    assert min(block.min() for block in within) > nearness[:6, 6:].max()


def test_equal_input_gives_equal_bytes_in_processes_of_different_string_hashes():
    program = (
        "import hashlib, tests.tasks.data.test_word2vec as t; "
        "print(hashlib.sha256(t.train(t.two_topics(), t.CONFIG)[2].tobytes()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert digests == {hashlib.sha256(train(two_topics(), CONFIG)[2].tobytes()).hexdigest()}


def test_another_seed_gives_other_vectors():
    first, other = (train(two_topics(), Word2VecConfig(dimensions=16, epochs=1, seed=seed))[2] for seed in (0, 1))
    assert (first != other).any()


def test_the_order_within_a_sentence_is_drawn_anew_each_epoch_and_long_sentences_are_cut(monkeypatch):
    monkeypatch.setattr(word2vec, "MAX_SENTENCE_TOKENS", 4)
    sentences = Sentences(np.array(list("abcdefghij"), object), (csr_array(np.ones((1, 10))),))
    epochs = word2vec._ShuffledEpochs(sentences, seed=0)
    first, second = list(epochs), list(epochs)
    assert [len(piece) for piece in first] == [4, 4, 2]
    assert len(epochs) == 3
    assert first != second
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(10))


def test_rare_and_unused_tokens_get_no_vector():
    matrix = csr_array(np.array([[1, 1, 0, 1], [1, 0, 0, 1]]))
    sentences = Sentences(np.array(["a", "b", "c", "d"], object), (matrix, csr_array((5, 4), dtype=np.float32)))
    tokens, counts, vectors = train(sentences, Word2VecConfig(dimensions=8, epochs=1))
    assert (tokens.tolist(), counts.tolist(), vectors.shape) == (["a", "b", "d"], [2, 1, 2], (3, 8))
    assert train(sentences, Word2VecConfig(dimensions=8, epochs=1, min_count=2))[0].tolist() == ["a", "d"]


def test_a_corpus_without_frequent_tokens_is_an_error():
    with pytest.raises(ValueError, match=r"min_count = 3 sentences \(the most frequent stands in 1"):
        train(Sentences(np.array(["a"], object), (csr_array(np.ones((1, 1))),)), Word2VecConfig(min_count=3))
