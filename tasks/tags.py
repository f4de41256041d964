"""Word vectors of the community's tags, or of its images where it has none, and their semantic clusters."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import csr_array

from models import clusters
from models.clusters import ClusterConfig
from storage import matrices, parquet, tables, word_vectors
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from tasks import word2vec
from tasks.caching import stage
from tasks.word2vec import Word2VecConfig

Vocabulary = Literal["tags", "images"]


@dataclass(frozen=True)
class Vectors:
    """Word2vec vectors of tags or images; tokens that a pretrained file lacks are counted, not kept."""

    of: Vocabulary
    vectors: Ref
    out_of_vocabulary: int


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
    sentences = [table["image_tags"], table["user_tags"]] if of == "tags" else [training]
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
    tokens, counts = rows["token"].to_numpy(), rows["count"].to_numpy()
    labels, centroids = clusters.cluster(matrices.vectors_of(rows["vector"]), None, config)
    order = np.lexsort((tokens.astype(str), -counts, labels))
    sizes = np.bincount(labels, minlength=len(centroids))
    return parquet.write(
        tables.CLUSTERS.with_dimensions(centroids.shape[1]),
        {
            "cluster": np.arange(len(centroids), dtype=np.int32),
            "size": sizes,
            "tokens": np.split(tokens[order], np.cumsum(sizes)[:-1]),
            "centroid": matrices.lists_of(centroids),
        },
        root,
    )


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


def _write(of: Vocabulary, tokens: Ids, counts: np.ndarray, vectors: np.ndarray, missing: int, root: Root) -> Vectors:
    columns = {"token": tokens, "count": counts, "vector": matrices.lists_of(vectors)}
    return Vectors(of, parquet.write(tables.TOKEN_VECTORS.with_dimensions(vectors.shape[1]), columns, root), missing)
