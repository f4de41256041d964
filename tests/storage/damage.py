"""Damage to a file of a root, as a disk or a store does it: unseen, and found by a process that starts afterwards."""

import os
from collections.abc import Callable
from pathlib import Path

from storage.roots import Root, digests, scratch_folder


def _changed(change: Callable[[bytes], bytes]) -> Callable[[Root, str], None]:
    def damage(root: Root, path: str) -> None:
        data = change(root.read(path))
        if root.is_remote:
            root.write(path, data)
            for copy in (scratch_folder() / "fetched").glob(f"*/{Path(path).name}"):
                copy.unlink()  # as on another machine
        else:
            file = Path(root.address) / path
            before = file.stat()
            file.write_bytes(data)  # in place: a copy by hard link is the same bytes
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        digests._known.clear()

    return damage


flip = _changed(lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])
cut_off = _changed(lambda data: data[: len(data) // 2])
empty = _changed(lambda data: b"")
