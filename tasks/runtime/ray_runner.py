"""Prefect's task runner on a Ray cluster, for stages: no argument of theirs is a future."""

from typing import Any

from prefect.utilities.annotations import quote
from prefect_ray import RayTaskRunner


class StageRunner(RayTaskRunner):  # type: ignore[misc]  # prefect-ray has no types
    """As its base, which looks for futures among the arguments; quoted ones are sent as what they quote.

    Prefect's `quote` comes out of a pickle with its value in a tuple.
    """

    def _exchange_prefect_for_ray_futures(self, parameters: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
        given = {name: value.unquote() if isinstance(value, quote) else value for name, value in parameters.items()}
        return given, []
