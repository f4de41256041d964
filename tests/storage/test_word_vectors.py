import gzip
import pickle
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors

from storage import word_vectors

WORDS = {"cat": [1, 0, 0], "Paris": [0, 1, 0], "new_york": [0, 0, 1], "boxing": [2, 0, 0], "story": [0, 4, 0]}
NAMES = ["w.bin", "w.bin.gz", "w.txt", "w.vec.gz", "w.kv"]


def saved(file: Path, words: dict[str, list[int]]) -> Path:
    vectors = KeyedVectors(3)
    vectors.add_vectors(list(words), np.array(list(words.values()), np.float32))
    if file.suffix == ".kv":
        vectors.save(str(file), separately=["vectors"], sep_limit=0)
    else:
        vectors.save_word2vec_format(str(file), binary=".bin" in file.name)
    return file


@pytest.mark.parametrize(
    "attributes",
    [
        {"key_to_index": {"cat": -5}, "vectors": np.ones((1, 2))},
        {"key_to_index": {"cat": 1}, "vectors": np.ones((1, 2))},
        {"key_to_index": {"cat": "x"}, "vectors": np.ones((1, 2))},
        {"key_to_index": {"cat": 0.5}, "vectors": np.ones((1, 2))},
        {"key_to_index": {"cat": [0]}, "vectors": np.ones((1, 2))},
        {"key_to_index": {"cat": None, "dog": 0}, "vectors": np.ones((1, 2))},
        {"key_to_index": {"cat": 0}, "vectors": np.array([["a"]])},
        {"key_to_index": {"cat": 0}, "vectors": np.array([[1j]])},
        {"key_to_index": {"cat": 0}, "__numpys": 3},
        {"key_to_index": [], "vectors": 3},
    ],
)
def test_a_kv_with_odd_attributes_is_refused_by_name(tmp_path, attributes):
    vectors = KeyedVectors(1)
    vectors.__dict__ = attributes
    (tmp_path / "odd.kv").write_bytes(pickle.dumps(vectors))
    with pytest.raises(ValueError, match=r"odd\.kv: .*download the file again"):
        word_vectors.load(tmp_path / "odd.kv", ["cat"])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of pickle's own C code
def test_a_kv_that_is_cut_or_damaged_anywhere_is_refused_or_read(tmp_path):
    vectors = KeyedVectors(2)
    vectors.add_vectors(["cat", "dog"], np.ones((2, 2), np.float32))
    vectors.save(str(tmp_path / "w.kv"))
    whole = (tmp_path / "w.kv").read_bytes()
    changed = [whole[:end] for end in range(0, len(whole), 3)]
    changed += [whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(len(whole))]
    for number, data in enumerate([*changed, b"(" * 100_000, b"0.", b"h\x05.", b"]" * 10 + b"a" * 20 + b"."]):
        (tmp_path / f"{number}.kv").write_bytes(data)
        with suppress(ValueError):
            word_vectors.load(tmp_path / f"{number}.kv", ["cat"])


@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_the_same_vectors(tmp_path, name):
    found, vectors = word_vectors.load(saved(tmp_path / name, WORDS), ["boxing", "unheard of", "cat"])
    assert found.tolist() == [True, False, True]
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[2, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_a_tag_is_found_as_written_or_lower_cased_or_with_underscores_or_by_its_words(tmp_path):
    file = saved(tmp_path / "w.bin", WORDS)
    tags = ["Paris", "paris", "CAT", "New York", "boxing story", "boxing-of-cats", "of"]
    found, vectors = word_vectors.load(file, tags)
    assert found.tolist() == [True, False, True, True, True, True, False]
    assert vectors[[0, 2, 3, 4, 5]].tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 2, 0], [2, 0, 0]]


def test_a_small_kv_holds_its_vectors_inside_and_a_text_word_may_hold_spaces(tmp_path):
    vectors = KeyedVectors(3)
    vectors.add_vectors(["cat"], np.ones((1, 3), np.float32))
    vectors.save(str(tmp_path / "inside.kv"))
    assert word_vectors.load(tmp_path / "inside.kv", ["cat"])[1].tolist() == [[1, 1, 1]]
    (tmp_path / "w.vec").write_text("2 2\nnew york 1 2 \nnew 3 4 \n")  # fastText ends its lines with a space
    assert word_vectors.load(tmp_path / "w.vec", ["new york", "new"])[1].tolist() == [[1, 2], [3, 4]]


def test_binary_records_may_cross_chunks_and_end_with_a_new_line(tmp_path, monkeypatch):
    monkeypatch.setattr(word_vectors, "CHUNK_BYTES", 20)
    records = [f"w{n} ".encode() + np.full(3, n, "<f4").tobytes() + b"\n" for n in range(40)]
    (tmp_path / "w.bin").write_bytes(b"40 3\n" + b"".join(records))
    found, vectors = word_vectors.load(tmp_path / "w.bin", [f"w{n}" for n in range(40)])
    assert found.all()
    assert vectors[:, 1].tolist() == list(range(40))


def test_the_first_of_two_equal_words_counts(tmp_path):
    (tmp_path / "w.txt").write_text("2 1\na 1\na 2\n")
    assert word_vectors.load(tmp_path / "w.txt", ["a"])[1].tolist() == [[1]]


def test_a_kv_with_other_code_in_it_is_refused_before_the_code_runs(tmp_path):
    class Harm:
        def __reduce__(self):
            return Path.touch, (tmp_path / "harmed",)

    (tmp_path / "w.kv").write_bytes(pickle.dumps({"vectors": Harm()}))
    with pytest.raises(ValueError, match=r"w\.kv: it holds .*, but only gensim 4's KeyedVectors"):
        word_vectors.load(tmp_path / "w.kv", ["a"])
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("w.bin", b"3 2\na " + bytes(8) + b"b " + bytes(8), "after 2 of 3 words"),
        ("w.bin", b"1 2\na " + bytes(8) + b"b " + bytes(8), "goes on after the 1 words"),
        ("w.bin", b"9 2\n" + b"x" * 4_000_000, "no whole record"),
        ("w.txt", b"2 2\na 1 2\nb 3\n", "line 3 of 3"),
        ("w.txt", b"2 2\na 1 2\n", "line 3 of 3"),
        ("w.txt", b"1 2\na 1 two\n", "could not convert"),
        ("w.txt", b"a 0.5 0.25\n", "first line must hold"),  # GloVe has no header
        ("w.vec.gz", gzip.compress(b"1 2\na 1 2\n", mtime=0)[:-12], "ended before"),
        ("w.vec.gz", b"1 2\na 1 2\n", "Not a gzipped file"),
        ("w.kv", pickle.dumps({"a": 1}), "no key_to_index"),
        ("w.kv", b"1 2\na 1 2\n", "MARK"),
        ("w.kv", b"\x80\x04K\x01K\x01K\x02s.", "it is no whole pickle"),
        ("w.npy", b"", "word vectors are read from"),
    ],
)
def test_a_damaged_or_misnamed_file_is_an_error_that_names_it(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{re.escape(str(tmp_path / name))}: .*{problem}"):
        word_vectors.load(tmp_path / name, ["a", "b"])


def test_a_missing_file_raises_another_error_than_a_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        word_vectors.load(tmp_path / "w.bin", ["a"])
    (saved(tmp_path / "w.kv", WORDS).with_name("w.kv.vectors.npy")).unlink()
    with pytest.raises(FileNotFoundError, match=r"w\.kv\.vectors\.npy"):
        word_vectors.load(tmp_path / "w.kv", ["a"])
