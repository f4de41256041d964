"""Settings of word2vec."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Word2VecConfig:
    """How word2vec is trained.

    Measured on real communities, by ranking concealed favorites above others as popular with the mean vector of the
    user's other favorites (AUC, .5 is chance; seconds on one core of a busy machine). Images as tokens (295,000
    favorites of 82,000 images), window 5: 10 epochs at rate .05 give .58 in 51 s, 20 give .70 in 93 s, 10 at rate .1
    give .70 in 30 to 40 s. Window 10: 10 epochs at .05 give .70 in 55 s. Tags as tokens (144,000 uses of 9,700 tags):
    .80 to .81 in 5 to 30 s, whatever the setting.
    """

    dimensions: int = 64  # length of a vector; the paper took Google's, which have 300
    window: int = 5  # a token's context is this many tokens before it and behind it, in shuffled order
    epochs: int = 10  # passes over the sentences
    learning_rate: float = 0.1  # at the start, falling linearly; gensim's .025 is for far longer corpora
    negative: int = 5  # noise tokens drawn per pair
    min_count: int = 1  # a token that occurs less often gets no vector
    seed: int = 0  # of the first vectors, the order within sentences and the noise
