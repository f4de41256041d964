"""Word vectors of the community's tags, or of its images where it has none, and their semantic clusters."""

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from models.content import clusters
from models.content.clusters import ClusterConfig
from storage import matrices, parquet, word_vectors
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from storage.tables.tastes import CLUSTERS, TOKEN_VECTORS
from tasks.data import word2vec
from tasks.data.word2vec import Word2VecConfig
from tasks.runtime.caching import stage

Vocabulary = Literal["tags", "images"]

log = logging.getLogger("tastegraph")


@dataclass(frozen=True)
class Vectors:
    """Word2vec vectors of tags or images; tokens that a pretrained file lacks are counted, not kept."""

    of: Vocabulary
    vectors: Ref
    out_of_vocabulary: int


@dataclass(frozen=True)
class Clusters:
    """Clusters as k-means found them, and under the numbers that they keep from night to night."""

    found: Ref
    numbered: Ref


@dataclass(frozen=True)
class Placed:
    """Vectors and clusters with the tokens that are new since they were made."""

    vectors: Vectors
    clusters: Ref


def vocabulary_of(community: dict[str, Ref]) -> Vocabulary:
    """What the community's profiles are made of: its tags, or its images where it has no tags."""
    return "tags" if community["image_tags"].rows + community["user_tags"].rows else "images"


@dataclass(frozen=True, kw_only=True)
class PretrainedConfig:
    """Word vectors made elsewhere, in place of the community's own."""

    file: str = ""  # word2vec binary or text, or gensim KeyedVectors; the paper took Google's. Empty: learn them here


@stage
def learn_vectors(of: Vocabulary, sentences: list[Ref], config: Word2VecConfig, root: Root) -> Vectors:
    """Word2vec over sentences: the tags of an image, the tags of a user; without tags, the favorites of a user."""
    tokens, corpus = _read_sentences(sentences, root)
    return _write(of, *word2vec.train(word2vec.Sentences(tokens, tuple(corpus)), config), 0, root)


@stage
def take_vectors(sentences: list[Ref], source: Root, file: str, version: str, root: Root) -> Vectors:
    """The pretrained vectors of the community's tags; `version` stands for the file's content in the cache key."""
    tokens, corpus = _read_sentences(sentences, root)
    found, vectors = word_vectors.load(source.local(file), tokens.tolist())
    counts = np.sum([matrix.count_nonzero(axis=0) for matrix in corpus], axis=0)
    return _write("tags", tokens[found], counts[found], vectors[found], int((~found).sum()), root)


def make_vectors(
    table: dict[str, Ref], training: Ref, pretrained: PretrainedConfig, config: Word2VecConfig, root: Root
) -> Vectors:
    """Vectors of the community's vocabulary: pretrained ones where a file is given and there are tags, else learned."""
    of = vocabulary_of(table)
    sentences = sentences_of(table, training)
    if of == "images" or not pretrained.file:
        return learn_vectors(of, sentences, config, root)
    folder, _, name = pretrained.file.rpartition("/")
    source = Root(folder or ".")
    entry = source.entry(name)
    if entry is None:
        raise FileNotFoundError(f"{pretrained.file}: no such file; pretrained.file names the word vectors to take")
    return take_vectors(sentences, source, name, entry.version, root)


@stage
def cluster_vectors(vectors: Ref, config: ClusterConfig, root: Root) -> Ref:
    """Semantic clusters of the tokens, the most frequent token of each first (CDL, section 5)."""
    rows = parquet.read(vectors, root)
    labels, centroids = clusters.cluster(matrices.vectors_of(rows["vector"]), None, config)
    return _write_clusters(rows["token"].to_numpy(), rows["count"].to_numpy(), labels, centroids, root)


@stage
def number_clusters(found: Ref, vectors: Ref, before: Ref, root: Root) -> Ref:
    """The clusters that were found, each under the number that most of its members had before."""
    rows = parquet.read(vectors, root, ["token", "count"])
    tokens, centroids = rows["token"].to_numpy(), _centroids(found, root)
    labels = labels_of(found, tokens, root)
    number = clusters.match(labels, labels_of(before, tokens, root), found.rows)
    renumbered = np.empty_like(centroids)
    renumbered[number] = centroids
    return _write_clusters(tokens, rows["count"].to_numpy(), number[labels], renumbered, root)


def keep_numbers(found: Ref, vectors: Ref, last: Clusters | None, root: Root) -> Ref:
    """The clusters with the numbers that downstream knows them by; as they were found where there were none before."""
    if last is None:
        return found
    return last.numbered if found == last.found else number_clusters(found, vectors, last.numbered, root)


@stage
def place_tokens(vectors: Vectors, numbered: Ref, sentences: list[Ref], min_count: int, root: Root) -> Placed:
    """Tokens that are new since vectors and clusters were made, placed on these clusters by what they stand beside.

    As in word2vec, a token that stands in fewer than `min_count` sentences stays out.
    """
    tokens, corpus, all_counts = _common(*_read_sentences(sentences, root), min_count)
    rows = parquet.read(vectors.vectors, root)
    known, known_Kd = rows["token"].to_numpy(), matrices.vectors_of(rows["vector"])
    row = matrices.rows_of(pa.array(tokens, pa.string()), known)
    if (row >= 0).all():
        return Placed(vectors, numbered)
    centroids = _centroids(numbered, root)
    made_Nd, labels_N = clusters.place(corpus, row >= 0, known_Kd[row[row >= 0]], centroids)
    new, counts = tokens[row < 0][labels_N >= 0], all_counts[row < 0][labels_N >= 0]
    log.info("%-18s %d new tokens on their clusters, %d without a neighbor", "place", len(new), (labels_N < 0).sum())
    columns = (
        np.concatenate([known, new]),
        np.concatenate([rows["count"].to_numpy(), counts]),
        np.concatenate([known_Kd, made_Nd[labels_N >= 0]]),
    )
    labels = np.concatenate([labels_of(numbered, known, root), labels_N[labels_N >= 0]])
    missing = vectors.out_of_vocabulary + int((labels_N < 0).sum())
    return Placed(_write(vectors.of, *columns, missing, root), _write_clusters(*columns[:2], labels, centroids, root))


def drift(vectors: Vectors, sentences: list[Ref], min_count: int, root: Root) -> float:
    """How far the tokens' shares have moved since their vectors were learned, 0 to 1; 0 for pretrained vectors."""
    rows = parquet.read(vectors.vectors, root, ["token", "count"])
    tokens, _, counts = _common(*_read_sentences(sentences, root), min_count)
    everything = matrices.ids_of(rows["token"], pa.array(tokens, pa.string()))
    now, before = np.zeros(len(everything)), np.zeros(len(everything))
    now[matrices.rows_of(pa.array(tokens, pa.string()), everything)] = counts
    before[matrices.rows_of(rows["token"], everything)] = rows["count"].to_numpy()
    return clusters.drift(now, before) if before.any() else 0.0


def sentences_of(table: dict[str, Ref], training: Ref) -> list[Ref]:
    """What word2vec reads: the tags of images and of users; without tags, the training favorites."""
    return [table["image_tags"], table["user_tags"]] if vocabulary_of(table) == "tags" else [training]


def labels_of(clusters_table: Ref, tokens: Ids, root: Root) -> np.ndarray:
    """int32 cluster of each token; -1 for a token out of vocabulary."""
    rows = parquet.read(clusters_table, root, ["cluster", "tokens"]).to_pylist()
    cluster_of = {token: row["cluster"] for row in rows for token in row["tokens"]}
    return np.array([cluster_of.get(token, -1) for token in tokens], np.int32)


def _read_sentences(sentences: list[Ref], root: Root) -> tuple[Ids, list[csr_array]]:
    """The vocabulary, and for each table a matrix whose rows are sentences: its first column groups its second."""
    read = [parquet.read(ref, root) for ref in sentences]
    columns = [(rows[rows.column_names[0]], rows[rows.column_names[1]]) for rows in read]
    tokens = matrices.ids_of(*(words for _, words in columns))
    return tokens, [matrices.incidence(texts, words, matrices.ids_of(texts), tokens) for texts, words in columns]


def _common(tokens: Ids, corpus: list[csr_array], min_count: int) -> tuple[Ids, list[csr_array], np.ndarray]:
    """Only the tokens that stand in so many sentences, and in how many each of them does."""
    counts = np.sum([texts.count_nonzero(axis=0) for texts in corpus], axis=0)
    kept = np.flatnonzero(counts >= max(min_count, 1))
    return tokens[kept], [texts[:, kept] for texts in corpus], counts[kept]


def _centroids(clusters_table: Ref, root: Root) -> np.ndarray:
    return matrices.vectors_of(parquet.read(clusters_table, root, ["centroid"])["centroid"])


def _write_clusters(tokens: Ids, counts: np.ndarray, labels: np.ndarray, centroids: np.ndarray, root: Root) -> Ref:
    order = np.lexsort((tokens.astype(str), -counts, labels))
    sizes = np.bincount(labels, minlength=len(centroids))
    return parquet.write(
        CLUSTERS.with_dimensions(centroids.shape[1]),
        {
            "cluster": np.arange(len(centroids), dtype=np.int32),
            "size": sizes,
            "tokens": np.split(tokens[order], np.cumsum(sizes)[:-1]),
            "centroid": matrices.lists_of(centroids),
        },
        root,
    )


def _write(of: Vocabulary, tokens: Ids, counts: np.ndarray, vectors: np.ndarray, missing: int, root: Root) -> Vectors:
    columns = {"token": tokens, "count": counts, "vector": matrices.lists_of(vectors)}
    return Vectors(of, parquet.write(TOKEN_VECTORS.with_dimensions(vectors.shape[1]), columns, root), missing)
