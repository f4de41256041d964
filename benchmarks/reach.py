"""One claim, one line: ours and a reference turn about, the median of the ratios, and whether the reach is kept."""

import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

Run = Callable[[], object]


class Claim(NamedTuple):
    """What is compared, and how far ours may be off."""

    name: str
    reference_name: str
    reach: float | None  # ratio of seconds, ours to the reference's, at most; None where nothing is aimed at


class Measured(NamedTuple):
    """Seconds of each round by the clock, and of the processor; other work on the machine disturbs these less."""

    seconds: list[float]
    cpu_seconds: list[float]


def measured(runs: dict[str, Run], rounds: int = 3, warm_up: bool = True) -> dict[str, Measured]:
    """Each run's seconds, round by round: in a round each runs once, so that all have the same noise."""
    found = {name: Measured([], []) for name in runs}
    for number in range(rounds + warm_up):
        for name, run in runs.items():
            start, cpu = time.perf_counter(), time.process_time()
            run()
            if number >= warm_up:
                found[name].seconds.append(time.perf_counter() - start)
                found[name].cpu_seconds.append(time.process_time() - cpu)
    return found


def report(claim: Claim, ours: Measured, reference: Measured, **more: Any) -> dict[str, Any]:
    """Print the row and the JSON line of a claim; the line. `holds` is by the clock, `cpu_ratio` by the processor."""
    ratio, cpu_ratio = _ratio(ours.seconds, reference.seconds), _ratio(ours.cpu_seconds, reference.cpu_seconds)
    line = {
        "name": claim.name,
        "ours": statistics.median(ours.seconds),
        "reference": statistics.median(reference.seconds),
        "reference_name": claim.reference_name,
        "ratio": ratio,
        "cpu_ratio": cpu_ratio,
        "reach": claim.reach,
        "holds": None if claim.reach is None else ratio <= claim.reach,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "load": os.getloadavg()[0],
        **more,
    }
    reach = "" if claim.reach is None else f"{'holds' if line['holds'] else 'falls short'} of {claim.reach:g}"
    print(
        f"{claim.name:52} {line['ours']:8.2f} s {claim.reference_name:28} {line['reference']:8.2f} s "
        f"x {ratio:5.2f} (CPU {cpu_ratio:5.2f}) {reach}"
    )
    print(json.dumps(line), flush=True)
    return line


def _ratio(ours: list[float], reference: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, reference, strict=True) if other > 0)
