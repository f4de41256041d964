"""How far a night has moved from the current run: its community, its users' profiles, its scores and lists."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from models.evaluation.drift import jensen_shannon, stability_index
from storage import parquet
from storage.manifests import Outcome
from storage.refs import Ref
from storage.roots import Root
from storage.samples import sampled
from tasks.night.limits import fall, judge
from tasks.settings.limits import GateConfig

TOP = 20  # places of a list that are compared
COUNTED = ("users", "images", "favorites")
READ = (*COUNTED, "user_tags", "image_tags")  # of a run's community


@dataclass(frozen=True)
class Run:
    """What is compared of a run."""

    system: str
    lists: list[Ref]  # rows of RECOMMENDATIONS
    table: dict[str, Ref]  # its community, as ingested


def check_drift(now: Run, before: Run, config: GateConfig, root: Root, *, no_hold: str) -> Iterator[Outcome]:
    """One outcome for each figure that compares two runs; figures of lists are of the same sample of users.

    Args:
        no_hold: why nothing here holds the run back, as what has changed since was meant to; empty where it does.
    """

    def outcome(name: str, figure: float, setting: str, message: str) -> Outcome:
        return judge(f"drift: {name}", figure, setting, config, message, no_hold=no_hold)

    for name in COUNTED:
        rows, rows_before = now.table[name].rows, before.table[name].rows
        yield outcome(name, fall(rows, rows_before), "volume_fall", f"{rows:,} now, {rows_before:,} before")
    counts, counts_before = (_favorites_per_user(run, root) for run in (now, before))
    shift = stability_index(counts_before, counts)
    medians = f"median {np.median(counts):g} now, {np.median(counts_before):g} before"
    yield outcome("favorites per user", shift, "activity_shift", medians)
    share = min(1.0, config.sample_users / max(1, now.table["users"].rows))
    ours, theirs = (_Shown.of(run, share, root) for run in (now, before))
    if ours.profiles.height and theirs.profiles.height:
        both = theirs.profiles.join(ours.profiles, on="token", how="full").fill_null(0)
        shift = jensen_shannon(both["mass"].to_numpy(), both["mass_right"].to_numpy())
        yield outcome("profiles", shift, "profile_shift", f"{both.height:,} tags in the mean profile of either run")
    if not (ours.lists.height and theirs.lists.height):
        return
    listed, listed_before = ours.listed, theirs.listed
    yield outcome(
        "users with a list",
        fall(listed, listed_before),
        "listed_fall",
        f"{listed:.3f} now, {listed_before:.3f} before",
    )
    if now.system == before.system:
        scores, scores_before = (shown.lists["score"].to_numpy() for shown in (ours, theirs))
        shift = stability_index(_scaled(scores_before), _scaled(scores))
        medians = f"median {np.median(scores):.4g} now, {np.median(scores_before):.4g} before"
        yield outcome("scores", shift, "score_shift", medians)
    overlap, num_users = _overlap(ours.lists, theirs.lists)
    if num_users:
        yield outcome("overlap", overlap, "overlap", f"of the first {TOP} images of {num_users:,} users")
    rank, rank_before = ours.popularity, theirs.popularity
    said = f"mean popularity percentile {rank:.3f} now, {rank_before:.3f} before"
    yield outcome("popularity", abs(rank - rank_before), "popularity_shift", said)
    place, place_before = ours.largest_owner, theirs.largest_owner
    said = f"the largest owner has {place:.3f} of all places now, {place_before:.3f} before"
    yield outcome("largest owner", place - place_before, "owner_rise", said)
    covered, covered_before = ours.coverage, theirs.coverage
    said = f"{covered:.3f} of all images are recommended now, {covered_before:.3f} before"
    yield outcome("coverage", fall(covered, covered_before), "coverage_fall", said)


@dataclass(frozen=True)
class _Shown:
    """The lists of a run's sampled users, and figures of them."""

    profiles: pl.DataFrame  # token, mass: the mean over users of the share of each tag, or image, in their profile
    lists: pl.DataFrame  # user_id, image_id, rank, score
    listed: float  # share of the users who have a list
    popularity: float  # mean percentile of the images in all places, by favorites; ties count half
    largest_owner: float  # share of all places whose images are one owner's
    coverage: float  # share of images in any list

    @classmethod
    def of(cls, run: Run, share: float, root: Root) -> "_Shown":
        users = parquet.scan(run.table["users"], root).select("user_id").collect()
        users = users.filter(pl.Series(sampled(users["user_id"], share)))
        lists = parquet.scan_all(run.lists, root)
        listed = lists.join(users.lazy(), on="user_id", how="semi").select("user_id", "image_id", "rank", "score")
        rows = listed.collect()
        images = parquet.scan(run.table["images"], root).select("image_id", "owner_id")
        favored = parquet.scan(run.table["favorites"], root).group_by("image_id").len()
        ranked = (
            images.join(favored, on="image_id", how="left")
            .with_columns(percentile=(pl.col("len").fill_null(0).rank("average") - 0.5) / pl.len())
            .collect()
        )
        places = rows.select("image_id").join(ranked, on="image_id", how="left")
        owners = places.drop_nulls("owner_id").group_by("owner_id").len()["len"]
        return cls(
            _profiles(run, users.lazy(), root),
            rows,
            rows["user_id"].n_unique() / max(1, users.height),
            float(places.select(pl.col("percentile").mean()).item() or 0),
            float(owners.max() or 0) / max(1, rows.height),  # type: ignore[arg-type]
            rows["image_id"].n_unique() / max(1, ranked.height),
        )


def _favorites_per_user(run: Run, root: Root) -> np.ndarray:
    counts = parquet.scan(run.table["favorites"], root).group_by("user_id").len().select("len").collect()
    return np.sort(counts["len"].to_numpy())


def _profiles(run: Run, users: pl.LazyFrame, root: Root) -> pl.DataFrame:
    """Token and mass: the mean over some users of the share of each token in all of theirs.

    Tokens are the users' own tags; where the source has none the tags of their favorites, and without any tag those
    images. Not clusters: k-means finds others wherever tags are learned again.
    """
    favorites = parquet.scan(run.table["favorites"], root).select("user_id", "image_id")
    favorites = favorites.join(users, on="user_id", how="semi")
    own, of_images = (run.table.get(name) for name in ("user_tags", "image_tags"))
    if own and own.rows:
        counts = parquet.scan(own, root).select("user_id", "count", token="tag")
        counts = counts.join(users, on="user_id", how="semi")
    elif of_images and of_images.rows:
        tagged = favorites.join(parquet.scan(of_images, root), on="image_id")
        counts = tagged.group_by("user_id", token="tag").agg(count=pl.len())
    else:
        counts = favorites.select("user_id", token="image_id", count=pl.lit(1))
    share = pl.col("count") / pl.col("count").sum().over("user_id")
    return counts.with_columns(share=share).group_by("token").agg(mass=pl.col("share").sum()).sort("token").collect()


def _scaled(scores: np.ndarray) -> np.ndarray:
    """Scores with median 0 and interquartile range 1: systems are fitted for the order alone, and their unit varies."""
    low, median, high = np.quantile(scores, (0.25, 0.5, 0.75))
    return np.asarray((scores - median) / (high - low or 1.0))


def _overlap(ours: pl.DataFrame, theirs: pl.DataFrame) -> tuple[float, int]:
    """The mean share of a user's first images that were among their first ones before, and the users in both runs."""
    first, first_before = (rows.filter(pl.col("rank") <= TOP).select("user_id", "image_id") for rows in (ours, theirs))
    users = first.select("user_id").unique().join(first_before.select("user_id").unique(), on="user_id")
    kept = first.join(first_before, on=["user_id", "image_id"], how="semi").group_by("user_id").len("kept")
    longest = first.group_by("user_id").len("places")
    shares = users.join(longest, on="user_id").join(kept, on="user_id", how="left")
    mean = shares.select((pl.col("kept").fill_null(0) / pl.col("places")).mean()).item()
    return float(mean or 0), users.height
