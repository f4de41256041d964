"""Settings of `collaborative_dl`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CollaborativeDLConfig:
    """The paper's symbols (sections 3 and 4). K, a and noise have its values."""

    K: int = 50  # of a user, an image and the code
    hidden: int = 200  # of the layers beside the code
    a: float = 1.0  # confidence in a favorite
    b: float = 0.1  # in any other pair; the paper's 0.01 did worse on two validation splits
    lambda_u: float = 1.0  # pull of users towards zero
    lambda_v: float = 30.0  # pull of images towards their code
    lambda_n: float = 1000.0  # weight of the reconstruction
    lambda_w: float = 0.0001  # weight decay of the autoencoder
    noise: float = 0.3  # share of the inputs set to zero
    max_words: int = 2000  # commonest tags and title words; the paper has 8,000
    pretraining: int = 8  # epochs of the autoencoder alone
    rounds: int = 10  # users, images, the autoencoder
    epochs: int = 1  # of the autoencoder in each round
    batch_images: int = 512  # images in a step of the autoencoder
    learning_rate: float = 0.001  # of Adam
