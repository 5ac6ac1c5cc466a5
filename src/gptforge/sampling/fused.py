"""One token for each of a few texts by one call of C code, fused.c: describes a model to it, and calls it.

A step of a small model takes a millisecond, of which some hundred calls from Python would be half. Knows weights and
where they lie; not what a text is, nor how the next token is drawn.
"""

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import c_float, c_int64, c_void_p
from pathlib import Path

import torch
from torch import Tensor, nn

from gptforge import native
from gptforge.config import ModelConfig
from gptforge.model import Transformer
from gptforge.model.transformer import Block
from gptforge.sampling.products import rotation
from gptforge.sampling.quantize import Quantized

SOURCE = Path(__file__).with_suffix(".c")
TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
ACTIVATIONS = {"gelu": 0, "relu2": 1, "swiglu": 2}
NO_NORM, RMS_NORM, LAYER_NORM = range(3)
MOST_TEXTS = 16  # beyond, multiplying takes longer than all that a step saves, and torch's products do it better


class Matrix(ctypes.Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("values", "scales", "bias")),
        *((name, c_int64) for name in ("type", "rows", "columns")),
    ]


class Norm(ctypes.Structure):
    _fields_ = [("weight", c_void_p), ("bias", c_void_p), ("kind", c_int64)]


class Layer(ctypes.Structure):
    _fields_ = [
        *((name, Norm) for name in ("attn_norm", "mlp_norm")),
        *((name, Matrix) for name in ("qkv", "attn_proj", "gate", "fc", "mlp_proj")),
    ]


class Model(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("n_layer", "n_head", "n_kv_head", "head_dim", "n_embd", "window")),
        *((name, c_int64) for name in ("rotary_dim", "activation", "norms_first", "parallel", "qk_norm", "cache_type")),
        *((name, c_float) for name in ("eps", "softcap")),
        *((name, c_void_p) for name in ("cos", "sin")),
        *((name, Matrix) for name in ("tok_emb", "pos_emb", "head")),
        ("final_norm", Norm),
        ("layers", ctypes.POINTER(Layer)),
    ]


class Step(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("texts", "places", "threads")),
        *((name, c_void_p) for name in ("tokens", "positions", "cache", "heads", "mixed", "hidden", "delta", "own")),
        ("own_size", c_int64),
        ("logits", c_void_p),
    ]


STRUCTS = (Matrix, Norm, Layer, Model, Step)


def obstacle(weight: Tensor) -> str | None:
    """Why the C code cannot compute with weights like this one; None: it can. Compiles it where that was not done."""
    if weight.device.type != "cpu":
        return f"the C code is for a CPU, not for {weight.device.type}"
    if weight.dtype not in TYPES:
        return f"the C code has no {str(weight.dtype).removeprefix('torch.')}"
    try:
        native.library(SOURCE)
    except native.NativeError as error:
        return str(error)
    return None


def unknown(cfg: ModelConfig) -> str | None:
    """Which part of a model the C code does not know; None: it knows all."""
    if cfg.moe.n_expert is not None:
        return "the C code has no experts"
    if cfg.mlp.kind not in ACTIVATIONS:
        return f"the C code has no {cfg.mlp.kind}"
    if cfg.attention.qk_gain:
        return "the C code has no gains of queries and keys"
    if cfg.attention.dense_every is not None:
        return "the C code has one window for all layers"
    if cfg.parallel_residual and not cfg.norm.shared:
        return "the C code has one norm for parallel branches"
    return None


class FusedStep:
    """A model as the C code sees it. Its weights are not copied, so they must stay where they are.

    `int8` has weights of eight bits by parameter name, which are read in place of the model's own.
    `max_len` is the length of the caches that it is called with.
    """

    def __init__(self, model: Transformer, max_len: int, int8: Mapping[str, Quantized]) -> None:
        self._call = native.library(SOURCE).gptforge_step
        self._cfg, self._max_len, self._vocab_size = model.cfg, max_len, model.vocab_size
        self._names = {id(module): f"{name}.weight" for name, module in model.named_modules()}
        self._int8 = int8
        self._alive: list[Tensor] = []  # what only addresses are known of otherwise
        self._model = self._described(model)
        self._cache: Sequence[Tensor] | None = None
        self._step = Step()

    def __call__(self, tokens: Tensor, positions: Tensor, cache: Sequence[Tensor]) -> Tensor:
        """Logits (B, 1, V) in float32 after one new token of each text: tokens and positions (B, 1) in int64.

        `cache` has for each layer the keys and values (2, B, n_kv_head, max_len, head_dim); the new ones are
        written into it. Raises IndexError for a token that the model does not have.
        """
        if cache is not self._cache:
            self._make_room(cache)
        logits = torch.empty(*tokens.shape, self._vocab_size)
        step = self._step
        step.tokens, step.positions, step.logits = tokens.data_ptr(), positions.data_ptr(), logits.data_ptr()
        if self._call(ctypes.byref(self._model), ctypes.byref(step)):
            raise IndexError(f"tokens {tokens.flatten().tolist()}: the model has {self._vocab_size}")
        return logits

    def _make_room(self, cache: Sequence[Tensor]) -> None:
        cfg, texts, threads = self._cfg, cache[0].size(1), torch.get_num_threads()
        own = 2 * texts * cfg.n_embd + self._max_len
        heads, mixed = (cfg.n_head + 2 * cfg.n_kv_head) * cfg.head_dim, cfg.n_head * cfg.head_dim
        sizes = [texts * n for n in (heads, mixed, 2 * cfg.mlp_width, cfg.n_embd)]
        self._room = [torch.empty(n) for n in (*sizes, threads * own)]
        self._cache = cache
        self._addresses = (c_void_p * len(cache))(*(layer.data_ptr() for layer in cache))
        addresses = ctypes.cast(self._addresses, c_void_p)
        room = [tensor.data_ptr() for tensor in self._room]
        self._step = Step(texts, self._max_len, threads, None, None, addresses, *room, own, None)

    def _described(self, model: Transformer) -> Model:
        cfg = model.cfg
        layers = (Layer * cfg.n_layer)(*map(self._layer, model.blocks))
        sizes = (cfg.n_layer, cfg.n_head, cfg.n_kv_head, cfg.head_dim, cfg.n_embd, cfg.attention.window or 0)
        kinds = (ACTIVATIONS[cfg.mlp.kind], cfg.norm.place == "pre", cfg.parallel_residual, cfg.attention.qk_norm)
        cos = sin = None
        if cfg.position == "rope":
            table = rotation(self._max_len, cfg.rotary_dim, cfg.head_dim, cfg.rope, torch.device("cpu"))
            cos, sin = map(self._floats, table)
        return Model(
            *sizes,
            cfg.rotary_dim,
            *kinds,
            TYPES[model.tok_emb.weight.dtype],
            cfg.norm.eps,
            cfg.logit_softcap or 0.0,
            cos,
            sin,
            self._matrix(model.tok_emb, rounded=False),  # rows are looked up as the model does
            self._matrix(model.pos_emb, rounded=False),
            self._matrix(model.tok_emb if model.head is None else model.head),
            self._norm(model.final_norm),
            layers,
        )

    def _layer(self, block: nn.Module) -> Layer:
        assert isinstance(block, Block)
        attn, mlp = block.attn, block.mlp
        matrices = map(self._matrix, (attn.qkv, attn.proj, mlp.gate, mlp.fc, mlp.proj))
        return Layer(self._norm(block.attn_norm), self._norm(block.mlp_norm), *matrices)

    def _matrix(self, module: nn.Module | None, rounded: bool = True) -> Matrix:
        if module is None:
            return Matrix()
        eight = self._int8.get(self._names[id(module)]) if rounded else None
        bias = self._floats(getattr(module, "bias", None))
        if eight is not None:
            return Matrix(
                self._at(eight.values), self._floats(eight.scales), bias, TYPES[torch.int8], *eight.values.shape
            )
        weight = module.weight
        assert isinstance(weight, Tensor)
        return Matrix(self._at(weight), None, bias, TYPES[weight.dtype], *weight.shape)

    def _norm(self, module: nn.Module | None) -> Norm:
        if module is None or isinstance(module, nn.Identity):
            return Norm(kind=NO_NORM)
        kind = LAYER_NORM if isinstance(module, nn.LayerNorm) else RMS_NORM
        return Norm(self._floats(module.weight), self._floats(getattr(module, "bias", None)), kind)

    def _floats(self, tensor: object) -> int | None:
        """The address of a few numbers as float32, which are copied if they are not."""
        return self._at(tensor.detach().float()) if isinstance(tensor, Tensor) else None

    def _at(self, tensor: Tensor) -> int:
        tensor = tensor.detach().contiguous()
        self._alive.append(tensor)
        return tensor.data_ptr()
