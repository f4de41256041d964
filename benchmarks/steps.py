"""CDL's training step and embedding from packed shards, beside the same on tensors that the device holds already.

For `training.py` and `gpu.py`. The reference takes the very tensors that the model was given, and its losses are
checked to be the same: so it is the same step, without reading, gathering and uploading. S: side in pixels.
"""

import copy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from reach import Claim, Run, measured, report
from scipy.sparse import csr_array
from torch import Tensor

from models.cdl.network import CDL, ImageTower, embed
from models.cdl.training import TrainingData, train
from models.gather import Gather
from models.settings.network import CDLConfig
from models.settings.training import TrainingConfig

REACH = 1 / 0.95  # times the seconds of the reference
CLUSTERS, USERS = 256, 1000
BATCH = 32  # images embedded at once, as the stage does
OFF = {"cpu": 1e-4, "cuda": 0.05}  # of the largest entry, that embeddings may be off those in float64


@dataclass(frozen=True)
class Case:
    """A network and how much it is given."""

    preset: Literal["small", "paper"]
    size_px: int
    images: int
    steps: int  # of a round
    triplets: int = 128  # of a step

    @property
    def label(self) -> str:
        return f"{self.preset} preset, {self.size_px} px"

    def pixels(self) -> np.ndarray:
        """uint8 (images, S, S, 3), at random."""
        return np.random.default_rng(0).integers(0, 256, (self.images, self.size_px, self.size_px, 3), np.uint8)

    def network(self) -> CDL:
        torch.manual_seed(0)
        return CDL(CDLConfig(size=self.preset), (self.size_px, self.size_px, 3), CLUSTERS)


@dataclass(frozen=True)
class Resident:
    """What the model was given in some steps, on the device, and in which precision."""

    steps: list[tuple[Tensor, ...]]
    in_bfloat16: bool

    def train(self, network: CDL, config: TrainingConfig) -> list[float]:
        """The losses of the same steps by a bare loop."""
        torch.manual_seed(config.seed)
        decay, optimizer = config.weight_decay, torch.optim.AdamW
        adam = optimizer(network.train().parameters(), config.learning_rate, weight_decay=decay, fused=True)
        losses = []
        for images, profiles, triplets in self.steps:
            network.zero_grad(set_to_none=True)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=self.in_bfloat16):
                loss = network(images, profiles, triplets)
            loss.backward()
            adam.step()
            losses.append(loss.detach())
        values: list[float] = torch.stack(losses).tolist()
        return values


def training_step(case: Case, gather: Gather, device: str, rounds: int) -> tuple[dict[str, Any], Resident]:
    """Print the row of a training step; its JSON line, and the steps."""
    rng = np.random.default_rng(0)
    number = case.steps * case.triplets
    users = rng.integers(0, USERS, number)
    triplets = np.column_stack([users, rng.integers(0, case.images, (number, 2))])
    profiles = csr_array(rng.random((USERS, CLUSTERS), np.float32) / CLUSTERS)
    data = TrainingData(triplets, np.zeros(number, np.int64), profiles, gather)
    config = TrainingConfig(
        epochs=1, batch_triplets=case.triplets, schedule="constant", checkpoint_steps=case.steps, device=device
    )
    first = case.network()
    steps: list[tuple[Tensor, ...]] = []
    precisions: set[bool] = set()

    def record(_: Any, inputs: tuple[Tensor, ...]) -> None:
        steps.append(inputs)
        precisions.add(torch.is_autocast_enabled(device))

    watched = copy.deepcopy(first)
    watched.register_forward_pre_hook(record)
    losses = next(train(watched, data, config)).losses
    resident = Resident(steps, precisions.pop())
    ours, reference = copy.deepcopy(first), copy.deepcopy(first).to(device)
    np.testing.assert_allclose(resident.train(copy.deepcopy(reference), config), losses, rtol=0.01)

    runs: dict[str, Run] = {
        "ours": lambda: next(train(ours, data, config)),
        "resident": lambda: resident.train(reference, config),
    }
    found = measured({name: waiting(run, device) for name, run in runs.items()}, rounds)
    for values in (*found["ours"], *found["resident"]):
        values[:] = [seconds / case.steps for seconds in values]
    claim = Claim(f"training step, {case.label}", "on resident tensors", REACH)
    more = {"device": device, "bfloat16": resident.in_bfloat16, "images": len(steps[0][0])}
    return report(claim, found["ours"], found["resident"], **more), resident


def embedding(case: Case, gather: Gather, device: str, rounds: int) -> dict[str, Any]:
    """Print the row of embedding all images; its JSON line. Both ways' vectors are checked against float64."""
    tower = case.network().image_tower.to(device).eval()
    assert isinstance(tower, ImageTower)
    rows = np.arange(case.images)
    resident = torch.from_numpy(gather(rows)).to(device)
    vectors: dict[str, np.ndarray] = {}

    def ours() -> None:
        vectors["ours"] = embed(tower, gather(rows), BATCH)

    @torch.inference_mode()
    def bare() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            parts = [tower(part) for part in resident.split(BATCH)]
        vectors["bare"] = torch.cat(parts).float().cpu().numpy()

    found = measured({"ours": waiting(ours, device), "bare": waiting(bare, device)}, rounds)
    exact = copy.deepcopy(tower).cpu().double()
    scaled = resident[:8].cpu().permute(0, 3, 1, 2).double() / 127.5 - 1
    with torch.inference_mode():
        expected = exact.layers(exact.convolutions(scaled).flatten(1)).numpy()
    largest = float(np.abs(expected).max())
    off = max(float(np.abs(of_way[:8] - expected).max()) / largest for of_way in vectors.values())
    if off > OFF[device]:
        raise AssertionError(f"embeddings are {off:.2g} of the largest entry off those in float64")
    claim = Claim(f"embedding {case.images:,} images, {case.label}", "the bare forward pass", REACH)
    return report(claim, found["ours"], found["bare"], device=device, off_float64=off)


def waiting(run: Run, device: str) -> Run:
    """The run, and the wait until the device has done its work."""

    def waited() -> object:
        result = run()
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    return waited
