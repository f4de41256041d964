"""Pickles that want more than data are refused, and nothing of theirs runs."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from storage.sources.importers.reading import LayoutError
from storage.sources.importers.restricted_pickle import load, load_pickle
from tests.storage.sources.importers import python2
from tests.storage.sources.importers.contract import picture


def kept(data: bytes) -> bytes:
    return data


class Calling:
    """Pickles as the call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def saved(file: Path, *parts: Any) -> Path:
    array = np.empty(len(parts), object)
    array[:] = parts
    np.save(file, array)
    return file


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (os.system, r"posix\.system"),
        (eval, r"builtins\.eval"),
        (exec, r"builtins\.exec"),
        (getattr, r"builtins\.getattr"),
        (np.load, r"numpy\.load"),
        (np.frombuffer, r"numpy.*frombuffer"),
        (pickle.loads, r"_pickle\.loads"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_call_of_anything_else_is_refused_by_name_and_not_made(
    tmp_path: Path, function: Callable[..., Any], named: str
) -> None:
    trace = tmp_path / "it ran"
    file = saved(tmp_path / "evil.npy", Calling(function, f"open({str(trace)!r}, 'w')"))
    with pytest.raises(LayoutError, match=rf"evil\.npy: refused: it asks for {named}, which no data set needs"):
        load(file, kept)
    assert not trace.exists()


def test_the_trap_would_run_where_nothing_refused_it(tmp_path: Path) -> None:
    """Else the test above would pass for want of a trap."""
    trace = tmp_path / "it ran"
    np.load(saved(tmp_path / "evil.npy", Calling(eval, f"open({str(trace)!r}, 'w').close()")), allow_pickle=True)
    assert trace.exists()


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", r"os\.system"),  # protocol 0, as a hand would write it
        (b"(S'true'\nios\nsystem\n.", r"os\.system"),  # the opcode INST
        (b"\x80\x02\x8c\x02os\x8c\x06system\x93.", r"os\.system"),  # STACK_GLOBAL
        (b"\x80\x02P1\n.", "outside the file"),  # a persistent id
        (b"\x80\x02\x82\x01.", "the extension 1"),
        (b"c_codecs\nencode\n(S'a'\nS'zip'\ntR.", "the codec b'zip'"),
        (b"\x80\x02T\xff\xff\xff\xff.", "-1 bytes"),
        (b"\x80\x02]", "EOFError"),  # cut short
    ],
)
def test_every_way_to_name_a_thing_is_watched(tmp_path: Path, stream: bytes, reason: str) -> None:
    file = tmp_path / "evil.npy"
    with file.open("wb") as opened:
        np.lib.format.write_array_header_1_0(opened, {"descr": "|O", "fortran_order": False, "shape": (1,)})
        opened.write(stream)
    with pytest.raises(LayoutError, match=rf"evil\.npy: refused: .*{reason}"):
        load(file, kept)


def test_a_dtype_cannot_have_bytes_taken_for_objects(tmp_path: Path) -> None:
    """numpy's own dtype takes its flags from the pickle: one that hides objects makes pointers of the array's bytes."""
    file = tmp_path / "evil.npy"
    with file.open("wb") as opened:
        np.lib.format.write_array_header_1_0(opened, {"descr": "|O", "fortran_order": False, "shape": (1,)})
        opened.write(
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
            b"(I1\n(I1\ntcnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'AAAAAAAA'\ntb."
        )
    assert load(file, kept) == [65] * 8  # plain numbers, no pointers


@pytest.mark.parametrize("save", [python2.save, lambda file, parts: saved(file, *parts)], ids=["python2", "python3"])
def test_what_data_sets_hold_is_read_as_plain_values(tmp_path: Path, save: Callable[[Path, list[Any]], None]) -> None:
    shown: list[bytes] = []
    held = [{b"a": [1, 2.5, None, True]}, np.arange(3.0), np.float32(1.5), np.array([b"x", {}], object), picture(9)]
    save(tmp_path / "data.npy", held)

    assert load(tmp_path / "data.npy", lambda data: shown.append(data) or "a picture") == [
        {b"a": [1, 2.5, None, True]}, [0.0, 1.0, 2.0], 1.5, [b"x", {}], "a picture"
    ]  # fmt: skip
    assert shown == [picture(9)]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("of", [f"{name}_{kind}" for name in ("coo", "csr", "csc") for kind in ("matrix", "array")])
def test_every_format_and_protocol_of_a_sparse_matrix_holds_the_same_pairs(
    tmp_path: Path, of: str, protocol: int
) -> None:
    dense = np.array([[0, 2.5, 0, 0], [0, 0, 0, 0], [-1, 0, 0, 3]])
    (tmp_path / "data.pkl").write_bytes(pickle.dumps({"one": getattr(sp, of)(dense)}, protocol=protocol))
    matrix = load_pickle(tmp_path / "data.pkl")["one"]
    row, column = matrix.pairs()

    assert matrix.shape == (3, 4)
    assert set(zip(row.tolist(), column.tolist(), strict=True)) == {(0, 1), (2, 0), (2, 3)}


@pytest.mark.parametrize(
    ("held", "named"),
    [
        (Calling(os.system, "true"), r"posix\.system"),
        ({"one": Calling(np.load, "/etc/passwd")}, r"numpy\.load"),
        (sp.lil_matrix((2, 2)), r"scipy\.sparse\._lil\.lil_matrix"),
        (Path("a"), r"pathlib.*Path"),
    ],
)
def test_a_pickle_of_anything_but_matrices_and_plain_values_is_refused_by_name(
    tmp_path: Path, held: Any, named: str
) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "evil.pkl").write_bytes(pickle.dumps(held, protocol=protocol))
        with pytest.raises(LayoutError, match=rf"evil\.pkl: refused: it asks for ({named}|copyreg\._reconstructor)"):
            load_pickle(tmp_path / "evil.pkl")


@pytest.mark.parametrize("stream", [b"", b"no pickle", b"\x80\x02]", pickle.dumps(sp.coo_matrix(np.eye(9)))[:-20]])
def test_a_file_that_is_no_whole_pickle_is_refused(tmp_path: Path, stream: bytes) -> None:
    (tmp_path / "data.pkl").write_bytes(stream)
    with pytest.raises(LayoutError, match=r"data\.pkl: refused: "):
        load_pickle(tmp_path / "data.pkl")


@pytest.mark.parametrize("content", [b"", b"no numpy file", b"\x93NUMPY\x09\x00"])
def test_a_file_that_is_no_npy_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.npy").write_bytes(content)
    with pytest.raises(LayoutError, match=r"data\.npy: no \.npy file"):
        load(tmp_path / "data.npy", kept)


def test_a_file_of_numbers_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", np.arange(3))
    with pytest.raises(LayoutError, match="it holds int64, not pickled objects"):
        load(tmp_path / "data.npy", kept)
