"""Stages without Prefect, for tests of what stages hand to each other."""

from itertools import repeat
from typing import Any

import pytest
from prefect import unmapped

from tasks.runtime.caching import Stage


def run_stages_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on stages run as the plain functions that they are."""

    def mapped(stage: Stage[Any, Any], *args: Any) -> list[Any]:
        columns = [repeat(arg.value) if isinstance(arg, unmapped) else arg for arg in args]
        return [stage.fn(*row) for row in zip(*columns, strict=False)]

    monkeypatch.setattr(Stage, "__call__", lambda stage, *args, **options: stage.fn(*args, **options))
    monkeypatch.setattr(Stage, "map", mapped)
