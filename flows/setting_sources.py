"""Where settings come from: a YAML or TOML file, the environment, `--set`; each is a layer over the one before."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flows.errors import SettingsError

PREFIX = "TASTEGRAPH_"
VARIABLE = re.compile(f"{PREFIX}([A-Za-z0-9_]+?)__(.+)")  # those without __ are no settings
SECRET = re.compile(r"(?<![a-z])(keys?|tokens?|secrets?|passwords?|passwd|credentials?)(?![a-z])", re.IGNORECASE)
HIDDEN = "(hidden)"
SHOWN = 200  # characters of a wrong value

Sections = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Layer:
    """Settings from one place, by section and key; a key of a key is a dict in a dict."""

    name: str  # the file, "the environment" or "--set"
    sections: Sections

    def has(self, setting: str) -> bool:
        """Whether it sets `section.key`, or all keys below it."""
        found: Any = self.sections
        for part in setting.split("."):
            if not isinstance(found, dict) or part not in found:
                return False
            found = found[part]
        return True

    def origin(self, setting: str) -> str:
        """Where a person finds `section.key`: the variable of the environment, or the layer's name."""
        return variable_of(setting) if self.name == ENVIRONMENT else self.name


ENVIRONMENT, ASSIGNED = "the environment", "--set"


def variable_of(setting: str) -> str:
    """The variable of the environment that sets `section.key`."""
    return PREFIX + setting.replace(".", "__").upper()


def of_file(file: str | None) -> Layer:
    """A file's settings; `paper` is the file with the paper's. Raises SettingsError for a file of anything else."""
    if file is None:
        return Layer("the file", {})
    path = Path(__file__).with_name("paper.yaml") if file == "paper" else Path(file)
    try:
        text = path.read_text()
        sections = (tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)) or {}
    except RecursionError as error:
        raise SettingsError(f"{path}: cannot be read as a settings file: its lists go too deep") from error
    except yaml.MarkedYAMLError as error:  # its own message quotes the line, which may hold a password
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SettingsError(f"{path}: cannot be read as a settings file: {error.problem}{line}") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())  # some errors of YAML are several lines
        raise SettingsError(f"{path}: cannot be read as a settings file: {why}") from error
    if not isinstance(sections, dict) or not all(isinstance(section, dict) for section in sections.values()):
        raise SettingsError(f"{path}: no settings file; write sections, and below each its settings as key: value")
    return Layer(file, sections)


def of_environment(environ: Mapping[str, str], known: set[str]) -> Layer:
    """What TASTEGRAPH_SECTION__KEY variables set; an empty one sets nothing.

    Args:
        known: all settings as `section.key`, to recognise one that is written with a single underscore.
    """
    sections: Sections = {}
    single = {name.replace(".", "_").upper(): name for name in known}
    for name in sorted(environ):
        if match := VARIABLE.fullmatch(name):
            if environ[name]:
                _put(sections, f"{match[1]}.{match[2].replace('__', '.')}".lower(), _value(environ[name], name))
        elif setting := name.startswith(PREFIX) and single.get(name.removeprefix(PREFIX).upper()):
            raise SettingsError(f"{name}: there is no such variable; did you mean {variable_of(setting)}?")
    return Layer(ENVIRONMENT, sections)


def of_assignments(assignments: list[str] | None) -> Layer:
    """What `section.key=value` assignments set."""
    sections: Sections = {}
    for assignment in assignments or []:
        name, equals, value = assignment.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and key and section):
            raise SettingsError(
                f"--set {shown(assignment, assignment)!r}: write it section.key=value, for instance training.epochs=3"
            )
        _put(sections, name.strip(), _value(value, f"--set {shown(assignment, name)}"))
    return Layer(ASSIGNED, sections)


def over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested dicts as one: `above` wins."""
    merged = dict(below)
    for key, value in above.items():
        beside = merged.get(key)
        merged[key] = over(beside, value) if isinstance(beside, dict) and isinstance(value, dict) else value
    return merged


def masked(value: Any, name: str) -> Any:
    """A setting's value without what nobody may see: a secret, by its name, or the user and password of an address."""
    if SECRET.search(name):
        return HIDDEN
    if isinstance(value, list | tuple):
        return [masked(item, "") for item in value]
    return re.sub(r"://[^/\s@]+@", f"://{HIDDEN}@", value) if isinstance(value, str) else value


def shown(value: Any, name: str) -> str:
    """A setting's value, masked, as a text of bounded length."""
    try:
        seen = masked(value, name)
        text = seen if isinstance(seen, str) else repr(seen)
    except RecursionError:
        return "lists within lists"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _put(sections: Sections, setting: str, value: Any) -> None:
    section, *keys, last = setting.split(".")
    place: dict[str, Any] = sections.setdefault(section, {})
    for key in keys:
        below = place.setdefault(key, {})
        if not isinstance(below, dict):
            place[key] = below = {}
        place = below
    place[last] = value


def _value(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise SettingsError(f"{where}: the value cannot be read as YAML") from error
