"""Which code and settings a model depends on: what decides whether the previous run's model may be kept."""

from typing import Any

from flows.settings import NightlyConfig
from models.systems import SYSTEMS
from tasks.cdl.negatives import assign_negatives
from tasks.cdl.pack import pack_features, pack_image_vectors, pack_tag_bags
from tasks.cdl.train import train_cdl
from tasks.cdl.triplets import sample_triplets
from tasks.data.backbone import apply_backbone
from tasks.data.clusters import cluster_vectors
from tasks.data.features import apply_learned, learn_features
from tasks.data.pixels import decode_images
from tasks.data.profiles import build_profiles
from tasks.data.vectors import learn_vectors, take_vectors
from tasks.runtime.code_version import code_version, code_versions
from tasks.runtime.digests import digest
from tasks.systems.appearance import describe_looks
from tasks.systems.fit import fit_system

# Sections that no model depends on: a digest stands for the input, and lists are made from the model.
WITHOUT_MODEL = {"demo", "ingest", "fetch", "recommend", "policy", "gate", "splits", "incremental", "runner"}

# The stages that learn, and those that make what they learn from. What a kept model's vectors are written with is not
# among them: `embed_images`, `embed_system`, `fold_in`, `recommend` run again by their own keys.
OF_ALL = (learn_vectors, take_vectors, cluster_vectors, build_profiles, describe_looks)
OF_CDL = (decode_images, pack_features, pack_tag_bags, pack_image_vectors, assign_negatives, sample_triplets, train_cdl)
OF_OTHERS = (fit_system,)
OF_FEATURES = (decode_images, pack_features, learn_features, apply_learned, apply_backbone)
OF_PIXELS = (decode_images,)


def lineage(config: NightlyConfig) -> str:
    """A digest of the code and the settings that the model of these settings depends on."""
    settings = {name: section for name, section in vars(config).items() if name not in WITHOUT_MODEL}
    system = code_version(SYSTEMS[config.model.system].__module__)
    modules = modules_of(config.model.system, needs_features=config.inputs.needs_features)
    return digest([code_versions(modules), system, settings])


def modules_of(system: str, *, needs_features: bool = False) -> list[str]:
    """The modules of the stages that learn this system, without the system's own.

    `needs_features`: whether CDL's chain extracts features from pictures; of other systems their signals say so.
    """
    stages: list[Any] = [*OF_ALL, *(OF_CDL if system == "cdl" else OF_OTHERS)]
    signals = {*SYSTEMS[system].needs, *SYSTEMS[system].wants}
    if needs_features if system == "cdl" else "features" in signals:
        stages += OF_FEATURES
    if "pixels" in signals:
        stages += OF_PIXELS
    return sorted({stage.fn.__module__ for stage in stages})
