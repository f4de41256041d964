"""The settings of a nightly run and of a comparison, by section: defaults, under a file, the environment, `--set`."""

import difflib
import logging
import os
from collections.abc import Collection
from dataclasses import dataclass, field, fields, make_dataclass, replace
from typing import Annotated, Any, Generic, Literal, TypeVar, Union

import yaml
from pydantic import ConfigDict, Discriminator, GetCoreSchemaHandler, Tag, TypeAdapter, ValidationError
from pydantic_core import CoreSchema

from flows.errors import SettingsError
from flows.setting_sources import (
    ASSIGNED,
    ENVIRONMENT,
    Layer,
    Sections,
    of_assignments,
    of_environment,
    of_file,
    over,
    shown,
)
from models.settings.cdl import CDLSettings, ComparedSettings, ComparedTraining
from models.settings.clusters import ClusterConfig
from models.settings.features import FeatureConfig
from models.settings.inputs import InputConfig
from models.settings.names import configure, flatten
from models.settings.negatives import NegativeConfig
from models.settings.network import CDLConfig
from models.settings.profiles import InterestConfig
from models.settings.protocols import ProtocolConfig
from models.settings.splits import SplitConfig
from models.settings.systems import FAMILY, OWN_SETTINGS
from models.settings.training import TrainingConfig
from models.settings.triplets import TrainingUsersConfig, TripletConfig
from storage.settings.demo import DemoConfig
from storage.settings.directory import IngestConfig
from storage.settings.downloads import FetchConfig
from storage.settings.flickr import FlickrConfig
from storage.settings.images import ImageConfig
from tasks.settings.concealment import ConcealmentConfig
from tasks.settings.limits import GateConfig
from tasks.settings.lists import PolicyConfig, RecommendConfig
from tasks.settings.profiles import VocabularyConfig
from tasks.settings.runner import RunnerConfig
from tasks.settings.start import IncrementalConfig
from tasks.settings.vectors import PretrainedConfig
from tasks.settings.word2vec import Word2VecConfig

log = logging.getLogger("tastegraph")

DEFAULT_SYSTEM = "tastegraph"
# Where a published system's defaults differ from those it is compared with: readers of an export want embeddings.
PUBLISHED: dict[str, dict[str, Any]] = {"tastegraph": {"dimensions": 512}}
# These sections set the CDL family too, beside what is its own in the section `model`.
CDL_SECTIONS = tuple(item.name for item in fields(CDLSettings) if item.name != "model")
PROFILE_SECTIONS = ("pretrained", "word2vec", "clusters", "vocabulary", "interests")


C = TypeVar("C")  # a flow's settings, one section per component
S = TypeVar("S", bound="SystemConfig")  # a section `model`


@dataclass(frozen=True, kw_only=True)
class SystemConfig:
    """A system's own settings stand beside its name; in a comparison they are those that it starts from."""

    system: str  # its name

    @property
    def own(self) -> dict[str, Any]:
        """The settings that are the system's own, by name."""
        return {item.name: getattr(self, item.name) for item in fields(OWN_SETTINGS[self.system])}


@dataclass(frozen=True, kw_only=True)
class ModelConfig(SystemConfig):
    """Which system learns and is published. Its own settings stand beside these."""

    refit: bool = True  # fit again on all favorites after measuring, and publish that


def _section_of(name: str, base: type[S]) -> type[S]:
    """The section `model` where it names this system; the default one need not be named."""
    named = field(default=name) if name == DEFAULT_SYSTEM else field()
    published = PUBLISHED.get(name, {}) if base is ModelConfig else {}
    others = [(key, type(value), field(default=value)) for key, value in published.items()]
    members = [("system", Literal[name], named), *others]
    return make_dataclass(name, members, bases=(base, OWN_SETTINGS[name]), frozen=True, kw_only=True)


MODELS = {name: _section_of(name, ModelConfig) for name in sorted(OWN_SETTINGS)}
COMPARED_MODELS = {name: _section_of(name, SystemConfig) for name in MODELS}


@dataclass(frozen=True)
class _OneOf:
    """For pydantic: `system` says which of the sections a section `model` is."""

    sections: dict[str, type[SystemConfig]]

    def __get_pydantic_core_schema__(self, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        tagged = [Annotated[section, Tag(name)] for name, section in self.sections.items()]
        one_of_them: Any = Union[tuple(tagged)]  # noqa: UP007  # no | makes a union of a list
        return handler.generate_schema(Annotated[one_of_them, Discriminator(_system_of)])


def _system_of(section: Any) -> Any:
    return section.get("system", DEFAULT_SYSTEM) if isinstance(section, dict) else getattr(section, "system", None)


@dataclass(frozen=True, kw_only=True)
class SharedConfig:
    """The sections of a nightly run and of a comparison."""

    # Of the sections too. Else a misspelled setting passes unseen, and a limit that is nan holds nothing back.
    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    demo: DemoConfig = field(default_factory=DemoConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    images: ImageConfig = field(default_factory=ImageConfig)
    fetch: FetchConfig = field(default_factory=FetchConfig)
    evaluation: ProtocolConfig = field(default_factory=ProtocolConfig)
    pretrained: PretrainedConfig = field(default_factory=PretrainedConfig)
    word2vec: Word2VecConfig = field(default_factory=Word2VecConfig)
    clusters: ClusterConfig = field(default_factory=ClusterConfig)
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    interests: InterestConfig = field(default_factory=InterestConfig)
    inputs: InputConfig = field(default_factory=InputConfig)
    negatives: NegativeConfig = field(default_factory=NegativeConfig)
    training_users: TrainingUsersConfig = field(default_factory=TrainingUsersConfig)
    triplets: TripletConfig = field(default_factory=TripletConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    runner: RunnerConfig = field(default_factory=RunnerConfig)


@dataclass(frozen=True, kw_only=True)
class NightlyConfig(SharedConfig):
    """One section per component; each section's class is in a `settings` folder."""

    __pydantic_config__ = SharedConfig.__pydantic_config__

    concealment: ConcealmentConfig = field(default_factory=ConcealmentConfig)
    model: Annotated[ModelConfig, _OneOf(MODELS)] = field(default_factory=MODELS[DEFAULT_SYSTEM])
    recommend: RecommendConfig = field(default_factory=RecommendConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    incremental: IncrementalConfig = field(default_factory=IncrementalConfig)


@dataclass(frozen=True, kw_only=True)
class ComparisonConfig(SharedConfig):
    """The sections of `compare` and `tune`. CDL trains for fewer epochs there; all that is set is taken as it is."""

    __pydantic_config__ = SharedConfig.__pydantic_config__

    model: Annotated[SystemConfig, _OneOf(COMPARED_MODELS)] = field(default_factory=COMPARED_MODELS[DEFAULT_SYSTEM])
    training: ComparedTraining = field(default_factory=ComparedTraining)
    splits: SplitConfig = field(default_factory=SplitConfig)


def cdl_settings(config: NightlyConfig | ComparisonConfig) -> CDLSettings:
    """The sections that set CDL and its family; the network's where `model` names one of them."""
    own = config.model.own if config.model.system in FAMILY else {}
    sections = {name: getattr(config, name) for name in CDL_SECTIONS}
    return CDLSettings(model=CDLConfig(**own), **sections)


def settings_of(name: str, config: NightlyConfig | ComparisonConfig) -> dict[str, Any]:
    """What a configuration sets of a system, by the names of its own settings; without those at their defaults."""
    if name in FAMILY:
        seeds = {"triplets.seed", "training.seed"}  # a system has one, which is no setting
        given = {key: value for key, value in flatten(cdl_settings(config)).items() if key not in seeds}
        defaults = flatten(ComparedSettings())
    elif config.model.system == name:
        given, defaults = config.model.own, flatten(OWN_SETTINGS[name]())
    else:
        return {}
    return {key: value for key, value in given.items() if value != defaults[key]}


def settings_of_results(config: SharedConfig) -> dict[str, Any]:
    """The sections that results may depend on, by name: all but where they are computed, and how pictures come."""
    return {name: section for name, section in vars(config).items() if name not in ("runner", "fetch")}


def changed_settings(config: ComparisonConfig) -> dict[str, Any]:
    """The settings that differ from a comparison's defaults, each as `section.key`."""
    given, defaults = flatten(replace(config, runner=RunnerConfig(), fetch=FetchConfig())), flatten(ComparisonConfig())
    return {key: value for key, value in given.items() if key not in defaults or value != defaults[key]}


def refuse_ignored(config: ComparisonConfig) -> None:
    """Raises SettingsError for a seed of CDL alone: a comparison gives every system the same seeds."""
    for section in ("triplets", "training"):
        if seed := getattr(config, section).seed:
            raise SettingsError(
                f"{section}.seed is {seed}, but compare fits every system with the seeds 0 to --seeds less 1, and tune "
                f"with 0; leave it out"
            )


def systems_named(systems: str) -> list[str]:
    """The systems of a list with commas, or all. Raises ValueError for one that does not exist."""
    names = sorted(OWN_SETTINGS) if systems == "all" else [name.strip() for name in systems.split(",")]
    if unknown := [name for name in names if name not in OWN_SETTINGS]:
        raise ValueError(f"no system {', '.join(unknown)}; there are {', '.join(sorted(OWN_SETTINGS))}")
    return list(dict.fromkeys(names))


def unused_sections(sections: Collection[str], system: str, names: Collection[str], protocol: str) -> list[str]:
    """Those of these sections that no part of a comparison of these systems reads.

    Args:
        sections: of ComparisonConfig.
        system: that of the section `model`.
        names: the systems that are compared or tuned.
    """
    from models.systems import SYSTEMS

    signals = {signal for name in names for signal in (*SYSTEMS[name].needs, *SYSTEMS[name].wants)}
    uses_cdl = any(name in FAMILY for name in names)
    used = {
        "demo": True,
        "ingest": True,
        "runner": True,
        "images": bool(signals & {"pixels", "features"}),
        "fetch": bool(signals & {"pixels", "features"}),
        "evaluation": protocol == "paper",
        "splits": protocol != "paper",
        "features": "features" in signals,
        "model": system in names or (uses_cdl and system in FAMILY),
        **dict.fromkeys(PROFILE_SECTIONS, "profiles" in signals),
        **dict.fromkeys(CDL_SECTIONS, uses_cdl),
    }
    used["inputs"] |= "features" in signals  # inputs.shard_images
    return [name for name in sections if not used[name]]


def assignments_of(system: str, tuned: dict[str, Any]) -> list[str]:
    """The nightly's settings, each as `section.key=value`, that publish a system with what `tune` found for it.

    Args:
        tuned: the system's own settings by name. What they leave open is that of a comparison.
    """
    if system in FAMILY:
        compared, nightly = flatten(configure(ComparedSettings, tuned)), flatten(CDLSettings())
        named = {key: value for key, value in compared.items() if key in tuned or value != nightly[key]}
    else:
        named = {f"model.{key}": value for key, value in tuned.items()}
    return [f"model.system={system}", *(f"{key}={_as_yaml(value)}" for key, value in named.items())]


def _as_yaml(value: Any) -> str:
    """The value as YAML in one line, which `load` reads back."""
    return str(yaml.safe_dump(value, default_flow_style=True, width=2**20)).removesuffix("...\n").strip()


@dataclass(frozen=True)
class Loaded(Generic[C]):
    """Settings, and where each came from."""

    config: C
    origins: dict[str, str]  # by `section.key`: "default", the file, the variable of the environment, or "--set"


def load(file: str | None = None, assignments: list[str] | None = None) -> NightlyConfig:
    """Defaults, overridden by a file (or by `paper`), by the environment, by assignments: see `load_as`."""
    return load_as(NightlyConfig, file, assignments).config


def load_comparison(
    file: str | None = None,
    assignments: list[str] | None = None,
    names: Collection[str] = (),
    protocol: str = "full",
) -> ComparisonConfig:
    """As `load`, for `compare` and `tune` of these systems.

    What no part of such a comparison reads is left out of a file and of the environment, which may be for nights too,
    and named. As an assignment it is refused. Raises SettingsError.
    """
    layers = _layers(ComparisonConfig, file, assignments)
    config = _resolved(ComparisonConfig, layers).config
    if names:
        named = "these systems" if len(names) > 1 else next(iter(names))
        *given, assigned = layers
        if unused := unused_sections(assigned.sections, config.model.system, names, protocol):
            keys = (f"{section}.{key}" for section in unused for key in assigned.sections[section])
            raise SettingsError(
                f"--set {', '.join(keys)}: nothing reads it when {named} {'are' if len(names) > 1 else 'is'} measured "
                f"by the protocol {protocol}; leave it out, or name a system that it is of"
            )
        for layer in given:
            filled = [name for name, section in layer.sections.items() if section]
            if unused := unused_sections(filled, config.model.system, names, protocol):
                log.info("%-18s %s: %s: nothing reads it in this comparison", "settings", layer.name, ", ".join(unused))
    return config


def load_as(of: type[C], file: str | None = None, assignments: list[str] | None = None) -> Loaded[C]:
    """The settings of a flow: defaults, overridden by a file, by the environment, by assignments.

    File and environment may be for other flows too; what is not of this one is left out and named.

    Args:
        of: the dataclass of its sections.
        file: YAML, or TOML where its name ends so; `paper` is the paper's settings.
        assignments: `section.key=value`, the value as YAML writes it.
    Raises:
        SettingsError: naming the setting, where it stands, what it got, what exists and what may be meant.
    """
    return _resolved(of, _layers(of, file, assignments))


def over_environment(of: type[C], parameter: Sections) -> C:
    """A deployment's parameter `config` over the environment, over the defaults."""
    return _resolved(of, [*_layers(of, None, None)[:-1], Layer("the parameter config", parameter)]).config


def _layers(of: type, file: str | None, assignments: list[str] | None) -> list[Layer]:
    """File, environment and assignments, the last of which win."""
    environment = of_environment(os.environ, {name for flow in WHOSE for name in settings_names(flow)})
    return [*(_without_foreign(of, layer) for layer in (of_file(file), environment)), of_assignments(assignments)]


def _resolved(of: type[C], layers: list[Layer]) -> Loaded[C]:
    merged: Sections = {}
    for layer in layers:
        merged = _merged(merged, layer)
    config = _validate(of, merged, layers)
    whole, origins = Layer("", merged), {}
    for name in flatten(config):
        set_by = [layer for layer in layers if layer.has(name)] if whole.has(name) else []
        origins[name] = set_by[-1].origin(name) if set_by else "default"
    return Loaded(config, origins)


def settings_names(of: Any) -> set[str]:
    """All settings of a flow as `section.key`, those of every system among them."""
    systems = MODELS if of is NightlyConfig else COMPARED_MODELS if of is ComparisonConfig else {}
    own = {f"model.{item.name}" for section in systems.values() for item in fields(section)}
    return set(flatten(of())) | own


def _without_foreign(of: type, layer: Layer) -> Layer:
    """A layer's sections and keys without those of other flows, which are named."""
    own, foreign = {item.name for item in fields(of)}, dict[str, list[str]]()
    kept = {name: dict(section) for name, section in layer.sections.items()}
    for name in layer.sections.keys() - own:
        whose = [who for flow, who in WHOSE.items() if name in {item.name for item in fields(flow)}]
        if whose:
            foreign.setdefault(" and ".join(whose), []).append(name)
            del kept[name]
    if of is ComparisonConfig and kept.get("model", {}).pop("refit", None) is not None:
        foreign.setdefault(WHOSE[NightlyConfig], []).append("model.refit")
    for whose_, names in sorted(foreign.items()):
        log.info("%-18s %s: %s: of %s alone", "settings", layer.name, ", ".join(sorted(names)), whose_)
    return Layer(layer.name, kept)


def _merged(below: Sections, above: Layer) -> Sections:
    """A layer over those below. Another `model.system` than theirs takes none of that system's settings.

    Within the CDL family those that both have stay.
    """
    merged = {name: dict(section) for name, section in below.items()}
    before, after = merged.get("model", {}), above.sections.get("model", {}).get("system")
    system = before.get("system", DEFAULT_SYSTEM)
    if before and after in MODELS and after != system:
        shared = {item.name for item in fields(FAMILY[after])} if {after, system} <= FAMILY.keys() else set()
        kept = {key: value for key, value in before.items() if key in {"system", "refit"} | shared}
        if left_out := before.keys() - kept:
            names = ", ".join(f"model.{key}" for key in sorted(left_out))
            log.info("%-18s left out: %s: of %s, not of %s", "settings", names, system, after)
        merged["model"] = kept
    return over(merged, above.sections)


def validate(settings: Sections) -> NightlyConfig:
    """A file's sections as the nightly's settings. Raises SettingsError."""
    return _resolved(NightlyConfig, [_without_foreign(NightlyConfig, Layer("the file", settings))]).config


def validate_comparison(settings: Sections) -> ComparisonConfig:
    """A file's sections as the settings of `compare` and `tune`. Raises SettingsError."""
    return _resolved(ComparisonConfig, [_without_foreign(ComparisonConfig, Layer("the file", settings))]).config


def _validate(of: type[C], settings: dict[str, Any], layers: list[Layer]) -> C:
    try:
        return TypeAdapter(of).validate_python(settings)
    except ValidationError as error:
        problems = (_explain(of, problem, layers) for problem in error.errors())
        raise SettingsError("\n".join(problems)) from error


def _explain(of: Any, problem: Any, layers: list[Layer]) -> str:
    if not problem["loc"]:  # a key of the outermost dict, which is no text
        sections = ", ".join(item.name for item in fields(of))
        return f"{problem['input']!a}: there is no such section; there are {sections}"
    section, *keys = problem["loc"]
    if problem["type"] == "union_tag_invalid":
        wanted = problem["ctx"]["tag"]
        where = _where(f"{section}.system", layers)
        return f"{where}there is no system {wanted!r}{_meant(wanted, MODELS)}; there are {', '.join(MODELS)}"
    known = {item.name: getattr(of(), item.name) for item in fields(of)}
    owner, whose = known.get(section), ""
    if section == "model" and keys:  # the first key is the system, which stands in no file
        owner, whose = (COMPARED_MODELS if of is ComparisonConfig else MODELS)[keys.pop(0)], f" of {problem['loc'][1]}"
    for key in keys[:-1]:
        owner = getattr(owner, str(key), owner)
    place = ".".join(str(part) for part in (section, *keys))
    where = _where(place, layers)
    if problem["type"] == "unexpected_keyword_argument":
        choices = sorted(item.name for item in fields(owner)) if owner else sorted(known)
        elsewhere = [flow for flow in WHOSE if flow is not of and place in {item.name for item in fields(flow)}]
        alone = f" here, it is of {WHOSE[elsewhere[0]]} alone" if elsewhere and of in WHOSE else ""
        meant = "" if alone else _meant(place, choices, settings_names(of) if owner else ())
        return f"{where}there is no such setting{whose}{alone}{meant}; there are {', '.join(choices)}"
    got, quote = problem["input"], "'" if isinstance(problem["input"], str) else ""
    return f"{where}{problem['msg']} (got {quote}{shown(got, place)}{quote})"


def _where(place: str, layers: list[Layer]) -> str:
    """The setting with a colon, behind the file or the variable that it stands in."""
    named = [layer for layer in layers if layer.has(place)]
    layer = named[-1] if named else None
    if layer is None or layer.name == ASSIGNED:
        return f"{place}: "
    if layer.name != ENVIRONMENT:
        return f"{layer.name}: {place}: "
    below = layer.sections.get(place)  # where the section itself is wrong
    return f"{layer.origin(f'{place}.{next(iter(below))}' if below else place)}: {place}: "


def _meant(given: str, names: Collection[str], others: Collection[str] = ()) -> str:
    """The nearest right name as a question.

    Args:
        names: what may stand there: keys, sections or systems.
        others: names of all sections, where the key alone may be right, or the section has other keys.
    """
    key = given.rpartition(".")[2]
    near = difflib.get_close_matches(key, names, 1)
    if near:
        return f", did you mean {given.removesuffix(key)}{near[0]}?"
    same_key = [name for name in others if name.rpartition(".")[2] == key]
    near = difflib.get_close_matches(given, sorted(same_key), 1, 0.0)
    return f", did you mean {near[0]}?" if near else ""


WHOSE: dict[type, str] = {
    NightlyConfig: "the nightly",
    ComparisonConfig: "compare and tune",
    FlickrConfig: "the crawl",
}
