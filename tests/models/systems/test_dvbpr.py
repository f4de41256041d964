"""DVBPR."""

from dataclasses import replace

import numpy as np
import torch

from models.settings.dvbpr import DVBPRConfig
from models.systems.base import SYSTEMS
from models.systems.dvbpr import CNNF
from tests.models.systems.contract import NUM_IMAGES, SystemContract, two_tastes


class TestDVBPR(SystemContract):
    system = "dvbpr"


def test_training_from_pixels_embeds_each_picture_once_an_epoch_and_once_at_the_end():
    community, gathered = two_tastes(), []
    pixels = community.pixels
    assert pixels is not None

    def gather(rows: np.ndarray) -> np.ndarray:
        gathered.extend(rows.tolist())
        return pixels.gather(rows)

    system = SYSTEMS["dvbpr"](DVBPRConfig(epochs=3, pool_images=16))
    system.fit(replace(community, pixels=replace(pixels, gather=gather)))
    assert sorted(gathered) == sorted(list(range(NUM_IMAGES)) * 4)


def test_cnn_f_has_the_papers_layers_and_k_outputs():
    with torch.device("meta"):
        network = CNNF(DVBPRConfig(network="cnn_f", size_px=224, K=50))
    shapes = [tuple(value.shape) for name, value in network.named_parameters() if name.endswith("weight")]
    assert shapes == [
        (64, 3, 11, 11), (256, 64, 5, 5), (256, 256, 3, 3), (256, 256, 3, 3), (256, 256, 3, 3),
        (4096, 256 * 7 * 7), (4096, 4096), (50, 4096),
    ]  # fmt: skip


def test_cnn_f_trains_on_pictures_of_its_size():
    system = SYSTEMS["dvbpr"](DVBPRConfig(network="cnn_f", size_px=64, epochs=1))
    system.fit(two_tastes())
    assert np.isfinite(system.score(np.arange(2))).all()
