"""What the nightly run learns: CDL in its chain of stages, any other system in one; both end as a `Learned`.

The parts that systems share, profiles and image features, are the comparison's too.
"""

from flows.settings import NightlyConfig
from models.cdl import CDLConfig
from models.systems import SYSTEMS
from storage.refs import Ref
from storage.roots import Root
from tasks.caching import code_version
from tasks.community import Clustered, CommunityTables
from tasks.embed import embed_all
from tasks.features import extract_features
from tasks.fit import embed_system, fit_system
from tasks.inputs import pack_features, prepare_inputs
from tasks.negatives import assign_negatives
from tasks.night import CDLChain, Learned, Tastes
from tasks.profiles import ProfileTables, build_profiles
from tasks.signals import SignalTables
from tasks.tags import cluster_vectors, make_vectors
from tasks.train import train_cdl
from tasks.triplets import sample_triplets


def learn(table: dict[str, Ref], training: Ref, pixels: list[Ref], config: NightlyConfig, here: Root) -> Learned:
    """The system of the settings, fitted on these favorites and no others.

    Args:
        table: the community, as ingested.
        pixels: its pictures, in shards.
    """
    tastes = describe_tastes(table, training, config, here)
    learn_system = learn_cdl if config.model.system == "cdl" else learn_any
    return learn_system(table, training, pixels, tastes, config, here)


def learn_cdl(
    table: dict[str, Ref], training: Ref, pixels: list[Ref], tastes: Tastes, config: NightlyConfig, here: Root
) -> Learned:
    """CDL: negatives by social distance, triplets, a training that goes on where it broke off, embeddings by shards."""
    vectors, clusters, profiles = tastes.vectors, tastes.clusters, tastes.profiles
    inputs = prepare_inputs(table, pixels, training, vectors, clusters, config.word2vec, config.inputs, here)
    signals = SignalTables.of(table, training, profiles)
    audit = assign_negatives(signals, config.negatives, here)
    drawing = (config.negatives, config.training_users, config.triplets)
    triplets = sample_triplets(signals, profiles.profiles, inputs.shards, audit, *drawing, here)
    bags, network = profiles.profiles, CDLConfig(**config.model.own)
    trained = train_cdl(triplets, bags, profiles.num_clusters, inputs.shards, network, config.training, here)
    model = embed_all(table, bags, inputs.shards, trained, network, config.training.device, here)
    return Learned(tastes, model, inputs.kind, CDLChain(inputs, audit, triplets, trained))


def learn_any(
    table: dict[str, Ref], training: Ref, pixels: list[Ref], tastes: Tastes, config: NightlyConfig, here: Root
) -> Learned:
    """A system of `models.systems`: one stage fits it, on the community's tables and what it asks for beside them."""
    name = config.model.system
    signals, version = signals_of([name]), code_version(SYSTEMS[name].__module__)
    features = make_features(table, pixels, config, here) if "features" in signals else []
    clustered = Clustered(tastes.profiles, tastes.clusters)
    given = CommunityTables(table, training, pixels, features, clustered).restricted(signals)
    fitted = fit_system(name, version, config.model.own, config.training.seed, given, here)
    model = embed_system(fitted, table["users"], table["images"], here)
    seen = [kind for kind, shards in (("pixels", given.pixels), ("features", given.features)) if shards]
    return Learned(tastes, model, " and ".join(seen) or None, None)


def signals_of(names: list[str]) -> set[str]:
    """The signals that systems need or want."""
    return {signal for name in names for signal in (*SYSTEMS[name].needs, *SYSTEMS[name].wants)}


def describe_tastes(table: dict[str, Ref], training: Ref, config: NightlyConfig, here: Root) -> Tastes:
    """Everybody's profile: a bag of clusters of the community's words."""
    vectors = make_vectors(table, training, config.pretrained, config.word2vec, here)
    clusters = cluster_vectors(vectors.vectors, config.clusters, here)
    known = ProfileTables.of(table, training)
    profiles = build_profiles(vectors, clusters, known, config.vocabulary, config.interests, here)
    return Tastes(vectors, clusters, profiles)


def make_features(table: dict[str, Ref], pixels: list[Ref], config: NightlyConfig, here: Root) -> list[Ref]:
    """The source's own image features where it has them, else those that are made from its pictures."""
    if "image_features" in table:
        return pack_features(table["image_features"], config.inputs.shard_images, here)
    return extract_features(pixels, config.features, here)
