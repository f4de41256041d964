"""How far two distributions are apart: population stability index and Jensen-Shannon divergence.

N values before, M values now, B bins.
"""

import numpy as np

BINS = 10  # of equally many values before; as few as there are distinct quantiles
LEAST = 1e-4  # share of a bin without values: else the index would be infinite


def stability_index(before_N: np.ndarray, now_M: np.ndarray) -> float:
    """The population stability index: the sum over bins of (q - p) ln(q / p), with shares p before and q now.

    Below .1 is usually read as no shift, above .25 as a large one. nan where either has no value.
    """
    if not (before_N.size and now_M.size):
        return float("nan")
    inner = np.unique(np.quantile(before_N, np.linspace(0, 1, BINS + 1)[1:-1]))
    shares = [
        np.bincount(np.searchsorted(inner, values, "left"), minlength=len(inner) + 1) for values in (before_N, now_M)
    ]
    p_B, q_B = (np.maximum(counts / counts.sum(), LEAST) for counts in shares)
    return float(((q_B - p_B) * np.log(q_B / p_B)).sum())


def jensen_shannon(before_B: np.ndarray, now_B: np.ndarray) -> float:
    """The Jensen-Shannon divergence of two lots of non-negative masses, in bits: 0 for equal shares, 1 for disjoint.

    The shorter is continued by zeros. nan where either has no mass.
    """
    width = max(len(before_B), len(now_B))
    p_B, q_B = (np.pad(np.asarray(mass, np.float64), (0, width - len(mass))) for mass in (before_B, now_B))
    if not (p_B.sum() > 0 and q_B.sum() > 0):
        return float("nan")
    p_B, q_B = p_B / p_B.sum(), q_B / q_B.sum()
    mean_B = (p_B + q_B) / 2
    return float((_relative_entropy(p_B, mean_B) + _relative_entropy(q_B, mean_B)) / 2)


def _relative_entropy(p_B: np.ndarray, q_B: np.ndarray) -> float:
    has = p_B > 0
    return float((p_B[has] * np.log2(p_B[has] / q_B[has])).sum())
