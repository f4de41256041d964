"""What the report's page shows of a night: read the tables, choose, count."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from models.evaluation.headlines import HEADLINES, headline_of
from models.systems import SYSTEMS
from storage import parquet, snapshots
from storage.documents import DocumentError
from storage.manifests import Outcome
from storage.refs import Ref
from storage.roots import Root
from storage.tables.reasons import REASONS
from tasks.night.failures import find_failures
from tasks.night.pictures import pictures_by_id
from tasks.night.records import CDLChain, Night, Tastes
from tasks.night.tested import TestedUsers
from tasks.pages.contents import (
    Call,
    CaseStudy,
    Cluster,
    Distributions,
    Gate,
    Ingested,
    Metric,
    NegativesAudit,
    Past,
    Person,
    Reason,
    Recommendation,
    Report,
    Stage,
    Training,
    name_of,
)
from tasks.runtime.ledger import Line

NUM_PEOPLE = 12
NUM_LIKES = 10
NUM_GOT = 20
NUM_CLUSTERS = 40
NUM_CASE, NUM_VECTORS, NUM_CLOUD = 10, 2, 40  # pictures of each kind, representations of each kind, and tags of a case
DIGITS = 4  # of the vectors that are drawn
NUM_PAST = 20  # runs before this one, whose figures stand beside its own


def build(
    night: Night,
    metrics: list[dict[str, Any]],
    outcomes: list[Outcome],
    settings: dict[str, Any],
    generated_at: str,
    stages: Sequence[Line],
    past: Sequence[Past],
    root: Root,
) -> Report:
    """What the page of one night shows.

    Args:
        past: the headline figures of earlier runs.
    """
    tested = TestedUsers.read(night, root)
    people = _people(tested, night, root)
    stopped = [outcome for outcome in outcomes if outcome.verdict == "hold"]
    warnings = [outcome for outcome in outcomes if outcome.verdict == "warn"]
    chain = night.tested.cdl
    return Report(
        title=f"{name_of(night.source.address)}, run {night.run.id}",
        run_id=night.run.id,
        source=night.source.address,
        generated_at=datetime.fromisoformat(generated_at),
        published=not stopped,
        system=night.tested.model.system,
        verdict=_verdict(night, stopped),
        warnings=[f"{outcome.name}: {outcome.message}" for outcome in warnings],
        gates=[
            Gate(
                name=item.name,
                passed=item.passed,
                is_warning=item.is_warning,
                message=item.message,
                figure=item.figure,
                limits=item.limits,
            )
            for item in outcomes
        ],
        metrics=[Metric(**row) for row in metrics],
        past=past,
        readings=_readings(night, root),
        community=_community(night),
        distributions=_distributions(night, root),
        clusters=_clusters(night.tested.tastes.clusters, root),
        negatives=_negatives(chain.audit, root) if chain else None,
        training=Training(
            loss=chain.trained.losses if chain else [],
            settings=[
                (f"{section}.{key}", str(value))
                for section in (("model", "training", "triplets", "images") if chain else ("model", "images"))
                for key, value in settings[section].items()
                if key != "class"
            ],
        ),
        stages=[_stage(line) for line in stages],
        people=people,
        failures=find_failures(tested, night, root),
        case=_case(night, chain, people, root) if chain else None,
    )


def past_figures(comparable: dict[str, Any], root: Root) -> list[Past]:
    """The headline figures of the runs that were current last and measured the same, the oldest first."""
    last = {change.run_id for change in snapshots.changes(root, NUM_PAST)}
    manifests = []
    for run_id in last:
        with suppress(FileNotFoundError, DocumentError):  # deleted since, or damaged
            manifests.append(snapshots.manifest(root, run_id))
    return [
        Past(
            run_id=run.run_id,
            generated_at=run.generated_at,
            **{key: row[key] for key in ("protocol", "metric", "k", "value", "low", "high")},
        )
        for run in sorted(manifests, key=lambda run: (run.generated_at, run.run_id))
        if run.comparable == comparable
        for which in HEADLINES
        if (row := headline_of(run.metrics, run.system, *which))
    ]


def _verdict(night: Night, stopped: list[Outcome]) -> str:
    if stopped:
        return f"{'; '.join(f'{outcome.name}: {outcome.message}' for outcome in stopped)}."
    lists = sum(ref.rows for ref in night.exports["recommendations"])
    return f"{lists:,} recommendations for {night.published.users.rows:,} users are current."


def _readings(night: Night, root: Root) -> list[tuple[str, str]]:
    """Which of several possible readings of the data this night took."""
    thresholds, chain, features = night.split.thresholds, night.tested.cdl, night.tested.features
    which = {"latest": "the latest", "random": "drawn at random"}[night.split.order]
    learned_from = "the favorites that were not concealed"
    if night.published != night.tested.model:
        learned_from = "all favorites; the figures are of the same system, fitted without those concealed"
    return [
        ("System", _system(night)),
        ("Score", night.published.score_meaning),
        ("Learned from", learned_from),
        *_readings_of_tastes(night.tested.tastes),
        (
            "Test",
            f"users with {thresholds.min_favorites} to {thresholds.max_favorites} favorites; "
            f"{thresholds.num_concealed} of each, {which}, concealed before anything was learned, mixed with "
            f"{thresholds.num_others} others: {night.split.concealed.rows:,} concealed favorites in all",
        ),
        *([("Tags in the test", night.tags.line)] if night.tags else []),
        *(_readings_of_cdl(chain, root) if chain else [("Image input", night.tested.image_input or "none")]),
        *([("Features of images", features.origin)] if features and features.shards else []),
    ]


def _system(night: Night) -> str:
    name = night.published.system
    source = "CDL (Lei et al., CVPR 2016)" if night.tested.cdl else SYSTEMS[name].source
    return f"{name}: {source}"


def _readings_of_tastes(tastes: Tastes) -> list[tuple[str, str]]:
    vectors, profiles = tastes.vectors, tastes.profiles
    vocabulary = (
        "the community's tags"
        if vectors.of == "tags"
        else "the images themselves: there are no tags, so a user's training favorites form a sentence"
    )
    made_of = f"{profiles.num_from_favorites:,} users from their training favorites"
    if vectors.of == "tags":
        made_of = (
            f"{profiles.num_from_own_tags:,} users from their own tags, "
            f"{profiles.num_from_favorites:,} from the tags of the images they favorited"
        )
    unknown = f"; {vectors.out_of_vocabulary:,} out of vocabulary" if vectors.out_of_vocabulary else ""
    return [
        ("Clusters", f"{tastes.clusters.rows:,} clusters of {vectors.vectors.rows:,} vectors of {vocabulary}{unknown}"),
        ("Profiles", made_of),
    ]


def _readings_of_cdl(chain: CDLChain, root: Root) -> list[tuple[str, str]]:
    inputs = chain.inputs
    usable = sum(shard.rows for shard in inputs.shards)
    dropped = Counter(parquet.read(chain.audit, root, ["dropped"])["dropped"].to_pylist())
    return [
        (
            "Image input",
            f"{inputs.kind}; {usable:,} of {inputs.num_images:,} images have it, the others are left out "
            f"(coverage: {', '.join(f'{kind} {count:,}' for kind, count in inputs.coverage.items())})",
        ),
        (
            "Negatives",
            "; ".join(
                f"{count:,} users with every exclusion" if name == "none" else f"{count:,} users without {name}"
                for name, count in sorted(dropped.items())
            ),
        ),
        ("Triplets", f"{chain.triplets.rows:,}"),
        ("Device", chain.trained.device),
    ]


def _community(night: Night) -> list[Ingested]:
    rejected = Counter(item["reason"] for shard in night.shards for item in shard.rejected)
    ingested = []
    for name, ref in night.community.tables.items():
        reasons = Counter(night.community.report["tables"][name]["quarantined"])
        if name == "images":
            reasons += rejected
        ingested.append(Ingested(table=name, rows=ref.rows, quarantined=sorted(reasons.items())))
    return ingested


def _distributions(night: Night, root: Root) -> Distributions:
    table = night.community.tables
    profiles = night.tested.tastes.profiles
    clusters = parquet.read(profiles.profiles, root, ["clusters"])["clusters"].combine_chunks().flatten().to_numpy()
    users = parquet.scan(table["users"], root).select("user_id")

    def per_user(ref: Ref) -> np.ndarray:
        counts = parquet.scan(ref, root).group_by("user_id").len()
        joined = users.join(counts, on="user_id", how="left").select(pl.col("len").fill_null(0)).collect()
        return joined["len"].to_numpy().astype(np.int64)

    return Distributions(
        users_per_cluster=np.bincount(clusters, minlength=profiles.num_clusters),
        favorites_per_user=per_user(table["favorites"]),
        tags_per_user=per_user(table["user_tags"]) if table["user_tags"].rows else np.zeros(0, np.int64),
    )


def _clusters(clusters: Ref, root: Root) -> list[Cluster]:
    rows = parquet.scan(clusters, root).select("cluster", "size", pl.col("tokens").list.head(12))
    return [
        Cluster(**row)
        for row in rows.sort("size", "cluster", descending=[True, False]).head(NUM_CLUSTERS).collect().to_dicts()
    ]


def _negatives(audit: Ref, root: Root) -> NegativesAudit:
    rows = parquet.read(audit, root)
    sizes = {
        item.name: rows[f"num_{item.name}" if item.name != "left" else "num_negatives"].to_numpy()
        for item in fields(NegativesAudit)
        if item.name in ("tagged", "contacts", "groups", "left")
    }
    dropped, without = Counter(rows["dropped"].to_pylist()), Counter(rows["reason"].drop_null().to_pylist())
    return NegativesAudit(
        **sizes,
        dropped=sorted((name, count) for name, count in dropped.items() if name != "none"),
        without=sorted(without.items()),
    )


def _people(tested: TestedUsers | None, night: Night, root: Root) -> list[Person]:
    """Users who were tested, evenly spaced by id: what was exported for them, and what the measured system found."""
    if tested is None:
        return []
    users, image_ids = tested.ids[np.unique(np.linspace(0, len(tested.ids) - 1, NUM_PEOPLE).astype(int))], tested.images
    ranked = tested.ranked(users, NUM_GOT)
    likes_UI, concealed_UI, best = ranked.likes_UI, ranked.concealed_UI, ranked.best
    exported = _exported(users, night, root)
    likes = [image_ids[likes_UI[[row]].indices[:NUM_LIKES]].tolist() for row in range(len(users))]
    shown = {
        *image_ids[np.unique(best.rows[best.rows >= 0])].tolist(),
        *(image for row in likes for image in row),
        *(item["image_id"] for items in exported.values() for item in items),
    }
    pictures = pictures_by_id(np.array(sorted(shown), object), night, root)
    reasons = _reasons(users, night, root)
    interests = (
        parquet.scan(night.tested.tastes.profiles.interests, root)
        .filter(pl.col("user_id").is_in(users.tolist()))
        .sort("count", "lift", "tag", descending=[True, True, False])
        .group_by("user_id", maintain_order=True)
        .agg(pl.col("tag").head(12))
        .collect()
    )
    interests_of = dict(zip(interests["user_id"], interests["tag"].to_list(), strict=True))
    return [
        Person(
            user_id=user,
            interests=interests_of.get(user, []),
            likes=[pictures[image] for image in likes[row]],
            got=[
                Recommendation(
                    picture=pictures[item["image_id"]],
                    rank=item["rank"],
                    score=item["score"],
                    reasons=reasons.get((user, item["image_id"]), ()),
                )
                for item in exported.get(user, [])
            ],
            num_concealed=concealed_UI[[row]].nnz,
            found=[
                Recommendation(
                    picture=pictures[image_ids[image]],
                    rank=rank + 1,
                    score=float(score),
                    concealed=bool(concealed_UI[row, image]),
                )
                for rank, (image, score) in enumerate(zip(best.rows[row].tolist(), best.scores[row], strict=True))
                if image >= 0
            ],
        )
        for row, user in enumerate(users)
    ]


def _case(night: Night, chain: CDLChain, people: Sequence[Person], root: Root) -> CaseStudy | None:
    """Of the people who have triplets the one of whose concealed favorites the measured system found most."""
    triplets = parquet.scan(chain.triplets, root).select("user_id", "positive_id", "negative_id")
    rows = triplets.filter(pl.col("user_id").is_in([person.user_id for person in people])).collect()
    trained = set(rows["user_id"].unique())
    able = [person for person in people if person.user_id in trained]
    if not able:
        return None
    chosen = max(able, key=lambda person: sum(item.concealed for item in person.found)).user_id
    mine = rows.filter(pl.col("user_id") == chosen)
    positives, negatives = (
        mine[name].unique().sort().head(NUM_CASE).to_list() for name in ("positive_id", "negative_id")
    )
    pictures = pictures_by_id(np.array(sorted({*positives, *negatives}), object), night, root)
    tastes, model = night.tested.tastes, night.tested.model
    interests = (
        parquet.scan(tastes.profiles.interests, root)
        .filter(pl.col("user_id") == chosen)
        .sort("count", "lift", "tag", descending=[True, True, False])
        .select("tag", "count")
        .head(NUM_CLOUD)
        .collect()
    )
    sparse = parquet.scan(tastes.profiles.profiles, root).filter(pl.col("user_id") == chosen).collect()
    profile = np.zeros(tastes.profiles.num_clusters)
    if len(sparse):
        profile[sparse["clusters"][0].to_numpy()] = sparse["weights"][0].to_numpy()
    shown = [*positives[:NUM_VECTORS], *negatives[:NUM_VECTORS]]
    vectors = _vectors(model.embeddings.images, "image_id", shown, root)
    return CaseStudy(
        user_id=chosen,
        tags=interests.rows(),
        positives=[pictures[image] for image in positives],
        negatives=[pictures[image] for image in negatives],
        profile=profile.round(DIGITS).tolist(),
        user=_vectors([model.embeddings.users], "user_id", [chosen], root).get(chosen, []),
        positive_vectors=[vectors[image] for image in positives[:NUM_VECTORS] if image in vectors],
        negative_vectors=[vectors[image] for image in negatives[:NUM_VECTORS] if image in vectors],
    )


def _vectors(refs: list[Ref], key: str, ids: list[str], root: Root) -> dict[str, list[float]]:
    """Embeddings by id, of those that have one, without the last dimension: it makes an inner product of a distance."""
    rows = parquet.scan_all(refs, root).filter(pl.col(key).is_in(ids)).select(key, "embedding").collect()
    return {row[0]: np.asarray(row[1])[:-1].round(DIGITS).tolist() for row in rows.rows() if row[1] is not None}


def _exported(users: np.ndarray, night: Night, root: Root) -> dict[str, list[dict[str, Any]]]:
    """The first of each user's exported recommendations, in order."""
    rows = (
        parquet.scan_all(night.exports["recommendations"], root)
        .filter(pl.col("user_id").is_in(users.tolist()), pl.col("rank") <= NUM_GOT)
        .sort("user_id", "rank")
        .collect()
    )
    return {str(user): part.to_dicts() for (user,), part in rows.group_by("user_id", maintain_order=True)}


def _reasons(users: np.ndarray, night: Night, root: Root) -> dict[tuple[str, str], list[Reason]]:
    """The reasons for what these users got, the largest share first, by user and image."""
    if REASONS.name not in night.exports:
        return {}
    titles = parquet.scan(night.community.tables["images"], root).select(because="image_id", label="title")
    rows = (
        parquet.scan_all(night.exports[REASONS.name], root)
        .filter(pl.col("user_id").is_in(users.tolist()))
        .join(titles, on="because", how="left")
        .with_columns(label=pl.when(pl.col("signal").is_in(["favorites", "content"])).then(pl.col("label")))
        .sort("share", "signal", descending=[True, False])
        .collect()
    )
    reasons: dict[tuple[str, str], list[Reason]] = {}
    for row in rows.to_dicts():
        shown = {name: row[name] for name in ("signal", "share", "because", "label")}
        reasons.setdefault((row["user_id"], row["image_id"]), []).append(Reason(**shown))
    return reasons


def _stage(line: Line) -> Stage:
    calls = [Call(**vars(call)) for call in line.calls]
    return Stage(name=line.stage, ran=line.ran, reused=line.reused, seconds=line.seconds, calls=calls)
