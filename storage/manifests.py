"""The record of a published run in its `manifest.json`: what it holds and how it came about."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from storage import documents
from storage.refs import Ref

MEND_MANIFEST = (
    "`tastegraph verify --repair` writes that of the current run again; the folder of any other run may be deleted"
)


@dataclass(frozen=True)
class PublishedFile:
    """A file of the run's folder."""

    table: str | None  # None: the report
    path: str  # below the root
    rows: int
    bytes: int
    sha256: str

    @property
    def ref(self) -> Ref:
        """The file as a reference to a table's rows."""
        return Ref(self.table or "", self.path, self.sha256, self.rows, self.bytes)


@dataclass(frozen=True)
class Outcome:
    """One check of the gate: `passed`, or what is wrong; a warning does not stop the run."""

    name: str
    passed: bool
    is_warning: bool
    message: str
    figure: float | None = None  # what is measured; of a table's check the number of faults
    limits: str = ""  # the setting that it is judged by, and what that says; empty: no fault is allowed

    @property
    def verdict(self) -> str:
        """pass, warn or hold."""
        return "pass" if self.passed else "warn" if self.is_warning else "hold"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A published run. Fields with a default may be missing in manifests of earlier versions."""

    run_id: str
    generated_at: str  # ISO 8601, UTC
    metrics: Any  # rows of METRICS
    code_version: str = ""
    night: str = ""  # a digest of what the run holds: equal ones need not be published twice
    gate_settings: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Ref] = field(default_factory=dict)  # the community's tables as ingested
    quarantine: Ref | None = None
    ingest: dict[str, Any] = field(default_factory=dict)  # the ingest report
    comparable: dict[str, Any] = field(default_factory=dict)  # runs in which it is equal have comparable metrics
    system: str = "cdl"  # version 0.1.0 had no other, and its manifests did not say
    model: str = ""  # as in the column `model`
    fitted: dict[str, Any] | None = None  # the saved state that scores where there are no embeddings
    learned_from: str = ""
    image_input: str | None = None
    score: str = ""  # how a score follows from what is exported
    gate: tuple[Outcome, ...] = ()
    is_current: bool = False  # whether the gate let it become current
    incremental: dict[str, Any] = field(default_factory=dict)  # what the run started from, and how much it computed
    memory: Any = None  # what later nights may build on; tasks/night/start.py reads it
    withdrawn: dict[str, Any] | None = None  # of which run this is the redacted copy, and how many were forgotten
    schema_version: str = ""
    rows: dict[str, int] = field(default_factory=dict)  # of each exported table
    files: tuple[PublishedFile, ...] = ()
    further: dict[str, Any] = field(default_factory=dict)  # fields of later versions, kept as they are

    def table_files(self, table: str | None = None) -> list[PublishedFile]:
        """The files of a table in order, or of all tables; the report is none."""
        return [file for file in self.files if file.table and table in (None, file.table)]

    def to_json(self) -> dict[str, Any]:
        """The manifest as JSON types."""
        value = asdict(self)
        further: dict[str, Any] = value.pop("further")
        if self.withdrawn is None:
            del value["withdrawn"]
        return value | further

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str = "manifest") -> "Manifest":
        """The manifest that `to_json` gave, of this version or another.

        Raises DocumentError for what is no manifest; `where` names the file in it.
        """
        names = {item.name for item in fields(cls)} - {"further"}
        known = {name: value[name] for name in names & value.keys()}
        further = {name: item for name, item in value.items() if name not in names}
        if not known.get("quarantine"):
            known.pop("quarantine", None)
        return documents.checked({**known, "further": further}, cls, where, MEND_MANIFEST)
