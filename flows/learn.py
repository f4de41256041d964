"""What the nightly run learns: CDL in its chain of stages, any other system in one; both end as a `Learned`.

The comparison uses the shared parts, profiles and image features, too. A night that keeps a model, or trains on from
one, takes the same steps and skips those whose results it has.
"""

from dataclasses import replace

from flows.settings import NightlyConfig, SharedConfig, cdl_settings, settings_of
from models.settings.systems import FAMILY
from models.systems import SYSTEMS
from storage.refs import Ref
from storage.roots import Root
from tasks.cdl.embed import Network, PreviousEmbeddings, embed_all, embedding_code
from tasks.cdl.inputs import InputSources, prepare_inputs
from tasks.cdl.negatives import assign_negatives
from tasks.cdl.pack import pack_features
from tasks.cdl.signals import SignalTables
from tasks.cdl.train import TrainingTables, train_cdl
from tasks.cdl.trained import Trained
from tasks.cdl.triplets import sample_triplets
from tasks.data import reuse
from tasks.data.backbone import extract_frozen
from tasks.data.clusters import cluster_vectors, keep_numbers, place_tokens
from tasks.data.community import Clustered, CommunityTables
from tasks.data.features import extract_learned
from tasks.data.pictures import Features, Pictures
from tasks.data.profiles import ProfileTables, build_profiles
from tasks.data.reuse import ShardOutput
from tasks.data.sentences import sentences_of
from tasks.data.tastes import Clusters
from tasks.data.vectors import make_vectors
from tasks.night.records import BaseModel, CDLChain, Learned, ModelStart, Tastes
from tasks.runtime.code_version import code_version
from tasks.systems.embed import embed_system
from tasks.systems.fit import fit_system
from tasks.systems.fold_in import SideInformation, fold_in, learn_fold_in
from tasks.systems.model import Fitted


def learn(
    table: dict[str, Ref],
    training: Ref,
    pictures: Pictures,
    start: ModelStart,
    config: NightlyConfig,
    root: Root,
    measured: Learned | None = None,
) -> Learned:
    """The system of the settings, fitted on these favorites and no others; or the kept one, over the current community.

    Args:
        table: the community, as ingested.
        training: the favorites to learn from.
        measured: what the same settings have learned from fewer favorites: what it found out need not be found again.
    """
    tastes = describe_tastes(table, training, start, config, root)
    if config.model.system == "cdl":
        return learn_cdl(table, training, pictures, tastes, start, config, root)
    return learn_any(table, training, pictures, tastes, start, config, root, measured.fitted if measured else None)


def learn_cdl(
    table: dict[str, Ref],
    training: Ref,
    pictures: Pictures,
    tastes: Tastes,
    start: ModelStart,
    config: NightlyConfig,
    root: Root,
) -> Learned:
    """CDL: negatives by social distance, triplets, a training that goes on where it broke off, embeddings by shards."""
    profiles, settings = tastes.profiles, cdl_settings(config)
    base = start.learned.cdl if isinstance(start, BaseModel) else None
    features = make_features(table, pictures, start, config, root) if settings.inputs.needs_features else None
    sources = InputSources(table, training, pictures.pixels, features, tastes.vectors, tastes.clusters)
    inputs = prepare_inputs(sources, settings.inputs, config.word2vec, root, base.inputs if base else None)
    if base and isinstance(start, BaseModel) and start.is_kept:
        chain = replace(base, inputs=inputs)
    else:
        signals = SignalTables.of(table, training, profiles)
        audit = assign_negatives(signals, settings.negatives, root)
        triplets = sample_triplets(
            tables=signals,
            profiles=profiles.profiles,
            inputs=inputs.shards,
            audit=audit,
            negative_config=settings.negatives,
            training_users=settings.training_users,
            config=settings.triplets,
            root=root,
        )
        first = base.trained.checkpoint if base and base.trained.num_clusters == profiles.num_clusters else None
        how = replace(settings.training, epochs=config.incremental.warm_epochs) if first else settings.training
        tables = TrainingTables(triplets, profiles.profiles, profiles.num_clusters, inputs.shards)
        trained = train_cdl(tables, settings.model, how, first, root)
        chain = CDLChain(inputs, audit, triplets, trained)
    network = Network(chain.trained, settings.model, settings.training.device)
    previous = _embedded(start.previous if isinstance(start, BaseModel) else None, chain.trained)
    model = embed_all(table, profiles.profiles, inputs.shards, network, previous, root)
    return Learned(tastes, model, inputs.kind, chain, features)


def _embedded(last: Learned | None, trained: Trained) -> PreviousEmbeddings:
    """What the previous run embedded by the same network and code: each shard of images, and the users."""
    if not (last and last.cdl and last.cdl.trained == trained and last.model.embeddings.code == embedding_code()):
        return PreviousEmbeddings()
    images = reuse.pairs_of(last.cdl.inputs.shards, last.model.embeddings.images)
    return PreviousEmbeddings(images, ShardOutput(last.tastes.profiles.profiles, last.model.embeddings.users))


def learn_any(
    table: dict[str, Ref],
    training: Ref,
    pictures: Pictures,
    tastes: Tastes,
    start: ModelStart,
    config: NightlyConfig,
    root: Root,
    measured: Fitted | None,
) -> Learned:
    """A system of `models.systems`: one stage fits it, on the community's tables and the signals that it uses."""
    name = config.model.system
    signals, version = signals_of([name]), code_version(SYSTEMS[name].__module__)
    features = make_features(table, pictures, start, config, root) if "features" in signals else None
    shards = features.shards if features else []
    if isinstance(start, BaseModel) and start.is_kept:
        base = start.learned
        before = SideInformation.of(start.table, base.features.shards if base.features else [])
        model = fold_in(
            learned=learn_fold_in(base.model, start.favorites, before, root),
            kept=base.model,
            favorites_before=start.favorites,
            before=before,
            now=SideInformation.of(table, shards),
            favorites=training,
            root=root,
        )
        return replace(base, tastes=tastes, model=model, features=features, fitted=None)
    clustered = Clustered(tastes.profiles, tastes.clusters)
    tables = CommunityTables(table, training, pictures.pixels, shards, clustered).restricted(signals)
    settings = settings_of(name, config) if name in FAMILY else config.model.own
    fitted = fit_system(name, version, settings, config.training.seed, tables, root, measured)
    model = embed_system(fitted, table["users"], table["images"], root)
    image_inputs = [kind for kind, shards in (("pixels", tables.pixels), ("features", tables.features)) if shards]
    return Learned(tastes, model, " and ".join(image_inputs) or None, None, features, fitted)


def signals_of(names: list[str]) -> set[str]:
    """The signals that systems need or want."""
    return {signal for name in names for signal in (*SYSTEMS[name].needs, *SYSTEMS[name].wants)}


def describe_tastes(
    table: dict[str, Ref], training: Ref, start: ModelStart, config: SharedConfig, root: Root
) -> Tastes:
    """Vectors of the community's tags, their clusters, and each user's profile: a bag of clusters."""
    if isinstance(start, BaseModel) and start.keeps_tags:
        vectors, known = start.learned.tastes.vectors, start.learned.tastes.known
        if config.pretrained.file:  # a new tag waits: its vector cannot be compared with these
            clusters = known.numbered
        else:
            sentences = sentences_of(table, training)
            placed = place_tokens(vectors, known.numbered, sentences, config.word2vec.min_count, root)
            vectors, clusters = placed.vectors, placed.clusters
    else:
        vectors = make_vectors(table, training, config.pretrained, config.word2vec, root)
        found = cluster_vectors(vectors.vectors, config.clusters, root)
        clusters = keep_numbers(found, vectors.vectors, start.clusters, root)
        known = Clusters(found, clusters)
    tables = ProfileTables.of(table, training)
    profiles = build_profiles(vectors, clusters, tables, config.vocabulary, config.interests, root)
    return Tastes(vectors, known, clusters, profiles)


def make_features(
    table: dict[str, Ref], pictures: Pictures, start: ModelStart, config: SharedConfig, root: Root
) -> Features:
    """The source's own image features where it has them, else those of a frozen network or of one that learns.

    A network that an earlier night learned is used for new pictures until the next night from scratch.
    """
    if "image_features" in table:
        packed = pack_features(table["image_features"], config.inputs.shard_images, root)
        return Features(packed, None, [], "the source's own")
    base = start.learned.features if isinstance(start, BaseModel) else None
    network = base.network if base else None
    last = start.previous.features if isinstance(start, BaseModel) and start.previous else None
    outputs = reuse.pairs_of(last.of, last.shards) if last and last.network == network else []
    chosen = config.features
    if chosen.backbone:
        limits = config.images.limits
        return extract_frozen(pictures, chosen.backbone, chosen.weights, chosen.batch_images, limits, root, outputs)
    return extract_learned(pictures.pixels, chosen, root, network, outputs)
