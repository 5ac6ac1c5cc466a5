"""A model of gptforge as the lm-evaluation-harness wants one: `gptforge` among its models.

Knows the harness's classes and requests; not its tasks.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import lm_eval.models  # noqa: F401 # pyright: ignore[reportMissingImports] - else ours would be the only one
from lm_eval.api.model import TemplateLM  # pyright: ignore[reportMissingImports]
from lm_eval.api.registry import register_model  # pyright: ignore[reportMissingImports]
from lm_eval.utils import simple_parse_args_string  # pyright: ignore[reportMissingImports]

from gptforge import runtime as machine
from gptforge.checkpoint import load_model
from gptforge.config import SamplingConfig
from gptforge.config.eval import EvalTextConfig
from gptforge.config.schema import build
from gptforge.errors import ConfigError, DataError
from gptforge.evals.harness.likelihood import loglikelihoods
from gptforge.evals.harness.texts import DEFAULT_LENGTH, sampling_of, texts
from gptforge.evals.measure import TOKENS_AT_ONCE
from gptforge.model import Transformer
from gptforge.notices import say, slow_work
from gptforge.sampling import How, choose_step, must_write, rows_at_once
from gptforge.tokenizers import Tokenizer

Progress = Callable[[str, float], None]


class HarnessModel(TemplateLM):
    """Scores and writes with a gptforge model. Results do not depend on `batch_size`, up to rounding in float32.

    `batch_size` is that of all requests; None: what fits. `seed` is of texts that are drawn.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        runtime: machine.Runtime,
        batch_size: int | None = None,
        seed: int = 1337,
        on_progress: Progress | None = None,
    ) -> None:
        super().__init__()
        must_write(model)
        self._model, self._coder, self._runtime = model, tokenizer, runtime
        self._batch_size, self._seed = batch_size, seed
        self._report = on_progress or (lambda doing, share: None)
        self._device = runtime.torch_device

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> "HarnessModel":
        """From what `--model_args` says: ckpt=RUN,dtype=float32,unknown=error,seed=1337."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> "HarnessModel":
        """The same as a dict, with the harness's own batch_size and device. Raises UserError."""
        given = {k: v for k, v in (arg_dict | (additional_config or {})).items() if v is not None}
        return opened(**given)

    @property
    def max_length(self) -> int:
        return self._model.cfg.block_size

    @property
    def max_gen_toks(self) -> int:
        return DEFAULT_LENGTH

    @property
    def eot_token_id(self) -> int | None:  # pyright: ignore[reportIncompatibleMethodOverride] - may have none
        return self._coder.eos

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that nothing precedes: bos, else eos, else a line break, else token 0."""
        for token in (self._coder.bos, self._coder.eos):
            if token is not None:
                return token
        return 0 if self._coder.missing("\n") else int(self._coder.encode("\n")[0])

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """The tokens of a text, without any that mark its begin or end. Raises DataError for what it has none for."""
        return self._coder.encode(string).tolist()

    # Likelihoods -----------------------------------------------------------------

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """ln p of each (context, continuation), and whether it is what greedy decoding gives.

        Blanks at a context's end belong to the continuation, as the harness has it (_encode_pair). Raises DataError
        for a continuation that ends up within the context's last token.
        """
        return self._loglikelihood_tokens([self._pair(*request.args) for request in requests])

    def _pair(self, context: str, continuation: str) -> tuple[tuple[str, str], list[int], list[int]]:
        before, after = self._encode_pair(context, continuation) if context else ([], self.tok_encode(continuation))
        if continuation and not after:
            raise DataError(
                f"the continuation {continuation[:40]!r} of {context[-40:]!r} is no token of its own",
                where="a request of the task",
                fix="a blank between them in the task's YAML (target_delimiter)",
            )
        return (context, continuation), before or [self.prefix_token_id], after

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[tuple[str, str] | None, list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        found: dict[int, tuple[float, bool]] = {}
        pairs = [(context, continuation) for _, context, continuation in requests]
        with self._memory():
            done = loglikelihoods(self._model, pairs, self._rows, lambda: machine.autocast(self._runtime))
            for n, total, greedy in done:
                found[n] = (total, greedy)
                if (asked := requests[n][0]) is not None:
                    self.cache_hook.add_partial("loglikelihood", asked, found[n])
                self._report("evaluating", len(found) / len(requests))
        return [found[n] for n in range(len(requests))]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """ln p of each whole text, every token predicted once: see `windows`."""
        whole = [(None, [self.prefix_token_id], self.tok_encode(text)) for (text,) in (r.args for r in requests)]
        totals = [total for total, _ in self._loglikelihood_tokens(whole)]
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def _rows(self, width: int) -> int:
        return self._batch_size or max(1, TOKENS_AT_ONCE[self._device.type] // width)

    def _memory(self) -> AbstractContextManager[None]:
        return machine.out_of_memory_as_error(f"batch_size={max(1, (self._batch_size or 4) // 4)}")

    # Texts -----------------------------------------------------------------------

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """What continues each context up to a text of `until` or the end-of-text token, neither included.

        A request that comes again is drawn anew, with the next seed; other requests of a call change no text.
        """
        groups: dict[tuple[str, int], list[int]] = defaultdict(list)
        times: Counter[tuple[str, str]] = Counter()
        for n, request in enumerate(requests):
            context, asked = request.args
            key = json.dumps(asked, sort_keys=True)
            groups[key, times[context, key]].append(n)
            times[context, key] += 1
        found: dict[int, str] = {}
        size = self._texts_at_once()
        for (_, time), members in groups.items():
            cfg = sampling_of(requests[members[0]].args[1])
            for first in range(0, len(members), size):
                chunk = members[first : first + size]
                written = self._written([requests[n].args[0] for n in chunk], cfg, self._seed + time)
                for n, text in zip(chunk, written, strict=True):
                    found[n] = text
                    if not cfg.temperature:
                        self.cache_hook.add_partial("generate_until", requests[n].args, text)
                self._report("writing", len(found) / len(requests))
        return [found[n] for n in range(len(requests))]

    def _written(self, contexts: Sequence[str], cfg: SamplingConfig, seed: int) -> list[str]:
        starts = [self.tok_encode(context) or [self.prefix_token_id] for context in contexts]
        how = How(step=str(choose_step(None, self._model, None).value), warn=say)
        with self._memory():
            return texts(self._model, self._coder, starts, cfg, seed, how)

    def _texts_at_once(self) -> int:
        weight = self._model.tok_emb.weight
        free = machine.probe().memory_of(self._device.type)
        return self._batch_size or rows_at_once(self._model.cfg, weight.itemsize, free)


register_model("gptforge")(HarnessModel)  # the harness looks models up by name


def opened(
    ckpt: str = "latest",
    batch_size: int | str | None = None,
    device: str | None = None,
    dtype: str = "float32",
    unknown: str = "error",
    seed: int = 1337,
    max_batch_size: int | None = None,
    **others: Any,
) -> HarnessModel:
    """The model that the harness's own words describe; of its sizes `auto` is None here. Raises UserError."""
    if others:
        known = "ckpt, dtype, unknown, seed, batch_size, device"
        raise ConfigError(f"gptforge has no {', '.join(sorted(others))}", where="--model_args", fix=f"of {known}")
    size = None if batch_size is None or str(batch_size).startswith("auto") else int(batch_size)
    size = min(size, max_batch_size) if size and max_batch_size else size
    probed = machine.probe()
    if device and device.startswith("cuda") and "cuda" not in probed.devices:  # as its command has it unless told
        say(f"gptforge: {device} is not there: {probed.devices[0]} computes")
        device = None
    cfg = _checked(str(ckpt), size, device, dtype, unknown, seed)
    chosen = machine.choose(cfg.runtime, probed)
    machine.apply(chosen, cfg.runtime.deterministic)
    loaded = load_model(cfg.ckpt, chosen.torch_device, cfg.tokenizer.unknown)
    for warning in loaded.warnings:
        say(f"gptforge: warning: {warning}")
    return HarnessModel(
        loaded.model, loaded.tokenizer, chosen, cfg.batch_size, cfg.seed, slow_work("auto", "the requests")
    )


def _checked(ckpt: str, size: int | None, device: str | None, dtype: str, unknown: str, seed: int) -> EvalTextConfig:
    """The same as `gptforge eval` would have it, whose rules hold. cuda:0 is cuda: gptforge takes the first one."""
    device = device.removesuffix(":0") if device else None
    tree: Mapping[str, Any] = {
        "ckpt": ckpt,
        "batch_size": size,
        "seed": seed,
        "tokenizer": {"unknown": unknown},
        "runtime": {"device": device, "dtype": dtype},
    }
    return build(EvalTextConfig, tree)
