"""The optimizer by name, with parameter groups by role. Takes names and roles; knows no model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gptforge.config import OptimizerConfig
from gptforge.optim.muon import Muon
from gptforge.optim.together import Together

# Weight decay pulls products of matrices towards smaller functions; a norm's gain or a bias has no such reading.
DECAYED = frozenset({"embedding", "matrix", "head", "router"})


@dataclass(frozen=True, slots=True)
class Roles:
    """What is known of a model's parameters beside their names.

    of: embedding, matrix, head, router, norm or bias, by name. splits: the rows of each matrix in a parameter
    that holds several, by name. dtype: that of matrix products on the machine.
    """

    of: Mapping[str, str]
    splits: Mapping[str, tuple[int, ...]]
    dtype: torch.dtype = torch.float32


def build_optimizer(cfg: OptimizerConfig, parameters: Mapping[str, nn.Parameter], roles: Roles) -> Optimizer | Together:
    """The optimizer for named parameters."""
    return BUILDERS[cfg.kind](cfg, parameters, roles)


def adamw(cfg: OptimizerConfig, parameters: Mapping[str, nn.Parameter], roles: Roles) -> Optimizer:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), all parameters in one fused kernel where there is one."""
    decayed = [p for name, p in parameters.items() if roles.of[name] in DECAYED]
    others = [p for name, p in parameters.items() if roles.of[name] not in DECAYED]
    groups = [{"params": decayed, "weight_decay": cfg.weight_decay}, {"params": others, "weight_decay": 0.0}]
    fused = next(iter(parameters.values())).device.type in ("cuda", "cpu", "mps")
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=cfg.lr,
        betas=(cfg.betas[0], cfg.betas[1]),
        eps=cfg.eps,
        fused=fused,
    )


def muon(cfg: OptimizerConfig, parameters: Mapping[str, nn.Parameter], roles: Roles) -> Together:
    """Muon for the hidden matrices, AdamW for embeddings, head, routers, norms and biases."""
    matrices = {name: p for name, p in parameters.items() if roles.of[name] == "matrix"}
    splits: dict[Tensor, tuple[int, ...]] = {matrices[name]: rows for name, rows in roles.splits.items()}
    rest = {name: p for name, p in parameters.items() if name not in matrices}
    hidden = Muon(matrices.values(), cfg.muon_lr, cfg.muon_momentum, cfg.weight_decay, splits, roles.dtype)
    return Together(hidden, adamw(cfg, rest, roles))


BUILDERS: dict[str, Callable[[OptimizerConfig, Mapping[str, nn.Parameter], Roles], Optimizer | Together]] = {
    "adamw": adamw,
    "muon": muon,
}
