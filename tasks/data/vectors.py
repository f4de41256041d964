"""Vectors of the community's vocabulary, its tags or else its images: word2vec, or pretrained ones."""

import numpy as np

from storage import word_vectors
from storage.refs import Ref
from storage.roots import Root
from tasks.data import word2vec
from tasks.data.sentences import read_sentences, sentences_of, vocabulary_of
from tasks.data.tastes import Vectors, Vocabulary, write_vectors
from tasks.runtime.caching import stage
from tasks.settings.vectors import PretrainedConfig
from tasks.settings.word2vec import Word2VecConfig


@stage
def learn_vectors(of: Vocabulary, sentences: list[Ref], config: Word2VecConfig, root: Root) -> Vectors:
    """Word2vec over sentences: the tags of an image, the tags of a user; without tags, the favorites of a user."""
    tokens, corpus = read_sentences(sentences, root)
    return write_vectors(of, *word2vec.train(word2vec.Sentences(tokens, tuple(corpus)), config), 0, root)


@stage
def take_vectors(sentences: list[Ref], source: Root, file: str, version: str, root: Root) -> Vectors:
    """The pretrained vectors of the community's tags; `version` stands for the file's content in the cache key."""
    tokens, corpus = read_sentences(sentences, root)
    found, vectors = word_vectors.load(source.local(file), tokens.tolist())
    counts = np.sum([matrix.count_nonzero(axis=0) for matrix in corpus], axis=0)
    return write_vectors("tags", tokens[found], counts[found], vectors[found], int((~found).sum()), root)


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
        raise FileNotFoundError(f"{pretrained.file}: no such file; pretrained.file names the file of word vectors")
    return take_vectors(sentences, source, name, entry.version, root)
