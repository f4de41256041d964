"""`--config paper` against the paper: its sentences, its figures, and the network that is built from them."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from flows.settings import cdl_settings, load
from models.cdl.network import CDL

CONFIG = load("paper")
SETTINGS = cdl_settings(CONFIG)


def network() -> CDL:
    """The network of the paper, without weights."""
    with torch.device("meta"):
        return CDL(SETTINGS.model, (CONFIG.images.size_px,) * 2 + (3,), CONFIG.clusters.num_clusters)


def layers(module: nn.Module, kind: type) -> list[Any]:
    return [layer for layer in module.modules() if isinstance(layer, kind)]


def convolutional_pooling_and_full_layers() -> tuple[int, ...]:
    return tuple(len(layers(network().image_tower, kind)) for kind in (nn.Conv2d, nn.MaxPool2d, nn.Linear))


def dropout() -> tuple[float, ...]:
    """The one probability of all dropouts of both towers."""
    found = network()
    assert [len(layers(tower, nn.Dropout)) for tower in (found.image_tower, found.user_tower)] == [2, 3]
    return tuple({layer.p for layer in layers(found, nn.Dropout)})


def width_of(tower: str) -> tuple[int]:
    return (layers(getattr(network(), tower), nn.Linear)[-1].out_features,)


# A sentence of the paper, each number of which is a figure of ours, in its order. Line breaks and hyphens are left out.
FIGURES: dict[str, Callable[[], tuple[float, ...]]] = {
    "all images are resized to 256 × 256": lambda: (CONFIG.images.size_px,) * 2,
    "there are 5 convolutional layers, 3 max-pooling layers and 3 full-connection layers": (
        convolutional_pooling_and_full_layers
    ),
    "output of this sub-network is a 1024-dim vector": lambda: width_of("image_tower"),
    "This sub-network also outputs 1024-dim vectors": lambda: width_of("user_tower"),
    "all probabilities of dropout are set to 0.5": dropout,
    "we adopt the idea of dropout (at rate 0.5)": lambda: (network().dropout.p,),
    "The learning rate starts from 0.001 for all layers and the momentum is 0.9": lambda: (
        SETTINGS.training.learning_rate,
        SETTINGS.training.momentum,
    ),
    "The mini-batch size of images is 128": lambda: (SETTINGS.training.batch_triplets,),
    "The weight decay parameter is 0.0005": lambda: (SETTINGS.training.weight_decay,),
    "vectors are clustered by k-means into 1024 semantic clusters": lambda: (CONFIG.clusters.num_clusters,),
    "we filter out users that have less than 40 or more than 200 favorite images from test": lambda: (
        CONFIG.evaluation.min_favorites,
        CONFIG.evaluation.max_favorites,
    ),
    "filter out users that have interests in less than 80 or more than 280 clusters from training data": lambda: (
        SETTINGS.training_users.min_clusters,
        SETTINGS.training_users.max_clusters,
    ),
    "For each user, 20 images are randomly selected from her favorite images": lambda: (
        CONFIG.evaluation.num_concealed,
    ),
    "20 triplets are sampled for each user for training": lambda: (SETTINGS.triplets.per_user,),
    "mixed with other 80 images (for each user) for test": lambda: (CONFIG.evaluation.num_others,),
    "the target is to recommend 20 images out of 100 candidates": lambda: (
        CONFIG.evaluation.max_k,
        CONFIG.evaluation.num_concealed + CONFIG.evaluation.num_others,
    ),
}


def bare(text: str) -> str:
    """The text without what a line break of two columns may change."""
    return re.sub(r"[\s-]", "", text)


@pytest.mark.parametrize("sentence", FIGURES)
def test_every_figure_of_a_sentence_is_a_setting_or_a_part_of_the_network(sentence):
    assert FIGURES[sentence]() == tuple(float(figure) for figure in re.findall(r"\d+(?:\.\d+)?", sentence))


def test_the_sentences_are_the_papers():
    papers = Path(os.environ.get("TASTEGRAPH_DATA", "")).parent / "seeds"
    found = list(papers.glob("000_*.txt")) if "TASTEGRAPH_DATA" in os.environ else []
    if not found:
        pytest.skip("the paper's text is not at hand: it lies in seeds/ beside the folder TASTEGRAPH_DATA")
    text = bare(found[0].read_text())

    assert [sentence for sentence in FIGURES if bare(sentence) not in text] == []


def test_what_the_paper_says_without_a_figure():
    assert SETTINGS.training.optimizer == "sgd"  # by Caffe, of a momentum
    assert SETTINGS.triplets.pool_images == 0  # "random sampling ... to generate a subset of triplets"
    assert SETTINGS.negatives.social
    assert SETTINGS.negatives.min_negatives == 0  # no tag of interest, not potentially liked: for every user
    assert CONFIG.interests.mode == "all"
    assert CONFIG.concealment.order == "random"
    assert not CONFIG.evaluation.lower_to_community
    assert not CONFIG.model.refit


def test_the_image_tower_is_alexnet_with_the_papers_output():
    tower = network().image_tower
    convolutions = layers(tower, nn.Conv2d)
    pools, norms = layers(tower, nn.MaxPool2d), layers(tower, nn.LocalResponseNorm)

    assert [tuple(layer.weight.shape) for layer in convolutions] == [  # out, in of a group, kernel
        (96, 3, 11, 11),
        (256, 48, 5, 5),
        (384, 256, 3, 3),
        (384, 192, 3, 3),
        (256, 192, 3, 3),
    ]
    assert [layer.stride[0] for layer in convolutions] == [4, 1, 1, 1, 1]
    assert [layer.padding[0] for layer in convolutions] == [0, 2, 1, 1, 1]
    assert [(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode) for pool in pools] == [(3, 2, 0, True)] * 3
    assert [(norm.size, norm.alpha, norm.beta, norm.k) for norm in norms] == [(5, 1e-4, 0.75, 1.0)] * 2
    kinds = [type(layer).__name__ for layer in tower.convolutions]
    block = ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    assert kinds == [*block, *block, *["Conv2d", "ReLU"] * 3, "MaxPool2d"]
    widths = [(layer.in_features, layer.out_features) for layer in layers(tower, nn.Linear)]
    assert widths == [(256 * 7 * 7, 4096), (4096, 4096), (4096, 1024)]
