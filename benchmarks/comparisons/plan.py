"""The comparisons of the page, and reference figures that others measured or published on the same sets."""

from dataclasses import dataclass

SAME_FILES = "the same files"
SAME_DRAW = "drawn the same way"
OTHER_DRAW = "another draw"  # its rows are not published: compare with care


@dataclass(frozen=True)
class Reference:
    """Figures of a system that the comparison itself did not measure, at the set's usual list length."""

    system: str
    recall: float
    ndcg: float
    source: str
    split: str  # that they stand on
    published: bool = False  # by a paper or a public benchmark; else measured with a library, for this project


@dataclass(frozen=True)
class Comparison:
    """A comparison of the page: a set, a protocol, and its split in words."""

    set: str
    protocol: str
    split: str
    test: str | None = None  # the table of the set that is the test; None: a random one
    validation: str | None = None  # the same for validation
    references: tuple[Reference, ...] = ()
    remark: str = ""  # on what is published, as a sentence
    on_leaderboard: bool = False  # docs/leaderboard.md shows it

    def command(self, data: str, root: str, systems: str, seeds: int, budget: int) -> list[str]:
        """The command that runs it."""
        source = "demo" if self.set == "demo" else f"{data}/{self.set}"
        tables = {"--test": self.test, "--validation": self.validation}
        files = [word for key, name in tables.items() if name for word in (key, f"{source}/{name}.parquet")]
        return [
            *("tastegraph", "compare", "--source", source, "--root", root, "--systems", systems),
            *("--protocol", self.protocol, *files, "--seeds", str(seeds), "--budget", str(budget)),
        ]


# Tuned on a small grid on validation.
IMPLICIT, CORNAC, CLOSED = "implicit 0.7.3", "Cornac 3.0.1", "in closed form"
OUTSIDE = "measured by others"
RECBOLE_GNN = "RecBole-GNN"
LIGHTGCN = "He et al., SIGIR 2020, table 4"
BARS = "BARS-Match, gowalla_x1"  # https://github.com/reczoo/BARS
ULTRAGCN = "Mao et al., CIKM 2021"
DIFFMM = "DiffMM 2024"  # Jiang et al., ACM MM
RECDIFF = "RecDiff 2024"  # Li et al., CIKM


def _published(source: str, split: str, *figures: tuple[str, float, float]) -> tuple[Reference, ...]:
    """References of one source: system, recall, NDCG."""
    return tuple(Reference(*figure, source, split, published=True) for figure in figures)


def _measured(split: str, *figures: tuple[str, float, float, str]) -> tuple[Reference, ...]:
    """References on one split that were measured with libraries: system, recall, NDCG, source."""
    return tuple(Reference(*figure, split) for figure in figures)


COMPARISONS = (
    Comparison(
        "tiktok-visual",
        "full",
        "the official test; validation is official too, and never learned from",
        test="official_test",
        validation="official_val",
        references=(
            *_published(
                DIFFMM,
                SAME_FILES,
                ("DiffMM", 0.1129, 0.0456),
                ("BM3", 0.0957, 0.0404),
                ("LATTICE", 0.0843, 0.0367),
                ("LightGCN", 0.0653, 0.0282),
                ("VBPR", 0.0380, 0.0134),
                ("MF-BPR", 0.0346, 0.0130),
            ),
            *_measured(
                SAME_FILES,
                ("EASE", 0.0874, 0.0393, CLOSED),
                ("ALS", 0.0883, 0.0371, IMPLICIT),
                ("popularity", 0.0597, 0.0255, OUTSIDE),
            ),
        ),
        remark="What is published with features saw those of text too, which the set lacks.",
        on_leaderboard=True,
    ),
    Comparison(
        "ciao-trust",
        "full",
        "the official test; validation is official too, and never learned from",
        test="official_test",
        validation="official_val",
        references=(
            *_published(
                RECDIFF,
                SAME_FILES,
                ("RecDiff", 0.0712, 0.0419),
                ("DSL", 0.0606, 0.0389),
                ("SAMN", 0.0604, 0.0384),
                ("MHCN", 0.0621, 0.0378),
                ("GDMSR", 0.0560, 0.0355),
                ("TrustMF", 0.0539, 0.0343),
                ("DiffNet", 0.0528, 0.0328),
            ),
            *_measured(
                SAME_FILES,
                ("ALS", 0.0674, 0.0453, IMPLICIT),
                ("EASE", 0.0611, 0.0423, CLOSED),
                ("popularity", 0.0428, 0.0294, OUTSIDE),
            ),
        ),
        on_leaderboard=True,
    ),
    Comparison(
        "lastfm-friends",
        "full",
        "a tenth of each user's favorites at random",
        references=(
            *_published(
                RECBOLE_GNN,
                OTHER_DRAW,
                ("SEPT", 0.2127, 0.2057),
                ("MHCN", 0.2123, 0.2068),
                ("LightGCN", 0.2064, 0.1972),
                ("NGCF", 0.1960, 0.1898),
                ("BPR", 0.1761, 0.1674),
                ("DiffNet", 0.1757, 0.1694),
                ("NeuMF", 0.1696, 0.1604),
            ),
            *_measured(
                SAME_DRAW,
                ("ALS", 0.2206, 0.2159, f"{IMPLICIT}, refit on training and validation"),
                ("EASE", 0.2115, 0.2074, CLOSED),
                ("BPR", 0.1977, 0.1876, CORNAC),
                ("SBPR", 0.1864, 0.1788, CORNAC),
                ("item-kNN", 0.1801, 0.1767, OUTSIDE),
                ("popularity", 0.068, 0.063, OUTSIDE),
            ),
        ),
        remark="*Another draw*: of 8:1:1, whose rows are not known; small differences mean nothing.",
        on_leaderboard=True,
    ),
    Comparison("lastfm-friends", "cold", "a tenth of the images with all their favorites, ranked among themselves"),
    Comparison(
        "gowalla-scale",
        "full",
        "the official test",
        test="official_test",
        references=(
            *_published(
                LIGHTGCN,
                SAME_FILES,
                ("LightGCN", 0.1830, 0.1554),
                ("Mult-VAE", 0.1641, 0.1335),
                ("NGCF", 0.1570, 0.1327),
            ),
            *_published(ULTRAGCN, SAME_FILES, ("UltraGCN", 0.1862, 0.1580)),
            *_published(
                BARS,
                SAME_FILES,
                ("LightGCN", 0.1820, 0.1547),
                ("EASE", 0.1765, 0.1467),
                ("SLIM", 0.1699, 0.1382),
                ("MF-BPR", 0.1627, 0.1378),
                ("CML", 0.1670, 0.1292),
                ("item-kNN", 0.1570, 0.1214),
            ),
            *_measured(
                SAME_FILES,
                ("LightGCN", 0.1813, 0.1548, "ours on a GPU, by `benchmarks/lightgcn.py`"),
                ("EASE", 0.1760, 0.1462, "ours, λ of three chosen on validation: [log.md](log.md)"),
                ("ALS", 0.1631, 0.1378, IMPLICIT),
                ("BPR", 0.1352, 0.1137, CORNAC),
                ("item-kNN", 0.1178, 0.0860, OUTSIDE),
                ("popularity", 0.042, 0.032, OUTSIDE),
            ),
        ),
        remark="The files have no validation part: published settings were chosen on the test, unless one was drawn.",
        on_leaderboard=True,
    ),
    Comparison(
        "flickr-social",
        "full",
        "the official test; validation is official too, and among the favorites",
        test="official_test",
        validation="official_val",
        references=_measured(
            SAME_FILES,
            ("ALS", 0.0101, 0.0057, IMPLICIT),
            ("BPR", 0.0096, 0.0048, CORNAC),
            ("EASE", 0.0072, 0.0047, CLOSED),
            ("favorites of contacts alone", 0.0062, 0.0033, OUTSIDE),
            ("popularity", 0.0069, 0.0039, OUTSIDE),
        ),
        on_leaderboard=True,
    ),
    Comparison(
        "movielens-posters",
        "time",
        "each user's latest fifth",
        references=_measured(
            SAME_DRAW,
            ("EASE", 0.1481, 0.1167, CLOSED),
            ("ALS", 0.1450, 0.1127, IMPLICIT),
            ("BPR", 0.1204, 0.0919, CORNAC),
            ("VBPR", 0.0979, 0.0823, f"{CORNAC}; features: a thumbnail and HOG"),
            ("popularity", 0.080, 0.070, OUTSIDE),
        ),
        on_leaderboard=True,
    ),
    Comparison(
        "movielens-posters",
        "cold",
        "a tenth of the images with all their favorites, ranked among themselves",
        references=_measured(
            SAME_DRAW,
            ("VBPR", 0.0708, 0.0490, f"{CORNAC}; features: a thumbnail and HOG"),
            ("tag tf-idf profile", 0.0550, 0.0360, OUTSIDE),
            ("content profile", 0.0529, 0.0353, OUTSIDE),
            ("random", 0.031, 0.018, OUTSIDE),
        ),
        on_leaderboard=True,
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
