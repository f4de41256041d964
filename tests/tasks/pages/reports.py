"""Reports to render: one with every part, and one with none."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from storage.images import thumbnail
from tasks.pages.comparison import Comparison
from tasks.pages.contents import (
    Call,
    CaseStudy,
    Cluster,
    ColdImage,
    Distributions,
    Failures,
    Gate,
    Ingested,
    KeptOut,
    Metric,
    Miss,
    NegativesAudit,
    Past,
    Person,
    Picture,
    Reason,
    Recommendation,
    Report,
    Stage,
    Training,
)
from tasks.pages.sprites import THUMBNAIL_PX

JPEG = thumbnail(np.full((16, 16, 3), (40, 90, 160), np.uint8), THUMBNAIL_PX)


def full() -> Report:
    """A small report with every part."""
    curve = [
        metric(system, value, value - 0.02, value + 0.02, protocol=protocol, name=name, k=k)
        for protocol in ("paper", "paper_matched")
        for name in ("precision", "recall")
        for system, value in (("cdl", 0.5), ("popularity", 0.6), ("random", 0.2))
        for k in range(1, 21)
    ]
    ranking = [
        replace(metric("cdl", 0.01, 0.008, 0.012, protocol="full", name="ndcg"), slice=part)
        for part in ("all", "warm", "cold")
    ]
    plate, pixels = Picture(image_id="7"), Picture(image_id="8", title="A lake", tags=["blue"], jpeg=JPEG)
    counts = np.array([0, 1, 1, 3, 400])
    return Report(
        title="Nightly run",
        run_id="r1",
        source="demo",
        generated_at=datetime(2030, 1, 2, 3, 4, tzinfo=UTC),
        published=True,
        system="cdl",
        verdict="This run is current.",
        warnings=["Below popularity."],
        gates=[Gate(name="tables", passed=True, message="every check held")],
        metrics=[*curve, *ranking],
        past=[past("night-1", 0.3), past("night-2", 0.4)],
        readings=[("Image input", "pixels")],
        community=[Ingested(table="favorites", rows=12_345, quarantined=[("unknown image_id", 2)])],
        distributions=Distributions(users_per_cluster=counts, favorites_per_user=counts, tags_per_user=counts),
        clusters=[Cluster(cluster=3, size=2, tokens=["lake", "sea"])],
        negatives=NegativesAudit(tagged=counts, contacts=counts, groups=counts, left=counts, dropped=[("tags", 2)]),
        training=Training(loss=[(1, 0.7), (2, 0.6)], settings=[("batch", "128")]),
        stages=[
            Stage(
                name="train",
                ran=2,
                reused=0,
                seconds=75.0,
                calls=[Call(started_s=0, elapsed_s=30), Call(started_s=50, elapsed_s=45)],
            ),
            Stage(
                name="embed", ran=0, reused=4, seconds=0.0, calls=[Call(started_s=30, elapsed_s=0.5, is_reused=True)]
            ),
        ],
        people=[
            Person(
                user_id="u1",
                interests=["blue"],
                likes=[pixels],
                got=[
                    Recommendation(
                        picture=plate,
                        rank=1,
                        score=2.5,
                        reasons=[
                            Reason(signal="favorites", share=2.0, because="8", label="A lake"),
                            Reason(signal="tags", share=1.0, because="blue"),
                            Reason(signal="popularity", share=-0.5),
                        ],
                    ),
                    Recommendation(picture=replace(plate, image_id="9"), rank=2, score=1.5),
                ],
                num_concealed=20,
                found=[
                    Recommendation(picture=pixels, rank=1, score=2.5, concealed=True),
                    Recommendation(picture=plate, rank=2, score=1.5),
                ],
            )
        ],
        failures=Failures(
            k=20,
            num_ranked=1000,
            num_without=17,
            misses=[
                Miss(
                    user_id="u2",
                    ndcg=0.0,
                    num_likes=1,
                    num_missed=2,
                    likes=[pixels],
                    missed=[replace(plate, image_id="10")],
                    got=[Recommendation(picture=plate, rank=1, score=0.5)],
                )
            ],
            kept_out=[
                KeptOut(table="favorites", reason="unknown image_id", count=2, samples=[("row 3", '{"user": 1}')])
            ],
            num_cold=5,
            num_cold_listed=1,
            cold=[ColdImage(picture=replace(plate, image_id="11"), num_lists=4)],
        ),
        case=CaseStudy(
            user_id="u1",
            tags=[("blue", 4), ("green", 1)],
            positives=[pixels],
            negatives=[plate],
            profile=[0.0, 0.8, 0.6],
            user=[0.1, -0.2, 0.3],
            positive_vectors=[[0.1, 0.2, 0.3]],
            negative_vectors=[[-0.3, 0.2, 0.1]],
        ),
    )


def compared() -> Comparison:
    """A comparison of three systems on one protocol."""
    values = {"tastegraph": (0.5, 12.0), "popularity": (0.2, 0.0), "<b>": (0.4, 700.0)}
    results = [
        {
            "system": system,
            "protocol": "paper",
            "slice": "all",
            "metric": name,
            "k": k,
            "seed": 0,
            "value": value,
            "low": value - 0.05,
            "high": value + 0.05,
            "users": 1234,
            "fit_s": seconds,
            "score_s": 0.1,
        }
        for system, (value, seconds) in values.items()
        for name in ("precision", "recall")
        for k in (1, 2, 3, 5, 10)
    ]
    test = {"protocol": "paper", "slice": "all", "metric": "precision", "k": 10}
    return Comparison(
        id="paper-1",
        source="/data/lakes/",
        metric="precision",
        k=10,
        parameters=[("seeds", "1")],
        tags=None,
        systems=[("tastegraph", "the defaults", "0.5"), ("popularity", "", "0.2"), ("<b>", "", "0.4")],
        is_tuned=False,
        results=results,
        comparisons=[{**test, "system": "tastegraph", "difference": 0.1, "other": "<b>", "p_holm": 0.01}],
    )


def bare() -> Report:
    """A report of a run that had nothing to report."""
    return Report(
        title="Nightly run",
        run_id="r0",
        source="demo",
        generated_at=datetime(2030, 1, 2, tzinfo=UTC),
        published=False,
        system="cdl",
        verdict="It measured nothing.",
    )


def metric(
    system: str, value: float, low: float, high: float, *, protocol: str = "paper", name: str = "precision", k: int = 20
) -> Metric:
    return Metric(
        protocol=protocol, slice="all", system=system, metric=name, k=k, value=value, low=low, high=high, users=30
    )


def past(run_id: str, value: float) -> Past:
    """The figure of an earlier run."""
    return Past(
        run_id=run_id,
        generated_at="2030-01-01T00:00:00+00:00",
        protocol="paper",
        metric="precision",
        k=20,
        value=value,
        low=value - 0.02,
        high=value + 0.02,
    )
