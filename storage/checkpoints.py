"""Checkpoints: a nested dict of tensors and plain values as one safetensors file. No pickles, so loading runs no code.

Each tensor is named by its place in the dict (`model/towers.0.weight`); the dict itself, with every value that is not a
tensor, is JSON in the file's metadata. Equal states give equal bytes.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from storage.refs import Ref
from storage.refs import store as store_file
from storage.roots import Root, digest_once

_METADATA = "tastegraph.checkpoint"
SUFFIX = ".safetensors"
FITTED_STATE = "state"  # the outermost key of a fitted system's state; other checkpoints have other keys


def save(state: dict[str, Any], root: Root, path: str) -> Ref:
    """The ref of a state that is written as `<path>.<sha256>.safetensors`, atomically: a kill leaves no part of it.

    Dicts (keys str or int), lists and tuples may nest; leaves are tensors, str, int, float, bool and None. Raises
    TypeError for anything else, and names its place.
    """
    with root.workspace() as folder:
        file = _write(state, folder)
        sha256, size = digest_once(file), file.stat().st_size
        ref = Ref("state", f"{path}.{sha256}{SUFFIX}", sha256, 0, size)
        root.put(file, ref.path)
        return ref


def saved(folder: str, root: Root) -> list[Ref]:
    """The states that `save` wrote to a folder, by name."""
    names = [(entry, re.search(rf"\.([0-9a-f]{{64}}){SUFFIX}$", entry.path)) for entry in root.entries(folder)]
    return [Ref("state", entry.path, match[1], 0, entry.size) for entry, match in names if match]


def store(state: dict[str, Any], name: str, root: Root) -> Ref:
    """The ref of a finished state, whose file is named by its content. Equal states give the same ref."""
    with root.workspace() as folder:
        return store_file(_write(state, folder), f"checkpoints/{name}", name, 0, root)


def load(ref: Ref, root: Root, device: str = "cpu") -> dict[str, Any]:
    """The saved state, with its tensors on `device`.

    Raises FileNotFoundError, DamagedError, and ValueError where the file is no checkpoint.
    """
    file = ref.local(root)
    try:
        with safe_open(file, framework="pt", device=device) as content:
            tree = json.loads((content.metadata() or {})[_METADATA])
            state: dict[str, Any] = _unfold(tree, content.get_tensor)
            return state
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{root.url(ref.path)}: no checkpoint ({error})") from error


def keys_of(file: Path) -> set[str | int]:
    """The outermost keys of a checkpoint in a local file; its tensors are not read. Raises ValueError if damaged."""
    try:
        with safe_open(file, framework="pt") as content:
            tree = json.loads((content.metadata() or {})[_METADATA])
            return {key for key, _ in tree["dict"]}
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{file}: not a whole checkpoint ({error})") from error


def _write(state: dict[str, Any], folder: Path) -> Path:
    tensors: dict[str, Any] = {}
    tree = json.dumps(_fold(state, "", tensors))
    save_file(tensors, file := folder / f"checkpoint{SUFFIX}", metadata={_METADATA: tree})
    return file


def _fold(value: Any, place: str, tensors: dict[str, Any]) -> Any:
    """The value as JSON, its tensors in `tensors`. Containers other than lists are tagged, for `_unfold` to restore."""
    if hasattr(value, "detach"):
        name = place
        while name in tensors:  # keys 1 and "1" in one dict, or a key with a slash
            name += "'"
        # A copy, because tied weights share memory, which the format refuses.
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        if wrong := [key for key in value if type(key) not in (str, int)]:
            raise TypeError(f"{place or 'the state'}: key {wrong[0]!r} is {type(wrong[0]).__name__}, not str or int")
        return {"dict": [[key, _fold(item, f"{place}/{key}".lstrip("/"), tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [_fold(item, f"{place}/{number}", tensors) for number, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise TypeError(
        f"{place or 'the state'}: {type(value).__name__} cannot be saved; a checkpoint holds tensors, dicts, lists, "
        f"tuples, str, int, float, bool and None"
    )


def _unfold(value: Any, tensor: Callable[[str], Any]) -> Any:
    match value:
        case {"tensor": name}:
            return tensor(name)
        case {"dict": items}:
            return {key: _unfold(item, tensor) for key, item in items}
        case {"tuple": items}:
            return tuple(_unfold(item, tensor) for item in items)
        case list():
            return [_unfold(item, tensor) for item in value]
        case _:
            return value
