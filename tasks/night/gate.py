"""Whether a run may become current: its tables' contracts, its policy, its metrics, its drift from the current run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.evaluation.headlines import HEADLINES, headline_of
from storage import parquet
from storage.manifests import Manifest, Outcome
from storage.refs import Ref
from storage.roots import Root
from storage.tables.recommendations import RECOMMENDATIONS
from storage.tables.similar import SIMILAR_IMAGES
from tasks.data.tag_leak import TagAccount
from tasks.evaluation.policy_price import Price
from tasks.night.contracts import check_contracts
from tasks.night.drift import COUNTED, READ, Run, check_drift
from tasks.night.limits import fall, judge
from tasks.night.policy_checks import check_policy
from tasks.settings.limits import RECALL, GateConfig
from tasks.systems.lists import Lists
from tasks.systems.recall import Recall


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A night's results, as far as the gate looks at them."""

    system: str
    metrics: list[dict[str, Any]]  # rows of METRICS
    exports: dict[str, list[Ref]]  # by table of `storage.tables.exports.EXPORTS`
    table: dict[str, Ref]  # the community, as ingested
    lists: Lists
    comparable: dict[str, Any]  # metrics are compared with those of a run in which it is equal
    settings: dict[str, Any]
    tags: TagAccount | None = None  # what they tell of the concealed favorites
    prices: tuple[Price, ...] = ()  # of the policy's rules
    recall: tuple[Recall, ...] = ()  # of lists that an index found

    @property
    def run(self) -> Run:
        """What drift is measured on."""
        return Run(self.system, self.exports[RECOMMENDATIONS.name], self.table)


def gate(night: Candidate, last: Manifest | None, config: GateConfig, root: Root) -> list[Outcome]:
    """The outcomes of all checks.

    Args:
        last: the current run, of whatever system.
    """
    request, settings = night.lists.request, night.lists.config
    lengths = {RECOMMENDATIONS.name: settings.num_recommendations, SIMILAR_IMAGES.name: settings.num_similar}
    lists, similar = (parquet.scan_all(night.exports[name], root) for name in lengths)
    return [
        *check_contracts(
            night.exports,
            night.table,
            lengths,
            root,
            is_by_score=not (request.policy and request.policy.config.diversity),
            is_inner_product=request.model.fitted is None,
        ),
        *check_policy(request.policy, lists, similar, night.prices, root),
        *_check_recall(night.recall, settings.recall, config),
        *_check_metrics(night, last, config),
        *_check_drift(night, last, config, root),
    ]


def _check_recall(found: Sequence[Recall], asked: float, config: GateConfig) -> Iterator[Outcome]:
    for recall in found:
        yield judge(f"{RECALL} {recall.table}", asked - recall.value, "recall_short", config, recall.line)


def _check_metrics(night: Candidate, last: Manifest | None, config: GateConfig) -> Iterator[Outcome]:
    if not any(row["slice"] == "all" for row in night.metrics):
        yield Outcome("tested", False, True, "no user has enough favorites to be tested, so nothing is known")
    if night.tags:
        yield Outcome("tags in the test", not night.tags.is_warning, True, night.tags.line)
    for protocol, metric in HEADLINES:
        ours = headline_of(night.metrics, night.system, protocol, metric)
        if ours is None:
            continue
        name = f"{protocol} {metric}@{ours['k']}"  # below 20 where the protocol was lowered to a small community
        for floor in ("random", "popularity"):
            theirs = headline_of(night.metrics, floor, protocol, metric)
            assert theirs, f"{floor} is measured beside every system"
            lead = ours["value"] - theirs["value"]
            message = f"{ours['value']:.4f}, {floor} {theirs['value']:.4f}"
            yield judge(f"{name} above {floor}", lead, f"lead_over_{floor}", config, message)
        before = headline_of(last.metrics, last.system, protocol, metric) if last else None
        if last and before and before["k"] == ours["k"] and last.comparable == night.comparable:
            yield _fallen(f"{name} near run {last.run_id}", ours, before, config)


def _fallen(name: str, ours: Mapping[str, Any], before: Mapping[str, Any], config: GateConfig) -> Outcome:
    """How far a metric is below the last run's, and whether the intervals of both explain it."""
    difference = before["value"] - ours["value"]
    noise = ((before["value"] - before["low"]) ** 2 + (ours["high"] - ours["value"]) ** 2) ** 0.5
    message = f"{ours['value']:.4f}, then {before['value']:.4f}; the intervals explain a fall of {noise:.4f}"
    within = "the intervals of both explain the fall" if difference <= noise else ""
    return judge(name, fall(ours["value"], before["value"]), "metric_fall", config, message, no_hold=within)


def _check_drift(night: Candidate, last: Manifest | None, config: GateConfig, root: Root) -> Iterator[Outcome]:
    if last is None:
        yield Outcome("drift", True, True, "nothing is published yet to compare with")
        return
    if last.comparable.get("source") != night.comparable["source"]:
        yield Outcome("drift", True, True, f"not compared: run {last.run_id} is of {last.source}, another source")
        return
    lists = [file.ref for file in last.table_files(RECOMMENDATIONS.name)]
    before = Run(last.system, lists, last.inputs)
    needed = [*lists, *(last.inputs[name] for name in READ if name in last.inputs)]
    if not last.inputs.keys() >= {*COUNTED} or not all(root.exists(ref.path) for ref in needed):
        yield Outcome("drift", True, True, f"not compared: tables of run {last.run_id} are gone")
        return
    changed = [name for name in sorted(night.settings.keys() | last.settings.keys()) if name not in NO_MATTER]
    changed = [name for name in changed if night.settings.get(name) != last.settings.get(name)]
    no_hold = f"settings differ from those of run {last.run_id}: {', '.join(changed)}" if changed else ""
    yield from check_drift(night.run, before, config, root, no_hold=no_hold)


NO_MATTER = {"demo", "ingest", "gate", "incremental"}  # sections that are not meant to change what is recommended
