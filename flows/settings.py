"""The settings of a nightly run, section by section, from defaults, a file, and `--set`."""

from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

import yaml
from pydantic import ConfigDict, Discriminator, GetCoreSchemaHandler, Tag, TypeAdapter, ValidationError
from pydantic_core import CoreSchema

from flows.errors import SettingsError
from models.cdl.inputs import InputConfig
from models.cdl.negatives import NegativeConfig
from models.cdl.network import CDLConfig
from models.cdl.settings import CDLSettings, nightly_settings
from models.cdl.training import TrainingConfig
from models.cdl.triplets import TrainingUsersConfig, TripletConfig
from models.content.clusters import ClusterConfig
from models.content.features import FeatureConfig
from models.content.profiles import InterestConfig
from models.evaluation.protocols import ProtocolConfig
from models.evaluation.splits import SplitConfig
from models.systems import SYSTEMS
from storage.images import ImageConfig
from storage.sources.demo.community import DemoConfig
from storage.sources.directory import IngestConfig
from tasks.data.concealment import ConcealmentConfig
from tasks.data.profiles import VocabularyConfig
from tasks.data.vectors import PretrainedConfig
from tasks.data.word2vec import Word2VecConfig
from tasks.night.gate import GateConfig
from tasks.night.start import IncrementalConfig
from tasks.systems.lists import RecommendConfig

DEFAULT_SYSTEM = "tastegraph"
# Where a published system's defaults differ from those it is compared with: readers of an export want embeddings.
PUBLISHED: dict[str, dict[str, Any]] = {"tastegraph": {"dimensions": 512}}
OWN_SETTINGS: dict[str, type] = {name: made.Config for name, made in sorted(SYSTEMS.items())} | {"cdl": CDLConfig}


C = TypeVar("C")  # a flow's settings, one section per component


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which system learns and is published. Its own settings stand beside these."""

    system: str  # its name
    refit: bool = True  # publish what has learned from the concealed favorites too, after measuring what had not

    @property
    def own(self) -> dict[str, Any]:
        """The settings that are the system's own, by name."""
        return {item.name: getattr(self, item.name) for item in fields(OWN_SETTINGS[self.system])}


def _section_of(name: str, own: type) -> type[ModelConfig]:
    """The section `model` where it names this system; the default one need not be named."""
    named = field(default=name) if name == DEFAULT_SYSTEM else field()
    others = [(key, type(value), field(default=value)) for key, value in PUBLISHED.get(name, {}).items()]
    members = [("system", Literal[name], named), *others]
    return make_dataclass(name, members, bases=(ModelConfig, own), frozen=True, kw_only=True)


MODELS = {name: _section_of(name, own) for name, own in OWN_SETTINGS.items()}


class _OneOfModels:
    """For pydantic: `system` says which of the sections a section `model` is."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        tagged = [Annotated[section, Tag(name)] for name, section in MODELS.items()]
        one_of_them: Any = Union[tuple(tagged)]  # noqa: UP007  # no | makes a union of a list
        return handler.generate_schema(Annotated[one_of_them, Discriminator(_system_of)])


def _system_of(section: Any) -> Any:
    return section.get("system", DEFAULT_SYSTEM) if isinstance(section, dict) else None


@dataclass(frozen=True, kw_only=True)
class NightlyConfig:
    """One section per component; each section's fields are documented beside the code they set."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # of the sections too; else a misspelled setting passes unseen

    demo: DemoConfig = field(default_factory=DemoConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    images: ImageConfig = field(default_factory=ImageConfig)
    evaluation: ProtocolConfig = field(default_factory=ProtocolConfig)
    concealment: ConcealmentConfig = field(default_factory=ConcealmentConfig)
    pretrained: PretrainedConfig = field(default_factory=PretrainedConfig)
    word2vec: Word2VecConfig = field(default_factory=Word2VecConfig)
    clusters: ClusterConfig = field(default_factory=ClusterConfig)
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    interests: InterestConfig = field(default_factory=InterestConfig)
    inputs: InputConfig = field(default_factory=InputConfig)
    negatives: NegativeConfig = field(default_factory=NegativeConfig)
    training_users: TrainingUsersConfig = field(default_factory=TrainingUsersConfig)
    triplets: TripletConfig = field(default_factory=TripletConfig)
    model: Annotated[ModelConfig, _OneOfModels] = field(default_factory=MODELS[DEFAULT_SYSTEM])
    training: TrainingConfig = field(default_factory=TrainingConfig)
    recommend: RecommendConfig = field(default_factory=RecommendConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    splits: SplitConfig = field(default_factory=SplitConfig)
    incremental: IncrementalConfig = field(default_factory=IncrementalConfig)


def cdl_settings(config: NightlyConfig) -> CDLSettings:
    """The sections that set `model.system=cdl`."""
    return CDLSettings(
        inputs=config.inputs,
        negatives=config.negatives,
        training_users=config.training_users,
        triplets=config.triplets,
        model=CDLConfig(**config.model.own),
        training=config.training,
    )


def assignments_of(system: str, tuned: dict[str, Any]) -> list[str]:
    """The nightly's settings, each as `section.key=value`, that publish a system with what `tune` found for it.

    Args:
        tuned: the system's own settings by name. In the nightly those of `cdl` are in the sections of its chain.
    """
    named = nightly_settings(tuned) if system == "cdl" else {f"model.{key}": value for key, value in tuned.items()}
    return [f"model.system={system}", *(f"{key}={_as_yaml(value)}" for key, value in named.items())]


def _as_yaml(value: Any) -> str:
    """The value as YAML in one line, which `load` reads back."""
    return str(yaml.safe_dump(value, default_flow_style=True, width=2**20)).removesuffix("...\n").strip()


def load(file: str | None = None, assignments: list[str] | None = None) -> NightlyConfig:
    """Defaults, overridden by a YAML file (or by `paper`, the settings of the paper), overridden by assignments."""
    return load_as(NightlyConfig, str(Path(__file__).with_name("paper.yaml")) if file == "paper" else file, assignments)


def load_as(of: type[C], file: str | None = None, assignments: list[str] | None = None) -> C:
    """The settings of a flow: defaults, overridden by a YAML file, overridden by assignments.

    Args:
        of: the dataclass of its sections.
        assignments: `section.key=value`, the value as YAML writes it.
    Raises:
        SettingsError: naming the setting, what it got and what exists.
    """
    settings = _read(Path(file)) if file else {}
    for assignment in assignments or []:
        name, equals, value = assignment.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and key):
            raise SettingsError(f"--set {assignment!r}: write it section.key=value, for instance training.epochs=3")
        try:
            settings.setdefault(section, {})[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise SettingsError(f"--set {assignment}: the value cannot be read as YAML") from error
    return _validate(of, settings)


def validate(settings: dict[str, Any]) -> NightlyConfig:
    """The settings as dataclasses. Raises SettingsError."""
    return _validate(NightlyConfig, settings)


def _validate(of: type[C], settings: dict[str, Any]) -> C:
    try:
        return TypeAdapter(of).validate_python(settings)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(of, problem) for problem in error.errors())) from error


def _read(file: Path) -> dict[str, dict[str, Any]]:
    try:
        sections = yaml.safe_load(file.read_text()) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"{file}: cannot be read as a settings file: {error}") from error
    if not isinstance(sections, dict) or not all(isinstance(section, dict) for section in sections.values()):
        raise SettingsError(f"{file}: no settings file; write sections, and below each its settings as key: value")
    return sections


def _explain(of: Any, problem: Any) -> str:
    section, *keys = problem["loc"]
    if problem["type"] == "union_tag_invalid":
        wanted = problem["ctx"]["tag"]
        return f"{section}.system: there is no system {wanted!r}; there are {', '.join(MODELS)}"
    known = {item.name: getattr(of(), item.name) for item in fields(of)}
    owner, whose = known.get(section), ""
    if section == "model" and keys:  # the first key is the system, which stands in no file
        owner, whose = MODELS[keys.pop(0)], f" of {problem['loc'][1]}"
    place = ".".join(str(part) for part in (section, *keys))
    if problem["type"] == "unexpected_keyword_argument":
        choices = sorted(item.name for item in fields(owner)) if owner else sorted(known)
        return f"{place}: there is no such setting{whose}; there are {', '.join(choices)}"
    return f"{place}: {problem['msg']} (got {problem['input']!r})"
