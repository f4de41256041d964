"""What a night did badly: users for whom least was found, rows and pictures that were kept out, images nobody likes."""

from typing import Any

import numpy as np
import polars as pl

from models.evaluation import metrics
from storage import parquet
from storage.roots import Root
from storage.samples import sampled
from tasks.night.pictures import pictures_by_id
from tasks.night.records import Night
from tasks.night.tested import TestedUsers
from tasks.pages.contents import CUT, ColdImage, Failures, KeptOut, Miss, Recommendation

MOST_USERS = 1_000  # about so many test users are ranked for it, the same every night
K = 20
NUM_USERS, NUM_PICTURES, NUM_COLD, NUM_ROWS = 3, 10, 10, 3  # shown: users, pictures of each kind, images, rows a reason
TEXT_LENGTH = 200  # letters of a row


def find_failures(tested: TestedUsers | None, night: Night, root: Root) -> Failures:
    """The failures of a night; empty lists where there are none of a kind."""
    num_ranked, num_without, misses = _misses(tested, night, root)
    num_cold, num_listed, cold = _cold(night, root)
    return Failures(
        k=K,
        num_ranked=num_ranked,
        num_without=num_without,
        misses=misses,
        kept_out=_kept_out(night, root),
        num_cold=num_cold,
        num_cold_listed=num_listed,
        cold=cold,
    )


def _misses(tested: TestedUsers | None, night: Night, root: Root) -> tuple[int, int, list[Miss]]:
    """How many test users were ranked, for how many nothing was found, and those with the lowest NDCG."""
    if tested is None or not len(tested.images):
        return 0, 0, []
    users, image_ids = tested.ids[sampled(tested.ids, MOST_USERS / max(len(tested.ids), MOST_USERS))], tested.images
    if not len(users):
        return 0, 0, []
    ranked = tested.ranked(users, K)
    likes_UI, missed_UI, best = ranked.likes_UI, ranked.concealed_UI, ranked.best
    ndcg_U = np.nan_to_num(metrics.ndcg(metrics.find_hits(best.rows, missed_UI), best.rows.shape[1]))
    worst = np.lexsort((-np.diff(missed_UI.indptr), ndcg_U))[:NUM_USERS]  # of equals those with most to be found
    shown = {
        row: (
            image_ids[likes_UI[[row]].indices[:NUM_PICTURES]],
            image_ids[missed_UI[[row]].indices[:NUM_PICTURES]],
            best.rows[row][best.rows[row] >= 0][:NUM_PICTURES],
        )
        for row in worst.tolist()
    }
    ids = {image for likes, missed, got in shown.values() for image in (*likes, *missed, *image_ids[got])}
    pictures = pictures_by_id(np.array(sorted(ids), object), night, root)
    misses = [
        Miss(
            user_id=users[row],
            ndcg=float(ndcg_U[row]),
            num_likes=int(likes_UI[[row]].nnz),
            num_missed=int(missed_UI[[row]].nnz),
            likes=[pictures[image] for image in likes],
            missed=[pictures[image] for image in missed],
            got=[
                Recommendation(
                    picture=pictures[image_ids[image]],
                    rank=place + 1,
                    score=float(best.scores[row][place]),
                    concealed=bool(missed_UI[row, image]),
                )
                for place, image in enumerate(got)
            ],
        )
        for row, (likes, missed, got) in shown.items()
    ]
    return len(users), int((ndcg_U == 0).sum()), misses


def _kept_out(night: Night, root: Root) -> list[KeptOut]:
    """Each reason for which rows or pictures were quarantined, with the first of them."""
    rows = parquet.scan(night.quarantine, root)
    by_reason = rows.group_by("table", "reason").agg(
        pl.len().alias("count"), pl.struct("row", "value", "text").sort_by("row", "value").head(NUM_ROWS).alias("first")
    )
    return [
        KeptOut(
            table=row["table"],
            reason=row["reason"],
            count=row["count"],
            samples=[(_where(item), _what(item)) for item in row["first"]],
        )
        for row in by_reason.sort("count", "table", "reason", descending=[True, False, False]).collect().to_dicts()
    ]


def _where(row: dict[str, Any]) -> str:
    return "picture" if row["row"] is None else f"row {row['row']:,}"


def _what(row: dict[str, Any]) -> str:
    text = row["text"] or row["value"] or ""
    return text if len(text) <= TEXT_LENGTH else f"{text[:TEXT_LENGTH]}{CUT}"


def _cold(night: Night, root: Root) -> tuple[int, int, list[ColdImage]]:
    """How many images have no favorite, how many of these are in a list, and those in most lists."""
    tables = night.community.tables
    liked = parquet.scan(tables["favorites"], root).select("image_id").unique()
    cold = parquet.scan(tables["images"], root).select("image_id").join(liked, on="image_id", how="anti")
    lists = parquet.scan_all(night.exports["recommendations"], root).group_by("image_id").len("lists")
    counted = cold.join(lists, on="image_id", how="left").with_columns(pl.col("lists").fill_null(0)).collect()
    most = counted.sort("lists", "image_id", descending=[True, False]).head(NUM_COLD)
    pictures = pictures_by_id(most["image_id"].to_numpy(), night, root) if len(most) else {}
    images = [ColdImage(picture=pictures[image], num_lists=count) for image, count in most.rows()]
    return len(counted), counted.filter(pl.col("lists") > 0).height, images
