"""The optimizer by name, with parameter groups by role. Takes names and roles; knows no model."""

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.optim import Optimizer

from gptforge.config import OptimizerConfig

# Weight decay pulls products of matrices towards smaller functions; a norm's gain or a bias has no such reading.
DECAYED = frozenset({"embedding", "matrix", "head"})


def build_optimizer(
    cfg: OptimizerConfig, parameters: Mapping[str, nn.Parameter], roles: Mapping[str, str]
) -> Optimizer:
    """The optimizer for named parameters; `roles` says for each what it is (embedding, matrix, head, norm, bias)."""
    decayed = [p for name, p in parameters.items() if roles[name] in DECAYED]
    others = [p for name, p in parameters.items() if roles[name] not in DECAYED]
    groups = [{"params": decayed, "weight_decay": cfg.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return BUILDERS[cfg.kind](cfg, [group for group in groups if group["params"]])


def adamw(cfg: OptimizerConfig, groups: list[dict]) -> Optimizer:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), all parameters in one fused kernel where there is one."""
    device = groups[0]["params"][0].device.type
    fused = device in ("cuda", "cpu", "mps")
    return torch.optim.AdamW(groups, lr=cfg.lr, betas=(cfg.betas[0], cfg.betas[1]), eps=cfg.eps, fused=fused)


BUILDERS: dict[str, Callable[[OptimizerConfig, list[dict]], Optimizer]] = {"adamw": adamw}
