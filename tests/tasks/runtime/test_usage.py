"""What a process uses while something runs."""

import time

import numpy as np
import pytest

from tasks.runtime.usage import Measured, Usage


def test_seconds_cpu_seconds_and_the_peak_of_memory_are_those_of_the_block():
    with Measured() as idle:
        time.sleep(0.1)
    with Measured() as busy:
        ones = np.ones(32 * 2**20)  # 256 MiB, gone at the end
        end_s = time.process_time() + 0.2
        while time.process_time() < end_s:
            ones.sum()
        del ones

    assert idle.usage.elapsed_s == pytest.approx(0.1, abs=0.09)
    assert idle.usage.cpu_s < 0.09
    assert 0.2 <= busy.usage.cpu_s < 5
    assert busy.usage.peak_bytes - idle.usage.peak_bytes > 200 * 2**20


def test_usages_add_up_but_for_the_peak():
    total = Usage(1.0, 2.0, 30)
    total.add(Usage(0.5, 0.25, 20))

    assert total == Usage(1.5, 2.25, 30)
