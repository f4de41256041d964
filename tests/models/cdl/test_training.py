import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models.cdl.network import CDL, embed, score_vectors
from models.cdl.training import Share, TrainingData, TrainState, train
from models.settings.network import CDLConfig
from models.settings.training import TrainingConfig

# Two communities of taste: users 0-9 like images 0-19, users 10-19 like images 20-39; each image's vector, and each
# user's profile, is noise around its community's.
RNG = np.random.default_rng(0)
TASTE_U, TASTE_I = np.repeat([0, 1], 10), np.repeat([0, 1], 20)
PROFILES = csr_array((np.eye(2)[TASTE_U] + 0.1 * RNG.random((20, 2))).astype(np.float32))
VECTORS = (np.eye(2)[TASTE_I] @ RNG.standard_normal((2, 6)) + 0.3 * RNG.standard_normal((40, 6))).astype(np.float32)
PLAIN_ORDER = np.zeros(600, int)


def _triplets(num_triplets: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    user = rng.integers(0, 20, num_triplets)
    draws = rng.integers(0, 19, (num_triplets, 2))  # images 19 and 39 are nobody's triplet
    return np.column_stack([user, 20 * TASTE_U[user] + draws[:, 0], 20 * (1 - TASTE_U[user]) + draws[:, 1]])


def _data(pools: np.ndarray = PLAIN_ORDER, gather=lambda rows: VECTORS[rows]) -> TrainingData:
    return TrainingData(_triplets(len(pools)), pools, PROFILES, gather)


def _train(config: TrainingConfig, stop_at: int | None = None, state=None, pools=PLAIN_ORDER) -> tuple[CDL, TrainState]:
    torch.manual_seed(7)
    model = CDL(CDLConfig(), (6,), 2)
    for reached in train(model, _data(pools), config, state):
        last = reached
        if reached.step == stop_at:
            break
    return model, last


def _config(**settings) -> TrainingConfig:
    return TrainingConfig(epochs=4, checkpoint_steps=5, **settings)


@pytest.mark.parametrize("settings", [{"optimizer": "sgd", "learning_rate": 0.01}, {"optimizer": "adamw"}])
def test_a_broken_off_training_goes_on_to_the_very_weights_of_an_unbroken_one(settings):
    config = _config(**settings)
    unbroken, _ = _train(config)
    _, broken = _train(config, stop_at=10)
    torch.manual_seed(99)  # whatever happened to the generator in between
    resumed, _ = _train(config, state=broken.state)

    for ours, theirs in zip(resumed.state_dict().values(), unbroken.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, _ = _train(_config())
    second, _ = _train(_config())
    other, _ = _train(_config(seed=1))

    assert torch.equal(first.weight_d, second.weight_d)
    assert not torch.equal(first.weight_d, other.weight_d)


@pytest.mark.parametrize("pools", [PLAIN_ORDER, np.arange(600) % 6])
@pytest.mark.parametrize("loss", ["cross_entropy", "hinge"])
def test_an_image_of_the_users_community_that_no_triplet_held_comes_first(pools, loss):
    torch.manual_seed(7)
    model = CDL(CDLConfig(loss=loss), (6,), 2)
    config = TrainingConfig(epochs=30)
    for _ in train(model, _data(pools), config):
        pass
    model.eval()
    users, images = score_vectors(
        model, embed(model.user_tower, PROFILES.toarray()), embed(model.image_tower, VECTORS[[19, 39]])
    )

    assert ((users @ images.T).argmax(axis=1) == TASTE_U).all()


def test_a_step_reads_each_of_its_images_once():
    read = []

    def gather(rows):
        read.append(rows)
        return VECTORS[rows]

    model = CDL(CDLConfig(), (6,), 2)
    config = TrainingConfig(epochs=1)
    for _ in train(model, _data(np.ones(600, int), gather), config):
        pass

    assert [len(rows) for rows in read] == [38]


class LittleMemory(torch.nn.Module):
    """CDL on a device that holds so many users of a step and no more."""

    def __init__(self, network: CDL, max_users: int) -> None:
        super().__init__()
        self.network, self.max_users, self.failures = network, max_users, 0

    def forward(self, images, profiles, triplets):
        loss = self.network(images, profiles, triplets)
        if len(profiles) > self.max_users:
            self.failures += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss


@pytest.mark.parametrize("loss", ["cross_entropy", "softmax"])
def test_a_step_that_memory_cannot_hold_is_taken_in_parts_and_learns_the_same(loss):
    config, data = _config(batch_triplets=16, precision="float32"), _data()
    networks = []
    for max_users in (100, 2):
        torch.manual_seed(0)
        model = LittleMemory(CDL(CDLConfig(loss=loss, size="small"), VECTORS.shape[1:], 2).eval(), max_users)
        model.train = lambda mode=True, model=model: model  # without dropout, which is drawn part by part
        *_, last = train(model, data, config)
        networks.append((model.network, last, model.failures))
    (whole, unsplit, _), (in_parts, split, failures) = networks

    assert unsplit.parts == 1
    assert split.parts == split.state["parts"] > 1
    assert failures < 10  # only until it fits
    assert np.allclose(split.losses, unsplit.losses, atol=1e-5)
    for name, weights in whole.state_dict().items():
        assert torch.allclose(weights, in_parts.state_dict()[name], atol=1e-4), name


def test_a_step_of_which_not_even_one_user_fits_is_named():
    model = LittleMemory(CDL(CDLConfig(), VECTORS.shape[1:], 2), 0)
    with pytest.raises(MemoryError, match=r"not even the triplets of one user at a time \(.*\); choose a smaller"):
        next(train(model, _data(), _config()))


def test_a_loss_that_is_not_finite_stops_with_the_learning_rate_to_lower():
    with pytest.raises(FloatingPointError, match=r"lower training.learning_rate \(now 1e\+30\)"):
        _train(_config(optimizer="sgd", learning_rate=1e30, schedule="constant"))


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="choose sgd or adamw"):
        TrainingConfig(optimizer="lion")
    with pytest.raises(ValueError, match="choose constant or cosine"):
        TrainingConfig(schedule="linear")
    with pytest.raises(ValueError, match="at least 1"):
        TrainingConfig(epochs=0)


class _Line(torch.nn.Module):
    """A model whose loss is one weight, of gradient 1 wherever it is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, images: torch.Tensor, profiles: torch.Tensor, triplets: torch.Tensor) -> torch.Tensor:
        return self.weight.clone()


def test_triplets_that_fit_into_one_step_make_one():
    steps = [reached.num_steps for reached in train(_Line(), _data(), TrainingConfig(epochs=3, batch_triplets=600))]
    assert steps == [3]


def _weights(**settings) -> np.ndarray:
    """The weight after each of 40 steps."""
    config = TrainingConfig(epochs=8, checkpoint_steps=1, **settings)
    return np.array([reached.state["model"]["weight"].item() for reached in train(_Line(), _data(), config)])


def test_sgd_has_momentum_and_weight_decay():
    weight, velocity, expected = 2.0, 0.0, []
    for _ in range(40):
        velocity = 0.8 * velocity + (1 + 0.3 * weight)
        weight -= 0.01 * velocity
        expected.append(weight)

    learned = _weights(optimizer="sgd", schedule="constant", learning_rate=0.01, momentum=0.8, weight_decay=0.3)
    np.testing.assert_allclose(learned, expected, rtol=1e-5)


def test_adamw_has_decoupled_weight_decay():
    weight, expected = 2.0, []
    for _ in range(40):
        weight = weight * (1 - 0.1 * 0.3) - 0.1  # Adam's step for a gradient that is always 1
        expected.append(weight)

    learned = _weights(optimizer="adamw", schedule="constant", learning_rate=0.1, weight_decay=0.3)
    np.testing.assert_allclose(learned, expected, rtol=1e-4)


def test_a_constant_rate_stays_and_a_cosine_rises_over_a_twentieth_and_falls_to_nothing():
    rates = {
        schedule: -np.diff(_weights(optimizer="sgd", momentum=0.0, weight_decay=0.0, schedule=schedule), prepend=2.0)
        for schedule in ("constant", "cosine")
    }
    np.testing.assert_allclose(rates["constant"], 0.002, rtol=1e-3)

    progress = np.arange(40) / 40
    expected = 0.002 * 0.5 * (1 + np.cos(np.pi * (progress - 0.05) / 0.95))
    np.testing.assert_allclose(rates["cosine"][2:], expected[2:], rtol=1e-2, atol=1e-6)
    assert (np.diff(rates["cosine"][:3]) > 0).all()


def _gradients(rank: int, of: int, folder: Path) -> None:
    """Save the gradient of one step, of which this process computes a share, and the step's loss."""
    if of > 1:
        file = f"file://{folder / 'meet'}"
        torch.distributed.init_process_group("gloo", init_method=file, rank=rank, world_size=of)
    torch.manual_seed(7)
    model = CDL(CDLConfig(), (6,), 2)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    config = TrainingConfig(epochs=1, batch_triplets=600, precision="float32", device="cpu")
    (reached,) = train(model, _data(), config, share=Share(rank, of))
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    torch.save((gradients, reached.losses), folder / f"{rank}-of-{of}.pt")
    if of > 1:
        torch.distributed.destroy_process_group()


def test_the_gradient_of_two_processes_is_that_of_one_at_the_same_batch(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", next(name for _, name in socket.if_nameindex() if name.startswith("lo")))
    _gradients(0, 1, tmp_path)
    torch.multiprocessing.spawn(_gradients, (2, tmp_path), nprocs=2)
    (one, loss), *both = (torch.load(tmp_path / f"{name}.pt") for name in ("0-of-1", "0-of-2", "1-of-2"))

    for gradients, loss_of_step in both:
        assert loss_of_step == pytest.approx(loss, rel=1e-6)
        for name, gradient in gradients.items():
            assert gradient.abs().max() > 0, name
            torch.testing.assert_close(gradient, one[name], rtol=1e-4, atol=1e-7)
