"""The comparisons that the page is made of, and what others measured and published of the same."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Elsewhere:
    """Figures that no comparison of the page measured, at the set's own list length."""

    system: str
    recall: float
    ndcg: float
    source: str


@dataclass(frozen=True)
class Asked:
    """A comparison of the page."""

    set: str
    protocol: str
    split: str
    test: str | None = None  # the table of the set that is the test; None: drawn
    validation: str | None = None
    elsewhere: tuple[Elsewhere, ...] = ()

    def command(self, data: str, root: str, systems: str, seeds: int, budget: int) -> list[str]:
        """What makes it."""
        source = "demo" if self.set == "demo" else f"{data}/{self.set}"
        given = {"--test": self.test, "--validation": self.validation}
        files = [word for key, name in given.items() if name for word in (key, f"{source}/{name}.parquet")]
        return [
            *("tastegraph", "compare", "--source", source, "--root", root, "--systems", systems),
            *("--protocol", self.protocol, *files, "--seeds", str(seeds), "--budget", str(budget)),
        ]


SAME = "on this very split"  # drawn alike; what can be tuned was, on a small grid on validation
IMPLICIT, CORNAC, CLOSED = f"implicit 0.7.3, {SAME}", f"Cornac 3.0.1, {SAME}", f"in closed form, {SAME}"
OUTSIDE = f"measured by others, {SAME}"
THEIR_SPLIT = "published by RecBole-GNN, on its own 8:1:1 split"
LIGHTGCN = "published: He et al., SIGIR 2020, table 4"

COMPARISONS = (
    Asked(
        "lastfm-friends",
        "full",
        "a tenth of each user's favorites at random",
        elsewhere=(
            Elsewhere("ALS", 0.2206, 0.2159, f"{IMPLICIT}, refit on training and validation"),
            Elsewhere("SEPT", 0.2127, 0.2057, THEIR_SPLIT),
            Elsewhere("MHCN", 0.2123, 0.2068, THEIR_SPLIT),
            Elsewhere("EASE", 0.2115, 0.2074, CLOSED),
            Elsewhere("BPR", 0.1977, 0.1876, CORNAC),
            Elsewhere("SBPR", 0.1864, 0.1788, CORNAC),
            Elsewhere("item-kNN", 0.1801, 0.1767, OUTSIDE),
            Elsewhere("popularity", 0.068, 0.063, OUTSIDE),
        ),
    ),
    Asked("lastfm-friends", "cold", "a tenth of the images with all their favorites, ranked among themselves"),
    Asked(
        "gowalla-scale",
        "full",
        "the official test",
        test="official_test",
        elsewhere=(
            Elsewhere("LightGCN", 0.1830, 0.1554, LIGHTGCN),
            Elsewhere("LightGCN", 0.1813, 0.1548, "ours on a GPU, by `benchmarks/lightgcn.py`"),
            Elsewhere("EASE", 0.1760, 0.1462, "ours, λ of three chosen on validation: [log.md](log.md)"),
            Elsewhere("ALS", 0.1631, 0.1378, IMPLICIT),
            Elsewhere("BPR", 0.1352, 0.1137, CORNAC),
            Elsewhere("item-kNN", 0.1178, 0.0860, OUTSIDE),
            Elsewhere("popularity", 0.042, 0.032, OUTSIDE),
        ),
    ),
    Asked(
        "flickr-social",
        "full",
        "the official test; settings chosen on the official validation, which is among the favorites",
        test="official_test",
        validation="official_val",
        elsewhere=(
            Elsewhere("ALS", 0.0101, 0.0057, IMPLICIT),
            Elsewhere("BPR", 0.0096, 0.0048, CORNAC),
            Elsewhere("EASE", 0.0072, 0.0047, CLOSED),
            Elsewhere("favorites of contacts alone", 0.0062, 0.0033, OUTSIDE),
            Elsewhere("popularity", 0.0069, 0.0039, OUTSIDE),
        ),
    ),
    Asked(
        "movielens-posters",
        "time",
        "each user's latest fifth",
        elsewhere=(
            Elsewhere("EASE", 0.1481, 0.1167, CLOSED),
            Elsewhere("ALS", 0.1450, 0.1127, IMPLICIT),
            Elsewhere("BPR", 0.1204, 0.0919, CORNAC),
            Elsewhere("VBPR", 0.0979, 0.0823, f"{CORNAC}; features: a thumbnail and HOG"),
            Elsewhere("popularity", 0.080, 0.070, OUTSIDE),
        ),
    ),
    Asked(
        "movielens-posters",
        "cold",
        "a tenth of the images with all their favorites, ranked among themselves",
        elsewhere=(
            Elsewhere("VBPR", 0.0708, 0.0490, f"{CORNAC}; features: a thumbnail and HOG"),
            Elsewhere("tag tf-idf profile", 0.0550, 0.0360, OUTSIDE),
            Elsewhere("content profile", 0.0529, 0.0353, OUTSIDE),
            Elsewhere("random", 0.031, 0.018, OUTSIDE),
        ),
    ),
    Asked("movielens-posters", "full", "a tenth of each user's favorites at random"),
    Asked("movielens-posters", "auc", "one favorite of each user, over all unobserved images (seed 001)"),
    Asked("movielens-posters", "paper", "20 concealed favorites among 80 others (seed 000)"),
    Asked("camra-groups", "full", "the official test", test="official_test"),
    Asked("demo", "paper", "20 concealed favorites among 80 others (seed 000)"),
    *(
        Asked(name, "cold_users", "a tenth of the users with all their favorites")
        for name in ("lastfm-friends", "flickr-social", "movielens-posters", "camra-groups", "demo")
    ),
)
