"""Importers: published data sets to source directories. Importing an importer's module registers it in `IMPORTERS`."""

from storage.sources.importers import diffmm, diffnet, dvbpr, hetrec_lastfm, hm, lightgcn, microlens, movielens, recbole
from storage.sources.importers.base import IMPORTERS, ImportConfig, Importer, import_source
from storage.sources.importers.reading import LayoutError

__all__ = [
    "IMPORTERS",
    "ImportConfig",
    "Importer",
    "LayoutError",
    "diffmm",
    "diffnet",
    "dvbpr",
    "hetrec_lastfm",
    "hm",
    "import_source",
    "lightgcn",
    "microlens",
    "movielens",
    "recbole",
]
