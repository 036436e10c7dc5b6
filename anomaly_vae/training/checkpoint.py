"""The state of an interrupted training, as safetensors: nothing in it can run code."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from anomaly_vae.errors import TrainingError
from anomaly_vae.outputs import write_bytes


@dataclass(frozen=True)
class Checkpoint:
    """Everything that the rest of a training depends on."""

    model: dict[str, Tensor]
    best: dict[str, Tensor]
    optimiser: dict[str, Tensor]
    """Adam's tensors by ``PARAMETER.NAME``."""
    noise: Tensor
    """State of the generator of the posterior samples."""
    rng: dict[str, Any]
    """State of the generator of the batches."""
    history: list[dict[str, Any]]

    def save(self, path: Path) -> None:
        """Write to ``path``, which holds a whole checkpoint at every moment."""
        tensors = {"noise": self.noise}
        for group in ("model", "best", "optimiser"):
            for name, value in getattr(self, group).items():
                tensors[f"{group}/{name}"] = value.detach().clone().contiguous()
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"rng": json.dumps(self.rng), "history": json.dumps(self.history)}
        write_bytes(path, save(tensors, metadata=record))

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read what ``save`` wrote.

        Raises:
            TrainingError: there is no checkpoint at ``path``, or it is damaged.
        """
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimiser": {}}
        try:
            with safe_open(path, framework="pt") as file:
                record = file.metadata()
                noise = file.get_tensor("noise")
                for key in file.keys():  # noqa: SIM118 - not a dictionary
                    group, slash, name = key.partition("/")
                    if slash:
                        groups[group][name] = file.get_tensor(key)
            rng, history = json.loads(record["rng"]), json.loads(record["history"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"{path}: not a checkpoint ({error}); use --overwrite") from error
        return cls(**groups, noise=noise, rng=rng, history=history)

    @staticmethod
    def flat_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
        """Give the moments of Adam by ``PARAMETER.NAME``."""
        return {
            f"{index}.{name}": value
            for index, state in optimiser.state_dict()["state"].items()
            for name, value in state.items()
        }

    def restore_optimiser(self, optimiser: torch.optim.Optimizer) -> None:
        """Give Adam its moments back."""
        state = optimiser.state_dict()
        for key, value in self.optimiser.items():
            index, _, name = key.partition(".")
            state["state"].setdefault(int(index), {})[name] = value
        optimiser.load_state_dict(state)
