"""The score that `make mutants` prints."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # benchmarks are scripts, and no package of the project

from mutation_score import survivors, table


def test_the_score_is_the_share_of_checked_mutants_that_a_test_killed():
    verdicts = ["killed", "survived", "timeout", "no tests", "not checked"]
    lines = [f"    models.bpr.x_draw__mutmut_{number}: {verdict}\n" for number, verdict in enumerate(verdicts)]
    lines += ["    models.sparse.x_keep__mutmut_1: killed\n", "    models.gather.x_a__mutmut_1: not checked\n"]

    assert survivors(lines) == [line.strip() for line in lines if "survived" in line or "no tests" in line]
    assert table(lines)[2:] == [
        "| models.bpr | 2 | 4 | 0.500 |",
        "| models.sparse | 1 | 1 | 1.000 |",
        "| all | 3 | 5 | 0.600 |",
    ]
