import json

import pytest
import torch

from storage import checkpoints
from storage.refs import ref_of
from storage.roots import DamagedError, Root
from tests.storage.damage import cut_off, empty, flip


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def same(left, right) -> bool:
    """Whether two states are equal in value, type, order of keys, and bit for bit in their tensors."""
    if type(left) is not type(right):
        return False
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and left.shape == right.shape and bits(left) == bits(right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return repr(left) == repr(right)  # so that nan is nan


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def test_every_kind_of_value_survives(root):
    tied = torch.randn(3, 2)
    state = {
        "step": 7,
        "floats": [0.1, float("inf"), float("nan"), -0.0],
        "flags": (True, None, "Größe"),
        "nothing": {},
        "nor": [[], ()],
        "rng": torch.get_rng_state(),
        "dtypes": [
            torch.arange(4).to(kind) for kind in (torch.int64, torch.uint8, torch.bool, torch.bfloat16, torch.float64)
        ],
        "nan": torch.tensor([float("nan"), -0.0]),
        "scalar": torch.tensor(3),
        "empty": torch.empty(0, 5),
        "transposed": tied.T,
        "tied": [tied, tied, tied[:, 0]],
        "order": {"b": 1, "a": 2, 3: torch.ones(1), "3": torch.zeros(1)},
        "tensor": {"tensor": "a value that looks like our own notation", "dict": [], "tuple": ()},
        "a/b": torch.ones(1),
        "a": {"b": torch.zeros(1)},
    }
    assert same(checkpoints.load(checkpoints.save(state, root, "some/where"), root), state)


def test_an_empty_state_survives(root):
    assert checkpoints.load(checkpoints.save({}, root, "empty"), root) == {}


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
        lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
    ],
    ids=["sgd", "adamw"],
)
def test_training_resumes_from_a_checkpoint_as_if_never_stopped(root, make):
    def begin():
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
        return network, make(network.parameters())

    def train(network, optimizer, num_steps):
        for _ in range(num_steps):
            optimizer.zero_grad()
            network(torch.randn(16, 4)).square().mean().backward()
            optimizer.step()

    whole = begin()
    train(*whole, 8)
    first = begin()
    train(*first, 3)
    state = {"network": dict(first[0].state_dict()), "optimizer": first[1].state_dict(), "rng": torch.get_rng_state()}
    loaded = checkpoints.load(checkpoints.save(state, root, "step-3"), root)
    assert same(loaded, state)
    network, optimizer = begin()
    network.load_state_dict(loaded["network"])
    optimizer.load_state_dict(loaded["optimizer"])
    torch.set_rng_state(loaded["rng"])
    train(network, optimizer, 5)
    assert same(dict(network.state_dict()), dict(whole[0].state_dict()))
    assert same(optimizer.state_dict(), whole[1].state_dict())


def test_equal_states_give_equal_files(root):
    refs = [checkpoints.store({"b": torch.ones(2), "a": {"c": torch.zeros(3)}}, "model", root) for _ in range(2)]
    assert refs[0] == refs[1]
    assert same(checkpoints.load(refs[0], root), {"b": torch.ones(2), "a": {"c": torch.zeros(3)}})


def test_the_file_is_plain_safetensors_with_readable_names(root):
    data = root.read(checkpoints.save({"model": {"towers.0.weight": torch.ones(2)}, "step": 3}, root, "file").path)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["model/towers.0.weight"]["shape"] == [2]


@pytest.mark.parametrize("value", [object(), b"bytes", {1.5: 2}, {1, 2}])
def test_a_value_that_needs_a_pickle_is_refused_with_its_place(root, value):
    with pytest.raises(TypeError, match="model/deep/1"):
        checkpoints.save({"model": {"deep": [0, value]}}, root, "file")
    assert not list(root.entries())


@pytest.mark.parametrize("damage", [flip, cut_off, empty])
def test_a_damaged_checkpoint_says_what_to_do(root, damage):
    ref = checkpoints.save({"weights": torch.ones(1000)}, root, "file")
    checkpoints.load(ref, root)
    damage(root, ref.path)
    with pytest.raises(DamagedError, match=rf"{ref.path}: damaged: .* expected {ref.sha256}; `tastegraph verify"):
        checkpoints.load(ref, root)
    root.delete(ref.path)
    with pytest.raises(FileNotFoundError):
        checkpoints.load(ref, root)


def test_what_is_no_checkpoint_is_named(root):
    root.write("file", b"some bytes")
    with pytest.raises(ValueError, match="file: no checkpoint"):
        checkpoints.load(ref_of("state", "file", b"some bytes"), root)


def test_a_checkpoint_lies_on_s3_as_well(moto, monkeypatch, tmp_path):
    root = moto.root(monkeypatch, tmp_path)
    for step in range(2):
        ref = checkpoints.save({"step": step, "weights": torch.full((3,), step)}, root, f"steps/{step}")
        assert same(checkpoints.load(ref, root), {"step": step, "weights": torch.full((3,), step)})
    assert [saved.path.split(".")[0] for saved in checkpoints.saved("steps", root)] == ["steps/0", "steps/1"]
    assert checkpoints.saved("steps", root)[1] == ref


def test_the_outermost_keys_are_read_without_the_tensors_and_damage_is_named(tmp_path):
    root = Root(str(tmp_path))
    ref = checkpoints.store({"state": {"users": torch.ones(2, 3)}, "note": "x"}, "ease", root)

    assert checkpoints.keys_of(root.local(ref.path)) == {"state", "note"}
    (tmp_path / "half").write_bytes(root.read(ref.path)[:40])
    with pytest.raises(ValueError, match="half: not a whole checkpoint"):
        checkpoints.keys_of(tmp_path / "half")
