"""What is fuzzed: readers of what others wrote, each as a function of a file's bytes.

A target returns where the bytes can be read or are refused in words; any other error, and a refusal that names neither
the file nor the setting, is a fault. `test_fuzz.py` tries each for seconds, `python -m tests.fuzz` for minutes.
"""

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from flows import settings
from flows.errors import SettingsError
from storage import images, leases, snapshots, tombstones
from storage.documents import DocumentError
from storage.roots import Root
from storage.settings.directory import IngestConfig
from storage.settings.images import ImageConfig
from storage.sources import directory
from storage.sources.importers import IMPORTERS, LayoutError, import_source
from tasks.runtime import records, runs

Target = Callable[[bytes], None]
TARGETS: dict[str, tuple[Target, list[bytes]]] = {}  # by name, with bytes that can be read


class Fault(AssertionError):  # noqa: N818  # what is found, not what goes wrong
    """A refusal without a name."""


def target(name: str, *seeds: bytes) -> Callable[[Target], Target]:
    """Enter a function under a name."""

    def enter(function: Target) -> Target:
        TARGETS[name] = (function, list(seeds))
        return function

    return enter


@contextmanager
def refused_by(*kinds: type[Exception], named: str) -> Iterator[None]:
    """Around a read that may be refused, in one line that names the file."""
    try:
        yield
    except kinds as error:
        if named not in str(error) or "\n" in str(error):
            raise Fault(f"{type(error).__name__} does not name {named} in one line: {error}") from error


def _json(**value: object) -> bytes:
    return json.dumps(value).encode()


SHA = "0" * 64
REF = {"name": "images", "path": f"tables/images/{SHA[:24]}.parquet", "sha256": SHA, "rows": 1, "bytes": 1}
DOCUMENTS: dict[str, tuple[str, Callable[[Root], object], bytes]] = {
    "pointer": (
        "exports/current.json",
        snapshots.current,
        _json(version=1, run_id="a", published_at="2026-01-01T00:00:00Z", schema_version="1", fence=3,
              rows={"images": 1}, paths={"images": ["a/x"]}, checksums={"a/x": SHA}),
    ),
    "manifest": (
        "exports/runs/run_id=a/manifest.json",
        lambda root: snapshots.manifest(root, "a"),
        _json(run_id="a", generated_at="2026-01-01T00:00:00Z", metrics=[], inputs={"images": REF}, rows={"images": 1}),
    ),
    "lease": (
        "leases/nightly-1.json",
        leases.held_by_others,
        _json(kind="nightly", is_alone=False, since="2026", machine="m", pid=1, beat_s=1.0),
    ),
    "note": ("runs/a.json", runs.notes, _json(purpose="p", finished=True, made="exports/runs/run_id=a")),
    "record": (
        "cache/a",
        lambda root: list(records.refs_of(records.result_of("cache/a", root))),
        _json(metadata={"serializer": {"type": "json"}}, result=json.dumps({"value": REF})),
    ),
    "tombstones": ("tombstones.json", tombstones.read, _json(key="k", digests=["a", "b"])),
}  # fmt: skip


def _document(path: str, read: Callable[[Root], object]) -> Target:
    def check(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Root(folder)
            root.write(path, data)
            with refused_by(DocumentError, named=path):
                read(root)

    return check


for _name, (_path, _read, _seed) in DOCUMENTS.items():
    target(_name, _seed)(_document(_path, _read))


def _settings(suffix: str) -> Target:
    def check(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"settings{suffix}")
            file.write_bytes(data)
            try:
                settings.load(str(file))
            except SettingsError as error:
                if not all(line.startswith(str(file)) for line in str(error).splitlines()):
                    raise Fault(f"does not name {file} in each line: {error}") from error

    return check


target("toml", b'[training]\nepochs = 3\n[model]\nsystem = "ease"\n[gate]\noverlap = [0.3, 0.05]\n')(_settings(".toml"))
target("yaml", b"training: {epochs: 3, precision: auto}\nmodel:\n  system: cdl\n  loss: hinge\n")(_settings(".yaml"))


@target("assignment", b"training.epochs=3", b"model.system=ease", b"ingest.columns={favorites: {user_id: u}}")
def assignment(data: bytes) -> None:
    """A `--set` of the command line."""
    text = data.decode(errors="surrogateescape")
    with suppress(SettingsError):
        settings.load(None, [text])


def _table(suffix: str) -> Target:
    def check(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, f"images{suffix}").write_bytes(data)
            Path(folder, "favorites.csv").write_text("user_id,image_id\nu,i\n")
            with refused_by(directory.SourceError, named=folder):
                directory.ingest(Root(folder), IngestConfig(max_quarantined_share=1.0))

    return check


def _parquet() -> bytes:
    file = io.BytesIO()
    pl.DataFrame({"image_id": ["i", "j"], "owner_id": ["u", None], "taken_at": [1, 2]}).write_parquet(file)
    return file.getvalue()


target("csv", b"image_id,owner_id,taken_at\ni,u,2020-01-01\nj,,\n", b'image_id;title\n"i";"a ""b"""\n')(_table(".csv"))
target("jsonl", b'{"image_id": "i", "owner_id": "u"}\n{"image_id": 7}\n')(_table(".jsonl"))
target("parquet", _parquet())(_table(".parquet"))


def _pictures() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    files = []
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, **({"progressive": True} if kind == "JPEG" else {}))
        files.append(file.getvalue())
    return files


@target("picture", *_pictures())
def picture(data: bytes) -> None:
    """A picture of a source."""
    config = ImageConfig(size_px=8, max_pixels=10_000)
    with suppress(images.ImageError):
        found = images.decode(data, images.whole(config), config)
        if found.shape != (8, 8, 3):
            raise Fault(f"pixels of the shape {found.shape}")


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([[{0: [1]}, {0: [1]}, {0: [1]}]], dtype=object))
    return file.getvalue()


LAYOUTS = {
    "recbole": ("a.inter", b"user_id:token\titem_id:token\trating:float\ttimestamp:float\nu\ti\t5\t1\n"),
    "lightgcn": ("train.txt", b"0 1 2\n1 2\n"),
    "diffnet": ("a.train.rating", b"0\t1\t1\n1\t2\t1\n"),
    "movielens": ("u.data", b"1\t2\t5\t881250949\n2\t2\t3\t881250950\n"),
    "hetrec-lastfm": ("artists.dat", b"id\tname\turl\tpictureURL\n1\ta\tb\thttp://x/y.jpg\n"),
    "dvbpr": ("a.npy", _npy()),
}


def _layout(name: str, file: str) -> Target:
    def check(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            download = Path(folder, "download")
            download.mkdir()
            (download / file).write_bytes(data)
            path = download / file if name == "dvbpr" else download
            with refused_by(LayoutError, directory.SourceError, named=str(download)):
                import_source(name, path, Path(folder, "out"))

    return check


assert LAYOUTS.keys() <= IMPORTERS.keys()
for _name, (_file, _seed) in LAYOUTS.items():
    target(f"import {_name}", _seed)(_layout(_name, _file))
