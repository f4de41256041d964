"""TasteGraph's own mixture."""

from tests.models.systems.contract import SystemContract


class TestTasteGraph(SystemContract):
    system = "tastegraph"
    settings = {"factor_dimensions": 8, "factor_models": 2}


class TestCompressedTasteGraph(SystemContract):
    system = "tastegraph"
    settings = {"factor_dimensions": 8, "factor_models": 1, "dimensions": 16}
