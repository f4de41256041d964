"""Settings of `pinsage`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PinSageConfig:
    """The paper's symbols (sections 3 and 4), with smaller values."""

    d: int = 64  # of an embedding
    hidden: int = 128  # units in which a neighborhood is pooled
    T: int = 20  # neighbors of an image
    walks: int = 400  # walkers from each image and user
    steps: int = 8  # of each walker
    restart: float = 0.5  # chance that a walker on an image returns to its start
    content_dims: int = 128  # of reduced features, and of tags and words
    graph_dims: int = 64  # of the input from favorites; 0: the paper's content alone
    max_words: int = 2000  # commonest tags and title words in the content
    query_favorites: int = 10  # whose mean is the user in training
    margin: float = 0.1  # the least lead of a favorite over a negative
    negatives: int = 500  # shared by all favorites of a batch
    popular_negatives: float = 0.25  # share of them sampled by popularity; 0: the paper's
    hard_negatives: int = 6  # of a favorite: none in the first epoch, then one more in each
    hard_from: int = 100  # best rank of a hard negative, by visits of walkers from the user
    hard_to: int = 500  # worst rank
    epochs: int = 10  # passes over the favorites
    batch_favorites: int = 1024  # favorites of a step, at least
    max_batches: int = 100  # of an epoch; batches are larger where there would be more
    learning_rate: float = 0.003  # of Adam
    decay: float = 0.9  # of the learning rate, each epoch
