"""Settings of `cae`."""

from dataclasses import dataclass

from models.settings.visual_taste import TasteConfig


@dataclass(frozen=True, kw_only=True)
class CAEConfig(TasteConfig):
    """Settings of `cae`. Its autoencoder's 3 epochs are seed 001's."""

    autoencoder_epochs: int = 3  # passes over the pictures
    autoencoder_rate: float = 0.001  # of Adam
    autoencoder_batch: int = 64  # pictures a step of it
    channels: tuple[int, ...] = (16, 32, 64, 64)  # of the encoder's convolutions
    size_px: int = 64  # side that pictures are resized to

    def __post_init__(self) -> None:
        if self.size_px % 2 ** len(self.channels):
            raise ValueError(
                f"cae: size_px {self.size_px} is no multiple of {2 ** len(self.channels)}, but each of the "
                f"{len(self.channels)} convolutions of channels halves the side; change one of the two"
            )
