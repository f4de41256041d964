"""Settings of word2vec."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Word2VecConfig:
    """How word2vec is trained.

    Chosen without tags (docs/log.md, "First costs and settings"); with tags no setting matters.
    """

    dimensions: int = 64  # of a vector; Google's, the paper's, have 300
    window: int = 5  # tokens of context before and behind, in shuffled order
    epochs: int = 10  # passes over the sentences
    learning_rate: float = 0.1  # falls linearly; gensim's .025 is for far longer corpora
    negative: int = 5  # noise tokens drawn per pair
    min_count: int = 1  # a token that occurs less often gets no vector
    seed: int = 0  # of all samples
