"""Settings by name: `key`, or `section.key` of a section within."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

ConfigT = TypeVar("ConfigT")


def configure(of: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """The settings of a class, its defaults but for these values; `section.key` names one in a section.

    Raises TypeError for a setting that does not exist, and what the class raises for a wrong value.
    """
    own = {key: value for key, value in values.items() if "." not in key}
    sections: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, dot, key = name.partition(".")
        if dot:
            sections.setdefault(section, {})[key] = value
    defaults = of()
    for section, changed in sections.items():
        own[section] = replace(getattr(defaults, section), **changed)
    return of(**own)


def flatten(config: Any) -> dict[str, Any]:
    """All settings by the names that `configure` takes."""
    flat: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        flat |= (
            {f"{item.name}.{key}": inner for key, inner in flatten(value).items()}
            if is_dataclass(value)
            else {item.name: value}
        )
    return flat
