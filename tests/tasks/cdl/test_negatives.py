"""The audit of the negative assignment."""

import numpy as np

from models.cdl import negatives
from models.settings.negatives import NegativeConfig
from storage import parquet
from tasks.cdl.negatives import assign_negatives, read_assignment
from tasks.cdl.signals import read_signals
from tests.tasks.cdl.conftest import EVERY_EXCLUSION


def test_the_audit_counts_what_each_reason_excludes(chain):
    audit = parquet.read(assign_negatives.fn(chain.signals, EVERY_EXCLUSION, chain.root), chain.root).to_pylist()
    rows = {row["user_id"]: row for row in audit}

    assert [row["num_favorites"] for row in rows.values()] == [2, 2, 2, 2]
    assert (rows["u0"]["num_contacts"], rows["u0"]["num_negatives"]) == (2, 4)  # u2's favorites
    assert (rows["u1"]["num_groups"], rows["u1"]["num_negatives"]) == (4, 4)  # those of u3 and u1's own
    assert (rows["u3"]["num_tagged"], rows["u3"]["num_negatives"]) == (1, 3)
    assert {row["dropped"] for row in rows.values()} == {"none"}


def test_without_the_social_assignment_only_own_favorites_are_excluded(chain):
    config = NegativeConfig(min_negatives=0, social=False)
    audit = parquet.read(assign_negatives.fn(chain.signals, config, chain.root), chain.root)

    assert audit["num_negatives"].to_pylist() == [6, 6, 6, 6]


def test_the_assignment_that_is_read_back_is_the_one_that_was_written(chain):
    config = NegativeConfig(min_negatives=5, min_share=1.0)  # so that exclusions fall away
    assigned = negatives.assign(read_signals(chain.signals, chain.root).signals, config)
    read = read_assignment(assign_negatives.fn(chain.signals, config, chain.root), config, chain.root)

    assert assigned.dropped.any()
    for name, value in vars(assigned).items():
        np.testing.assert_array_equal(getattr(read, name), value)
