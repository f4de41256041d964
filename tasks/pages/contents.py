"""What a run's report shows, as records: kept as JSON beside the page, so that the page can be rendered again without
forgotten users and images."""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

VERSION = 1  # raised when a record below changes; a report of another version is not rendered again

CUT = "…"  # how the text of a long row ends

Counts = npt.NDArray[np.integer[Any]]


class ContentsError(ValueError):
    """A report's JSON that this version cannot read."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A row of the METRICS table."""

    protocol: str
    slice: str
    system: str
    metric: str
    k: int
    value: float
    low: float
    high: float
    users: int


@dataclass(frozen=True, kw_only=True)
class Past:
    """A headline figure of an earlier run whose figures are comparable."""

    run_id: str
    generated_at: str  # ISO 8601, UTC
    protocol: str
    metric: str
    k: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A gate's outcome."""

    name: str
    passed: bool
    message: str
    is_warning: bool = False  # not passing is loud, but stops nothing
    figure: float | None = None
    limits: str = ""


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """What one table brought in, and the rows that were kept out, by reason."""

    table: str
    rows: int
    quarantined: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Distributions:
    """The community's long tails (CDL, Figs. 3 and 4). An empty array: the community has none of it."""

    users_per_cluster: Counts  # one per cluster: users with an interest in it
    favorites_per_user: Counts  # one per user
    tags_per_user: Counts  # one per user


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster, with its most frequent tokens first."""

    cluster: int
    size: int
    tokens: Sequence[str]


@dataclass(frozen=True, kw_only=True, eq=False)
class NegativesAudit:
    """The negative assignment in figures (CDL, section 5); every array holds one image count per user."""

    tagged: Counts
    contacts: Counts
    groups: Counts
    left: Counts
    dropped: Sequence[tuple[str, int]] = ()  # exclusions that fell away, e.g. ("tags+groups", 3 users)
    without: Sequence[tuple[str, int]] = ()  # why no negative is left, e.g. ("favorited every image", 1 user)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How training went: the loss at the steps where it was noted, and the settings used."""

    loss: Sequence[tuple[int, float]] = ()
    settings: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a stage, in seconds from the begin of the run's first stage."""

    started_s: float
    elapsed_s: float
    is_reused: bool = False  # nothing of it had to run


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of the run: how many of its task runs ran or were reused, how long they took together, and when."""

    name: str
    ran: int
    reused: int
    seconds: float
    calls: Sequence[Call] = ()  # none in reports that were kept before they were noted


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image to show: a thumbnail (JPEG, at most some 160 px), or None where the community has no pixels."""

    image_id: str
    title: str | None = None
    tags: Sequence[str] = ()
    jpeg: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Reason:
    """What a signal adds to a score, and what stands behind it: rows of the REASONS table."""

    signal: str
    share: float
    because: str | None = None  # the id of an image, tag, contact, group or owner
    label: str | None = None  # the image's title


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """A picture in a list of a user's."""

    picture: Picture
    rank: int
    score: float
    concealed: bool = False  # a favorite kept from what was measured: a correct one
    reasons: Sequence[Reason] = ()  # the largest share first; none where the run does not say


@dataclass(frozen=True, kw_only=True)
class Person:
    """A user of the gallery: what they care for, what they like, what they got, and what the measured system found.

    What a user got is the exported list. The measured system learned without the concealed favorites, and where it is
    fitted once more before publishing, its list is another one.
    """

    user_id: str
    interests: Sequence[str]
    likes: Sequence[Picture]
    got: Sequence[Recommendation]
    num_concealed: int  # how many of the user's favorites were concealed
    found: Sequence[Recommendation] = ()  # the measured system's list


@dataclass(frozen=True, kw_only=True)
class CaseStudy:
    """A user of the gallery in whole, as CDL's network saw them (CDL, Figs. 7 to 9)."""

    user_id: str
    tags: Sequence[tuple[str, int]]  # of interest, and how often the user uses them, the most frequent first
    positives: Sequence[Picture]  # training favorites in the user's triplets
    negatives: Sequence[Picture]  # assigned ones in these triplets
    profile: Sequence[float]  # what the user's tower takes: a weight for each cluster
    user: Sequence[float]  # what it learned
    positive_vectors: Sequence[Sequence[float]]  # what the images' tower learned of the first positives
    negative_vectors: Sequence[Sequence[float]]  # and of the first negatives


@dataclass(frozen=True, kw_only=True)
class Miss:
    """A test user for whom the measured system found least: what they like, what it should have found, what it did."""

    user_id: str
    ndcg: float
    num_likes: int
    num_missed: int  # concealed favorites
    likes: Sequence[Picture]
    missed: Sequence[Picture]
    got: Sequence[Recommendation]


@dataclass(frozen=True, kw_only=True)
class KeptOut:
    """A reason for which rows of a table, or pictures, were quarantined, and the first of them: (where, what)."""

    table: str
    reason: str
    count: int
    samples: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class ColdImage:
    """An image without a favorite, and in how many exported lists it is."""

    picture: Picture
    num_lists: int


@dataclass(frozen=True, kw_only=True)
class Failures:
    """What the night did badly, or could not do."""

    k: int  # how many places were looked at
    num_ranked: int  # test users, of whom a sample is ranked where they are many
    num_without: int  # of these, users none of whose concealed favorites is there
    misses: Sequence[Miss] = ()
    kept_out: Sequence[KeptOut] = ()
    num_cold: int = 0  # images without a favorite
    num_cold_listed: int = 0  # of these, in at least one list
    cold: Sequence[ColdImage] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.misses or self.kept_out or self.cold)


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """All that the page shows. A part left out is named as missing in a sentence, so that every run has its page."""

    title: str
    run_id: str
    source: str
    generated_at: datetime
    published: bool
    system: str  # that is exported; the others stand beside it
    verdict: str  # one sentence after the badge "Published" or "Not current": since when, or why not
    warnings: Sequence[str] = ()  # what must not be overlooked, e.g. below popularity
    gates: Sequence[Gate] = ()
    metrics: Sequence[Metric] = ()
    past: Sequence[Past] = ()  # of the last runs, the oldest first
    readings: Sequence[tuple[str, str]] = ()  # (what, how this run read it)
    community: Sequence[Ingested] = ()
    distributions: Distributions | None = None
    clusters: Sequence[Cluster] = ()
    negatives: NegativesAudit | None = None
    training: Training | None = None
    stages: Sequence[Stage] = ()
    people: Sequence[Person] = ()
    failures: Failures | None = None  # None: of a report that was kept before
    case: CaseStudy | None = None  # None: another system than CDL, or nobody of the gallery has triplets


def name_of(source: str) -> str:
    """The last part of a source's address, for titles; the demo's, which names its settings, is `demo`."""
    name = source.rstrip("/").rpartition("/")[2]
    return re.sub(r"^demo-[0-9a-f]{12}$", "demo", name)


def to_json(report: Report) -> bytes:
    """The report as JSON. A picture stands in it once, and people refer to it by its id.

    Of counts per user it holds how many users have each, so that no number is one user's.
    """
    people = [
        {
            **_plain(replace(person, likes=(), got=(), found=())),
            "likes": [picture.image_id for picture in person.likes],
            "got": [{**_plain(item), "picture": item.picture.image_id} for item in person.got],
            "found": [{**_plain(item), "picture": item.picture.image_id} for item in person.found],
        }
        for person in report.people
    ]
    value = {
        "version": VERSION,
        **_plain(replace(report, people=(), case=None, failures=None)),
        "people": people,
        "case": report.case and _case_plain(report.case),
        "failures": _failures_plain(report.failures) if report.failures is not None else None,
        "pictures": [_plain(picture) for picture in pictures_of(report)],
    }
    return json.dumps(value, ensure_ascii=False).encode()


def from_json(data: bytes) -> Report:
    """The report that `to_json` wrote; rendered, it is the same page. Raises ContentsError for anything else."""
    try:
        value = json.loads(data)
        version = value.pop("version")
        if version != VERSION:
            raise ContentsError(f"a report of version {version}, and this code reads version {VERSION}")
        pictures = {item["image_id"]: _picture(item) for item in value.pop("pictures")}
        people = [_person(item, pictures) for item in value.pop("people")]
        records = {
            "gates": [Gate(**item) for item in value.pop("gates")],
            "metrics": [Metric(**item) for item in value.pop("metrics")],
            "past": [Past(**item) for item in value.pop("past", ())],
            "community": [Ingested(**item) for item in value.pop("community")],
            "clusters": [Cluster(**item) for item in value.pop("clusters")],
            "stages": [_stage(item) for item in value.pop("stages")],
            "case": _case(value.pop("case", None), pictures),
            "failures": _failures(value.pop("failures", None), pictures),
            "training": _record(Training, value.pop("training")),
            "distributions": _record(Distributions, value.pop("distributions")),
            "negatives": _record(NegativesAudit, value.pop("negatives")),
        }
        at = datetime.fromisoformat(value.pop("generated_at"))
        return Report(**value, **records, generated_at=at, people=people)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ContentsError(f"no report that can be rendered again ({type(error).__name__}: {error})") from error


def pictures_of(report: Report) -> list[Picture]:
    """All pictures that the page shows, each once, in the order of the page."""
    shown = [picture for one in report.people for picture in (*one.likes, *(item.picture for item in one.got))]
    shown += [item.picture for person in report.people for item in person.found]
    if report.case:
        shown += [*report.case.positives, *report.case.negatives]
    if report.failures:
        for miss in report.failures.misses:
            shown += [*miss.likes, *miss.missed, *(item.picture for item in miss.got)]
        shown += [image.picture for image in report.failures.cold]
    return list({picture.image_id: picture for picture in shown}.values())


def _plain(value: Any) -> Any:
    """A record in JSON's types."""
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, np.ndarray):
        counts, times = np.unique(value, return_counts=True)
        return {"counts": counts.tolist(), "times": times.tolist()}
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _record(kind: type[Any], value: Mapping[str, Any] | None) -> Any:
    """The record, or None for none; arrays in rising order."""
    if value is None:
        return None
    arrays = {
        name: np.repeat(np.array(item["counts"], np.int64), np.array(item["times"], np.int64))
        for name, item in value.items()
        if isinstance(item, dict)
    }
    return kind(**{**value, **arrays})


def _stage(value: Mapping[str, Any]) -> Stage:
    return Stage(**{**value, "calls": [Call(**item) for item in value.get("calls", ())]})


def _person(value: Mapping[str, Any], pictures: Mapping[str, Picture]) -> Person:
    lists = {name: [_recommendation(item, pictures) for item in value.get(name, ())] for name in ("got", "found")}
    return Person(**{**value, "likes": [pictures[image_id] for image_id in value["likes"]], **lists})


def _case_plain(case: CaseStudy) -> dict[str, Any]:
    ids = {name: [picture.image_id for picture in getattr(case, name)] for name in ("positives", "negatives")}
    return {**_plain(replace(case, positives=(), negatives=())), **ids}


def _case(value: Mapping[str, Any] | None, pictures: Mapping[str, Picture]) -> CaseStudy | None:
    if value is None:
        return None
    shown = {name: [pictures[image_id] for image_id in value[name]] for name in ("positives", "negatives")}
    return CaseStudy(**{**value, **shown})


def _failures_plain(failures: Failures) -> dict[str, Any]:
    misses = [
        {
            **_plain(replace(miss, likes=(), missed=(), got=())),
            **{name: [picture.image_id for picture in getattr(miss, name)] for name in ("likes", "missed")},
            "got": [{**_plain(item), "picture": item.picture.image_id} for item in miss.got],
        }
        for miss in failures.misses
    ]
    cold = [{"picture": image.picture.image_id, "num_lists": image.num_lists} for image in failures.cold]
    return {**_plain(replace(failures, misses=(), cold=())), "misses": misses, "cold": cold}


def _failures(value: Mapping[str, Any] | None, pictures: Mapping[str, Picture]) -> Failures | None:
    if value is None:
        return None
    misses = [
        Miss(
            **{
                **item,
                **{name: [pictures[image_id] for image_id in item[name]] for name in ("likes", "missed")},
                "got": [_recommendation(one, pictures) for one in item["got"]],
            }
        )
        for item in value["misses"]
    ]
    kept_out = [
        KeptOut(**{**item, "samples": [(where, what) for where, what in item["samples"]]}) for item in value["kept_out"]
    ]
    cold = [ColdImage(**{**item, "picture": pictures[item["picture"]]}) for item in value["cold"]]
    return Failures(**{**value, "misses": misses, "kept_out": kept_out, "cold": cold})


def _recommendation(value: Mapping[str, Any], pictures: Mapping[str, Picture]) -> Recommendation:
    reasons = [Reason(**item) for item in value.get("reasons", ())]
    return Recommendation(**{**value, "picture": pictures[value["picture"]], "reasons": reasons})


def _picture(value: Mapping[str, Any]) -> Picture:
    jpeg = value["jpeg"]
    return Picture(**{**value, "jpeg": None if jpeg is None else b64decode(jpeg)})
