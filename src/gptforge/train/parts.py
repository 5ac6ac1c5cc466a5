"""The one place where a config becomes objects: calls only, in the order in which they depend on each other."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from gptforge import runtime as machine_runtime
from gptforge.compiling import compile_in_place
from gptforge.config import TrainConfig
from gptforge.config.model import ModelConfig
from gptforge.config.objective import MLM
from gptforge.data.loader import TrainLoader
from gptforge.data.masking import MaskedLoader, masking_of
from gptforge.data.mixture import MixedOrder
from gptforge.data.order import WindowOrder
from gptforge.data.prepare import check_length, check_part, prepare
from gptforge.data.store import Dataset
from gptforge.dist import Dist
from gptforge.model import Transformer, param_roles, row_splits
from gptforge.optim import Roles, Together, WeightAverage, build_optimizer
from gptforge.runtime import Machine
from gptforge.tokenizers import Tokenizer, load_tokenizer
from gptforge.tokenizers.mask import with_mask, without_mask
from gptforge.train import initial
from gptforge.train.decisions import LOOP_KEYS, Decisions, as_before, as_trained, check_room, decide
from gptforge.train.initial import Begin
from gptforge.train.objectives import OBJECTIVES, Objective


@dataclass(slots=True)
class Parts:
    """What a Trainer works with. Replace any of them from Python: Trainer(cfg, run, dist, parts)."""

    dataset: Dataset
    tokenizer: Tokenizer
    model: nn.Module
    objective: Objective
    optimizer: Optimizer | Together
    loader: TrainLoader | MaskedLoader
    decisions: Decisions
    machine: Machine
    average: WeightAverage | None = None

    def best_weights(self) -> AbstractContextManager[None]:
        """The model has the weights inside that are evaluated, sampled and handed on: the average if there is one."""
        return self.average.in_place() if self.average else contextlib.nullcontext()


def build_parts(
    cfg: TrainConfig,
    tokenizer: Tokenizer | None = None,
    saved_decisions: Mapping[str, Any] | None = None,
    on_progress: Callable[[str, float], None] | None = None,
    dist: Dist | None = None,
) -> tuple[Parts, Dist]:
    """Tokenizer, data, model and optimizer of a config, on the machine's device.

    `tokenizer` and `saved_decisions` are those of a run that goes on; `dist` is this process's place among several,
    and comes back with the device. Raises UserError for what cannot be; nothing is written but the token cache.
    """
    place = dist or Dist(torch.device("cpu"))
    begin = None
    if cfg.init and tokenizer is None:  # a run that goes on has tokenizer and weights in its checkpoint
        begin = place.first(lambda: initial.find(str(cfg.init), saved_decisions or {}))
        tokenizer = load_tokenizer(begin.path, cfg.tokenizer.unknown)
    machine = place.first(lambda: machine_runtime.probe(place.local_size))  # one look, so that all decide alike
    kept = as_before(cfg, saved_decisions or {}, machine, place.world_size)
    chosen = machine_runtime.choose(cfg.runtime, machine)
    chosen = dataclasses.replace(chosen, **{k: c for k, c in kept.items() if k not in LOOP_KEYS})
    machine_runtime.apply(chosen, cfg.runtime.deterministic)

    progress = on_progress if place.main else None
    plain = None if tokenizer is None else without_mask(tokenizer)
    dataset = place.in_turn(lambda: prepare(cfg.data, cfg.tokenizer, plain, progress, cfg.clean))
    check_length(dataset, cfg.model.block_size)
    order = order_of(dataset, cfg)
    documents = dataset.train_starts if cfg.data.pack == "documents" else None
    loader = TrainLoader(dataset.train, cfg.model.block_size, cfg.train.batch_size, order, documents)
    coder = dataset.tokenizer
    if cfg.objective.kind == MLM:
        coder = with_mask(coder)
        loader = MaskedLoader(loader, masking_of(cfg.objective, coder, cfg.seed))
    vocab_size = coder.vocab_size
    check_room(cfg, chosen, machine, vocab_size)
    epoch = loader.windows_per_epoch
    decisions = decide(cfg, chosen, machine, vocab_size, epoch, len(dataset.val), kept, place.world_size)
    decisions = dataclasses.replace(decisions, init=begin.choice if begin else initial.kept(saved_decisions or {}))

    dist = dataclasses.replace(place, device=chosen.torch_device)
    with machine_runtime.out_of_memory_as_error("a smaller model, or fewer tokens in the vocabulary"):
        model = build_model(as_trained(cfg.model, decisions.dropout), vocab_size, cfg.seed, dist.device, begin)
    if decisions.runtime.compile.value:
        compile_in_place(model)
    roles = Roles(param_roles(model), row_splits(model), chosen.torch_dtype)
    optimizer = build_optimizer(cfg.optimizer, dict(model.named_parameters()), roles)
    average = WeightAverage(model, cfg.optimizer.ema_decay) if cfg.optimizer.ema_decay else None
    objective = OBJECTIVES[cfg.objective.kind]
    return Parts(dataset, coder, model, objective, optimizer, loader, decisions, machine, average), dist


def order_of(dataset: Dataset, cfg: TrainConfig) -> WindowOrder | MixedOrder:
    """Which windows are read when: those of the whole text, or of its parts by their weights."""
    size, weights = cfg.model.block_size, [source.weight for source in cfg.data.sources]
    if None in weights or not weights:
        return WindowOrder(len(dataset.train), size, cfg.seed, cfg.data.shuffle)
    edges = dataset.part_edges()
    for source, (first, end) in zip(cfg.data.sources, pairwise(edges), strict=True):
        check_part(source.path, end - first, size)
    orders = [WindowOrder(b - a, size, cfg.seed + n, cfg.data.shuffle) for n, (a, b) in enumerate(pairwise(edges))]
    return MixedOrder(orders, edges[:-1], [w for w in weights if w], cfg.seed)


def build_model(
    cfg: ModelConfig, vocab_size: int, seed: int, device: torch.device, begin: Begin | None = None
) -> Transformer:
    """A model with the weights that it begins with, or new ones, drawn from `seed`: the same on every device."""
    if begin:
        return begin.model(cfg, vocab_size).to(device)
    model = Transformer(cfg, vocab_size)
    model.init_weights(torch.Generator().manual_seed(seed))
    return model.to(device)
