"""Images as the report shows them: title, tags, and a thumbnail of the picture."""

from collections.abc import Mapping

import numpy as np
import polars as pl
import pyarrow as pa

from storage import images, matrices, parquet
from storage.roots import Root
from storage.settings.images import ImageLimits
from storage.shards import Shards
from tasks.night.records import Night
from tasks.pages.contents import Picture
from tasks.pages.sprites import THUMBNAIL_PX

THUMBNAIL = images.View(size_px=THUMBNAIL_PX, keeps_aspect=True)


def pictures_by_id(ids: np.ndarray, night: Night, root: Root) -> dict[str, Picture]:
    """These images, by id."""
    wanted = pl.LazyFrame({"image_id": ids.tolist()})
    tags = (
        parquet.scan(night.community.tables["image_tags"], root).group_by("image_id").agg(pl.col("tag").sort().head(8))
    )
    rows = (
        wanted.join(
            parquet.scan(night.community.tables["images"], root).select("image_id", "title", "path"),
            on="image_id",
            how="left",
        )
        .join(tags, on="image_id", how="left", maintain_order="left")
        .collect()
        .to_dicts()
    )
    jpegs = _thumbnails({row["image_id"]: row["path"] for row in rows}, night, root)
    return {
        row["image_id"]: Picture(
            image_id=row["image_id"],
            title=row["title"],
            tags=row["tag"] or [],
            jpeg=jpegs.get(row["image_id"]),
        )
        for row in rows
    }


def _thumbnails(path_of: Mapping[str, str | None], night: Night, root: Root) -> dict[str, bytes]:
    """Thumbnails of the images whose pictures the run could use: from their files, else from the run's own pixels."""
    pixels = [shard.pixels for shard in night.shards if shard.pixels]
    if not pixels:
        return {}
    shards = Shards.open(pixels, root)
    found = np.flatnonzero(matrices.rows_of(pa.array(shards.ids), np.array(list(path_of), object)) >= 0)
    usable = dict(zip(shards.ids[found].tolist(), found.tolist(), strict=True))
    paths = {image: path for image in usable if (path := path_of[image])}
    decoded = images.decode_files(
        list(paths.values()), images.PictureFiles(night.source, root), THUMBNAIL, ImageLimits()
    )
    jpegs = {}
    for image, value in zip(paths, decoded, strict=True):
        pixels_of = shards.gather(np.array([usable[image]]))[0] if isinstance(value, images.ImageError) else value
        jpegs[image] = images.thumbnail(pixels_of, THUMBNAIL_PX)
    return jpegs
