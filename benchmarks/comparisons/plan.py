"""The comparisons of the page, and reference figures that others measured or published on the same sets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """Figures of a system that the comparison itself did not measure, at the set's usual list length."""

    system: str
    recall: float
    ndcg: float
    source: str


@dataclass(frozen=True)
class Comparison:
    """A comparison of the page: a set, a protocol, and its split in words."""

    set: str
    protocol: str
    split: str
    test: str | None = None  # the table of the set that is the test; None: a random one
    validation: str | None = None  # the same for validation
    references: tuple[Reference, ...] = ()

    def command(self, data: str, root: str, systems: str, seeds: int, budget: int) -> list[str]:
        """The command that runs it."""
        source = "demo" if self.set == "demo" else f"{data}/{self.set}"
        tables = {"--test": self.test, "--validation": self.validation}
        files = [word for key, name in tables.items() if name for word in (key, f"{source}/{name}.parquet")]
        return [
            *("tastegraph", "compare", "--source", source, "--root", root, "--systems", systems),
            *("--protocol", self.protocol, *files, "--seeds", str(seeds), "--budget", str(budget)),
        ]


SAME = "on this very split"  # drawn the same way; tuned on a small grid on validation
IMPLICIT, CORNAC, CLOSED = f"implicit 0.7.3, {SAME}", f"Cornac 3.0.1, {SAME}", f"in closed form, {SAME}"
OUTSIDE = f"measured by others, {SAME}"
THEIR_SPLIT = "published by RecBole-GNN, on its own 8:1:1 split"
LIGHTGCN = "published: He et al., SIGIR 2020, table 4"

COMPARISONS = (
    Comparison(
        "lastfm-friends",
        "full",
        "a tenth of each user's favorites at random",
        references=(
            Reference("ALS", 0.2206, 0.2159, f"{IMPLICIT}, refit on training and validation"),
            Reference("SEPT", 0.2127, 0.2057, THEIR_SPLIT),
            Reference("MHCN", 0.2123, 0.2068, THEIR_SPLIT),
            Reference("EASE", 0.2115, 0.2074, CLOSED),
            Reference("BPR", 0.1977, 0.1876, CORNAC),
            Reference("SBPR", 0.1864, 0.1788, CORNAC),
            Reference("item-kNN", 0.1801, 0.1767, OUTSIDE),
            Reference("popularity", 0.068, 0.063, OUTSIDE),
        ),
    ),
    Comparison("lastfm-friends", "cold", "a tenth of the images with all their favorites, ranked among themselves"),
    Comparison(
        "gowalla-scale",
        "full",
        "the official test",
        test="official_test",
        references=(
            Reference("LightGCN", 0.1830, 0.1554, LIGHTGCN),
            Reference("LightGCN", 0.1813, 0.1548, "ours on a GPU, by `benchmarks/lightgcn.py`"),
            Reference("EASE", 0.1760, 0.1462, "ours, λ of three chosen on validation: [log.md](log.md)"),
            Reference("ALS", 0.1631, 0.1378, IMPLICIT),
            Reference("BPR", 0.1352, 0.1137, CORNAC),
            Reference("item-kNN", 0.1178, 0.0860, OUTSIDE),
            Reference("popularity", 0.042, 0.032, OUTSIDE),
        ),
    ),
    Comparison(
        "flickr-social",
        "full",
        "the official test; settings chosen on the official validation, which is among the favorites",
        test="official_test",
        validation="official_val",
        references=(
            Reference("ALS", 0.0101, 0.0057, IMPLICIT),
            Reference("BPR", 0.0096, 0.0048, CORNAC),
            Reference("EASE", 0.0072, 0.0047, CLOSED),
            Reference("favorites of contacts alone", 0.0062, 0.0033, OUTSIDE),
            Reference("popularity", 0.0069, 0.0039, OUTSIDE),
        ),
    ),
    Comparison(
        "movielens-posters",
        "time",
        "each user's latest fifth",
        references=(
            Reference("EASE", 0.1481, 0.1167, CLOSED),
            Reference("ALS", 0.1450, 0.1127, IMPLICIT),
            Reference("BPR", 0.1204, 0.0919, CORNAC),
            Reference("VBPR", 0.0979, 0.0823, f"{CORNAC}; features: a thumbnail and HOG"),
            Reference("popularity", 0.080, 0.070, OUTSIDE),
        ),
    ),
    Comparison(
        "movielens-posters",
        "cold",
        "a tenth of the images with all their favorites, ranked among themselves",
        references=(
            Reference("VBPR", 0.0708, 0.0490, f"{CORNAC}; features: a thumbnail and HOG"),
            Reference("tag tf-idf profile", 0.0550, 0.0360, OUTSIDE),
            Reference("content profile", 0.0529, 0.0353, OUTSIDE),
            Reference("random", 0.031, 0.018, OUTSIDE),
        ),
    ),
    Comparison("movielens-posters", "full", "a tenth of each user's favorites at random"),
    Comparison("movielens-posters", "auc", "one favorite of each user, over all unobserved images (seed 001)"),
    Comparison("movielens-posters", "paper", "20 concealed favorites among 80 distractors (seed 000)"),
    Comparison("camra-groups", "full", "the official test", test="official_test"),
    Comparison("demo", "paper", "20 concealed favorites among 80 distractors (seed 000)"),
    *(
        Comparison(name, "cold_users", "a tenth of the users with all their favorites")
        for name in ("lastfm-friends", "flickr-social", "movielens-posters", "camra-groups", "demo")
    ),
)
