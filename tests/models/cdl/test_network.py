import numpy as np
import pytest
import torch

from models.cdl.network import CDL, SIZES, comparison_loss, doublet_loss, embed, restore, score_vectors, softmax_loss
from models.settings.network import CDLConfig

PIXELS, VECTORS = (32, 32, 3), (8,)  # what an image tower takes


def test_the_cross_entropy_is_that_of_the_paper():
    o = np.array([-2.0, 0.0, 1.5])
    probability = np.exp(o) / (1 + np.exp(o))  # Eq. 3; the label of (positive, negative) is 0 (Eq. 4)
    expected = -np.log(1 - probability).mean()  # Eq. 5

    assert comparison_loss(torch.from_numpy(o), CDLConfig()).item() == pytest.approx(expected)


def test_the_network_is_trained_by_the_loss_of_its_setting():
    images, profiles, triplets = torch.randn(6, 8), torch.randn(4, 5), torch.tensor([[0, 1, 2], [0, 1, 3], [2, 4, 5]])
    losses = {}
    for loss in ("cross_entropy", "hinge", "doublets", "softmax"):
        torch.manual_seed(0)
        model = CDL(CDLConfig(loss=loss), VECTORS, 5).eval()
        losses[loss] = model(images, profiles, triplets)
    near_N, far_N = model.distances(images, profiles, triplets)

    torch.testing.assert_close(losses["cross_entropy"], comparison_loss(near_N - far_N, CDLConfig()))
    torch.testing.assert_close(losses["hinge"], comparison_loss(near_N - far_N, CDLConfig(loss="hinge")))
    torch.testing.assert_close(losses["doublets"], doublet_loss(near_N, far_N))
    torch.testing.assert_close(losses["softmax"], softmax_loss(near_N, far_N, triplets[:, 0], 4))


def test_the_hinge_asks_for_a_margin():
    o = torch.tensor([-2.0, 0.0, 1.5])

    assert comparison_loss(o, CDLConfig(loss="hinge", margin=0.5)).item() == pytest.approx((0 + 0.5 + 2.0) / 3)


def test_inner_products_of_score_vectors_rank_as_the_weighted_distance_does_even_with_negative_weights():
    torch.manual_seed(0)
    model = CDL(CDLConfig(), (8,), 5).eval()
    with torch.no_grad():
        model.weight_d.copy_(torch.randn_like(model.weight_d))
    users_Ud, images_Id = (np.random.default_rng(seed).standard_normal((4, 128), np.float32) for seed in (1, 2))
    users, images = score_vectors(model, users_Ud, images_Id)

    pairs = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    with torch.no_grad():
        distance = model.distance(torch.tensor(users_Ud)[pairs[:, 0]], torch.tensor(images_Id)[pairs[:, 1]])
    distance_UI = distance.reshape(4, 4).numpy()
    of_user_alone = users_Ud**2 @ model.weight_d.detach().numpy()
    np.testing.assert_allclose(users @ images.T, -distance_UI + of_user_alone[:, None], atol=2e-4)


def test_distances_are_compared_in_full_precision_where_the_towers_compute_in_half():
    torch.manual_seed(0)
    model = CDL(CDLConfig(), (8,), 5).eval()
    users_Nd, images_Nd = torch.randn(2, 50, 128)
    exact_N = model.distance(users_Nd, images_Nd)
    with torch.autocast("cpu", torch.bfloat16):
        distance_N = model.distance(users_Nd, images_Nd)

    torch.testing.assert_close(distance_N, exact_N)


def test_in_training_the_distance_loses_each_dimension_by_chance_and_stays_the_same_on_average():
    torch.manual_seed(0)
    model = CDL(CDLConfig(), VECTORS, 5)
    share = SIZES["small"].dropout
    with torch.no_grad():
        model.weight_d.copy_(torch.eye(128)[3])  # the distance is that of one dimension
        distance_N = model.train().distance(torch.zeros(20_000, 128), torch.full((20_000, 128), 2.0))
        assert (model.eval().distance(torch.zeros(5, 128), torch.full((5, 128), 2.0)) == 4).all()

    assert distance_N.unique().tolist() == [0, pytest.approx(4 / (1 - share))]
    assert (distance_N == 0).float().mean().item() == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("image_shape", [PIXELS, VECTORS])
@pytest.mark.parametrize("side", ["image_tower", "user_tower"])
def test_in_training_each_hidden_layer_of_a_tower_loses_units_by_chance(side, image_shape):
    torch.manual_seed(0)
    model = CDL(CDLConfig(), image_shape, 8)
    for parameter in model.parameters():
        parameter.data.abs_().add_(0.001)  # so that no ReLU gives a zero
    tower, shares = getattr(model, side), []
    _, *after_hidden = (layer for layer in tower.modules() if isinstance(layer, torch.nn.Linear))
    for layer in after_hidden:
        layer.register_forward_pre_hook(lambda _, inputs: shares.append((inputs[0] == 0).float().mean().item()))
    inputs = torch.full((200, *image_shape), 255, dtype=torch.uint8) if side == "image_tower" else torch.ones(200, 8)
    with torch.no_grad():
        tower.train()(inputs)
        in_training = shares.copy()
        tower.eval()(inputs)

    assert in_training == [pytest.approx(SIZES["small"].dropout, abs=0.02)] * len(after_hidden)
    assert shares[len(after_hidden) :] == [0.0] * len(after_hidden)


def test_the_papers_network_has_alexnets_layers_four_full_connections_of_a_user_and_1024_outputs():
    with torch.device("meta"):
        model = CDL(CDLConfig(size="paper"), (256, 256, 3), 1024)
        images = model.image_tower(torch.zeros(2, 256, 256, 3, dtype=torch.uint8))
        users = model.user_tower(torch.zeros(2, 1024))

    layers = [_described(layer) for layer in model.image_tower.modules()]
    assert [layer for layer in layers if layer] == [
        *("convolution of 96, 11 x 11 by 4", "pool of 3 x 3 by 2"),
        *("convolution of 256, 5 x 5 by 1", "pool of 3 x 3 by 2"),
        *("convolution of 384, 3 x 3 by 1", "convolution of 384, 3 x 3 by 1"),
        *("convolution of 256, 3 x 3 by 1", "pool of 3 x 3 by 2"),
        *("4096", "dropout of 0.5", "4096", "dropout of 0.5", "1024"),
    ]
    layers = [_described(layer) for layer in model.user_tower.modules()]
    assert [layer for layer in layers if layer] == [*("1024", "dropout of 0.5") * 3, "1024"]
    assert _described(model.dropout) == "dropout of 0.5"
    assert images.shape == users.shape == (2, 1024)


def _described(layer: torch.nn.Module) -> str:
    """What a layer does; nothing for ReLUs and containers."""
    if isinstance(layer, torch.nn.Conv2d):
        height, width = layer.kernel_size
        return f"convolution of {layer.out_channels}, {height} x {width} by {layer.stride[0]}"
    if isinstance(layer, torch.nn.MaxPool2d):
        return f"pool of {layer.kernel_size} x {layer.kernel_size} by {layer.stride}"
    if isinstance(layer, torch.nn.Dropout):
        return f"dropout of {layer.p}"
    return str(layer.out_features) if isinstance(layer, torch.nn.Linear) else ""


@pytest.mark.parametrize("image_shape", [(32, 32, 3), (7,)])
def test_embedding_in_batches_equals_embedding_at_once(image_shape):
    torch.manual_seed(0)
    model = CDL(CDLConfig(), image_shape, 5).eval()
    inputs = np.random.default_rng(0).integers(0, 256, (9, *image_shape)).astype(np.uint8)

    np.testing.assert_allclose(
        embed(model.image_tower, inputs, 4), embed(model.image_tower, inputs, 9), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("image_shape", [(32, 32, 3), (7,)])
def test_a_network_is_restored_whole_without_drawing_random_numbers(image_shape):
    model = CDL(CDLConfig(), image_shape, 5)
    before = torch.get_rng_state()
    restored = restore(model.state_dict(), CDLConfig(), image_shape, 5)

    assert torch.equal(torch.get_rng_state(), before)
    assert restored.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in restored.state_dict().items())


def test_an_unknown_size_or_loss_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="choose one of small, paper"):
        CDLConfig(size="huge")
    with pytest.raises(ValueError, match="choose one of cross_entropy, hinge, softmax, doublets"):
        CDLConfig(loss="squared")


def test_every_size_ends_in_equal_widths_of_both_towers():
    for name, size in SIZES.items():
        with torch.device("meta"):
            model = CDL(CDLConfig(size=name), (64,), 10)
            assert model.user_tower(torch.zeros(1, 10)).shape == model.image_tower(torch.zeros(1, 64)).shape
        assert model.weight_d.shape == (size.dimensions,)
