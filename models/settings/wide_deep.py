"""Settings of `wide_deep`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WideDeepConfig:
    """Settings of `wide_deep`. Smaller than section 4.2 (layers of 1024, 512 and 256), as it scores all pairs."""

    k: int = 32  # dimensions of the embeddings of a user, an image and a tag
    hidden: int = 64  # units of the first hidden layer
    last_hidden: int = 32  # units of the second
    max_tags: int = 256  # commonest tags, embedded and crossed
    owner_crosses: int = 65_536  # to which crosses of user and owner are hashed
    id_dropout: float = 0.2  # share of the training pairs without the image's id
    negatives: int = 4  # images sampled for each favorite
    epochs: int = 20  # passes over the favorites
    batch_favorites: int = 1024  # favorites of a step
    learning_rate: float = 0.003  # of Adam; the paper has FTRL and AdaGrad
    weight_decay: float = 0.00001  # of all weights
