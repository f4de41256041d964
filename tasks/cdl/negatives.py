"""How many images may be each user's negatives, and how many each reason excludes: the audit."""

import numpy as np

from models.cdl import negatives
from models.cdl.negatives import Assignment
from models.settings.negatives import NegativeConfig
from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from storage.tables.cdl import NEGATIVES
from tasks.cdl.signals import SignalTables, read_signals
from tasks.runtime.caching import stage


@stage
def assign_negatives(tables: SignalTables, config: NegativeConfig, root: Root) -> Ref:
    """NEGATIVES: the audit table of the negative assignment (CDL, section 5)."""
    indexed = read_signals(tables, root)
    assignment = negatives.assign(negatives.signals_of(indexed.signals, config), config)
    return parquet.write(
        NEGATIVES,
        {
            "user_id": indexed.users,
            "num_favorites": assignment.num_favorites,
            "num_tagged": assignment.num_tagged,
            "num_contacts": assignment.num_contacts,
            "num_groups": assignment.num_groups,
            "num_negatives": assignment.num_negatives,
            "dropped": assignment.dropped_names(),
            "reason": assignment.reason,
        },
        root,
    )


def read_assignment(audit: Ref, config: NegativeConfig, root: Root) -> Assignment:
    """The assignment that the audit table holds, users in the order of their ids."""
    rows = parquet.read(audit, root)
    sizes = {
        name: rows[name].to_numpy()
        for name in ("num_favorites", "num_tagged", "num_contacts", "num_groups", "num_negatives")
    }
    dropped = [0 if names == "none" else names.count("+") + 1 for names in rows["dropped"].to_pylist()]
    return Assignment(
        **sizes, dropped=np.array(dropped, np.int8), reason=rows["reason"].to_numpy(), drop_order=config.drop_order
    )
