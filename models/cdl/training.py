"""The training loop: steps over triplets, resumable to the bit; it yields its state, which the caller may save.

Shapes: U users, C clusters, N triplets.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, distributed, nn

from models.devices import choose_device, is_out_of_memory
from models.gather import Gather
from models.settings.training import TrainingConfig

State = dict[str, Any]


@dataclass(frozen=True)
class TrainingData:
    """Triplets, and the inputs of their users and images."""

    triplets_N3: np.ndarray  # row numbers of user, positive and negative
    pools_N: np.ndarray  # the pool of each triplet; 0 everywhere in the paper's plain order
    profiles_UC: csr_array  # float32; a user's input
    gather_images: Gather  # the inputs of images by row number


@dataclass(frozen=True)
class TrainState:
    """How far the training is. `state` is all that is needed to go on; the losses are those since the last one."""

    step: int
    num_steps: int
    losses: list[float]
    state: State

    @property
    def parts(self) -> int:
        """Into how many parts each step is split, one after the other, as memory holds no more."""
        return int(self.state["parts"])


@dataclass(frozen=True)
class Share:
    """What this process computes of each step: the triplets of its users. The gradients of all shares are added up.

    With more than one share `torch.distributed` has a process group; every process holds the same weights.
    """

    rank: int = 0
    of: int = 1

    def add_up(self, model: nn.Module, loss: Tensor) -> Tensor:
        """The loss of the whole step, whose gradient is then in the weights, from this share's loss and gradient.

        One sum over all weights at the step's end: a share may have been taken in parts, for lack of memory, or be
        empty, where a step has fewer users than there are processes. DistributedDataParallel allows neither.
        """
        if self.of == 1:
            return loss
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        flat = torch.cat([loss.reshape(1), *(gradient.reshape(-1) for gradient in gradients)])
        distributed.all_reduce(flat)
        total, *summed = torch.split(flat, [1, *(weight.numel() for weight in weights)])
        for weight, gradient in zip(weights, summed, strict=True):
            weight.grad = gradient.view_as(weight).clone()
        whole: Tensor = total[0]
        return whole


WHOLE = Share()


def train(
    model: nn.Module, data: TrainingData, config: TrainingConfig, state: State | None = None, share: Share = WHOLE
) -> Iterator[TrainState]:
    """Train `model` in place, yielding its state every `checkpoint_steps` steps and at the end.

    Args:
        model: called with (images, profiles, triplets) and returns the mean loss; see `models.cdl.network.CDL.forward`.
        state: of an earlier, broken off training; going on from it ends in the very weights of an unbroken one (on one
            kind of device and number of threads).
        share: of each step that this process computes.

    A step that memory cannot hold is split by users into halves, quarters..., whose gradients are added up: the step
    is the same but for rounding and dropout. The training goes on with as many parts. Raises MemoryError where the
    triplets of one user are too many.
    """
    device = choose_device(config.device)
    model.to(device).train()
    steps = _steps(data, config)
    num_steps = len(steps) * config.epochs
    optimizer = _optimizer(model, config)
    first, parts = 0, 1
    if state is None:
        torch.manual_seed(config.seed)
    else:
        first, parts = int(state["step"]), int(state.get("parts", 1))
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        _restore_randomness(state["randomness"], device)
    losses: list[Tensor] = []
    for step in range(first, num_steps):
        epoch, row = divmod(step, len(steps))
        order = np.random.default_rng([config.seed, epoch]).permutation(len(steps))
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(step / num_steps, config)
        if share.of > 1:  # of each process its own, and no state of one to go on with
            torch.manual_seed(int(np.random.SeedSequence([config.seed, step, share.rank]).generate_state(1)[0]))
        loss, parts = _gradient(model, data, steps[order[row]], device, config, parts, share)
        loss = share.add_up(model, loss)
        optimizer.step()
        losses.append(loss)  # read only at the next checkpoint: reading makes the device wait
        if (step + 1) % config.checkpoint_steps == 0 or step + 1 == num_steps:
            values = torch.stack(losses).tolist()
            if not np.isfinite(values).all():
                raise FloatingPointError(
                    f"the loss is not finite between steps {step + 1 - len(values)} and {step + 1} of {num_steps}; "
                    f"lower training.learning_rate (now {config.learning_rate})"
                )
            yield TrainState(step + 1, num_steps, values, _state(step + 1, parts, model, optimizer, device))
            losses = []


def _steps(data: TrainingData, config: TrainingConfig) -> list[np.ndarray]:
    """The triplets' row numbers of each step: a pool, or a batch in one random order where there are no pools."""
    if not data.pools_N.any():
        order = np.random.default_rng(config.seed).permutation(len(data.triplets_N3))
        return np.array_split(order, max(1, -(-len(order) // config.batch_triplets)))
    order = np.argsort(data.pools_N, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(data.pools_N[order])) + 1)


def _gradient(
    model: nn.Module,
    data: TrainingData,
    step: np.ndarray,
    device: torch.device,
    config: TrainingConfig,
    parts: int,
    share: Share,
) -> tuple[Tensor, int]:
    """The mean loss of a step, whose gradient is then in the weights, and into how many parts the step was split.

    Of a share its part of both: those of all shares sum to them.
    """
    mine = _part_of(data.triplets_N3[step, 0], step, share.rank, share.of)
    randomness = _randomness(device)
    while True:
        model.zero_grad(set_to_none=True)
        total = torch.zeros((), device=device)
        try:
            for part in _split(data.triplets_N3[mine, 0], mine, parts):
                loss = _loss(model, data, part, device, config) * (len(part) / len(step))
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            num_users = len(np.unique(data.triplets_N3[mine, 0]))
            if parts >= num_users:
                raise MemoryError(
                    f"one step of the training does not fit into memory, not even the triplets of one user at a time "
                    f"({len(mine)} triplets of {num_users} users); choose a smaller model.size or images.size_px"
                ) from error
        else:
            return total, parts
        parts *= 2  # outside of the handler, whose traceback keeps the tensors of the failed attempt
        _restore_randomness(randomness, device)
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _split(user_N: np.ndarray, step: np.ndarray, parts: int) -> list[np.ndarray]:
    """A step's triplets in parts of whole users, among whose triplets a loss may compare."""
    found = (_part_of(user_N, step, part, parts) for part in range(parts))
    return [part for part in found if len(part)]


def _part_of(user_N: np.ndarray, step: np.ndarray, part: int, parts: int) -> np.ndarray:
    """The part of a step's triplets: those of as many users as each other part has, one more or less."""
    if parts == 1:
        return step
    users = np.unique(user_N)
    mine: np.ndarray = step[np.searchsorted(users, user_N) * parts // max(len(users), 1) == part]
    return mine


def _loss(
    model: nn.Module, data: TrainingData, step: np.ndarray, device: torch.device, config: TrainingConfig
) -> Tensor:
    """The mean loss of the triplets of one step. Each user and image of the step is embedded once."""
    triplets_N3 = data.triplets_N3[step]
    users, user_row = np.unique(triplets_N3[:, 0], return_inverse=True)
    images, image_row = np.unique(triplets_N3[:, 1:], return_inverse=True)
    rows = torch.from_numpy(np.column_stack([user_row, image_row.reshape(-1, 2)]))
    inputs = torch.from_numpy(data.gather_images(images)).to(device, non_blocking=True)
    profiles = torch.from_numpy(data.profiles_UC[users].toarray()).to(device, non_blocking=True)
    in_bfloat16 = config.precision == "auto" and _is_fast_in_bfloat16(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=in_bfloat16):
        loss: Tensor = model(inputs, profiles, rows.to(device, non_blocking=True))
    return loss


@cache
def _is_fast_in_bfloat16(device: torch.device) -> bool:
    """On a GPU, and on a CPU that has instructions for it, where a step of CDL on pixels takes half as long by it."""
    if device.type != "cpu":
        return device.type == "cuda"
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 may not have it
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Fused: one pass over all weights, on a CPU too, where it is a fourth of a step's time by the plain loops."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            model.parameters(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True)


def _schedule(progress: float, config: TrainingConfig) -> float:
    if config.schedule == "constant":
        return 1.0
    warm_up = 0.05
    if progress < warm_up:
        return (progress + 1e-3) / (warm_up + 1e-3)
    return float(0.5 * (1 + np.cos(np.pi * (progress - warm_up) / (1 - warm_up))))


def _state(step: int, parts: int, model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> State:
    return {
        "step": step,
        "parts": parts,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "randomness": _randomness(device),
    }


def _randomness(device: torch.device) -> dict[str, Tensor]:
    randomness = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        randomness["cuda"] = torch.cuda.get_rng_state(device)
    return randomness


def _restore_randomness(randomness: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(randomness["cpu"].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state(randomness["cuda"].cpu(), device)
