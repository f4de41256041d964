"""Settings of pretrained vectors."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PretrainedConfig:
    """Word vectors from a file, in place of those that are learned from the community."""

    file: str = ""  # word2vec binary or text, or gensim KeyedVectors; empty: learn them
