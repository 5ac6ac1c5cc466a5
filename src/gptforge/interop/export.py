"""A trained model as a directory that transformers loads by itself, checked before it is there.

Knows which files there are and what is in them; names and shapes of tensors are families.py's.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gptforge import __version__
from gptforge.checkpoint import Loaded
from gptforge.config.units import shown_count
from gptforge.durable import write, write_text
from gptforge.errors import CheckpointError
from gptforge.interop import directory, tokenizer_json
from gptforge.interop.directory import TEMPLATE
from gptforge.interop.express import family_of
from gptforge.interop.families import Family
from gptforge.interop.place import placed, refuse_existing
from gptforge.interop.precision import DTYPES, check_range
from gptforge.jsonfile import write_json
from gptforge.model import Transformer
from gptforge.tokenizers.mask import mask_of

PROBES, PROBE_LENGTH = 2, 32  # texts of random tokens on which the two models must agree


def to_directory(loaded: Loaded, dtype: str, summary: Mapping[str, Any], out: Path) -> None:
    """Writes the directory, reads it back, and gives it its name if the model in it is the same.

    Raises ConfigError for a model that no family can express, UsageError for a directory that is there, ResourceError
    for one that cannot be written, CheckpointError if what was written is another model.
    """
    refuse_existing(out, folder=True)
    family = family_of(loaded.config.model, "format=safetensors or format=onnx, which can express every part")
    check_range(loaded.model, dtype)
    model = loaded.model.to(DTYPES[dtype])
    with placed(out, folder=True) as path:
        directory.save(model, family, path)
        _write_rest(loaded, family, summary, path)
        _check(model, path)


def _write_rest(loaded: Loaded, family: Family, summary: Mapping[str, Any], path: Path) -> None:
    tokenizer = loaded.tokenizer
    write_text(path / "tokenizer.json", json.dumps(tokenizer_json.of(tokenizer), ensure_ascii=False) + "\n")
    names = {i: name for name, i in tokenizer.special.items()}
    ends = {} if tokenizer.eos is None else {"eos_token": names[tokenizer.eos]}
    told: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **ends}
    told["model_max_length"] = loaded.config.model.block_size
    writes = loaded.config.model.attention.causal
    if not writes:
        told["mask_token"] = names[mask_of(tokenizer)]
    template = loaded.path / TEMPLATE
    if template.exists():
        write(path / TEMPLATE, template.read_bytes())
    write_json(path / "tokenizer_config.json", told)
    if writes:
        write_json(path / "generation_config.json", {} if tokenizer.eos is None else {"eos_token_id": tokenizer.eos})
    write_text(path / "README.md", card(loaded, family, summary))


def _check(model: Transformer, path: Path) -> None:
    """Raises CheckpointError unless the weights read back give the same logits to the last bit."""
    again = directory.load(path)
    length = min(PROBE_LENGTH, model.cfg.block_size)
    tokens = torch.randint(model.vocab_size, (PROBES, length), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        if not torch.equal(again.float()(tokens), model.float()(tokens)):
            raise CheckpointError("what was written is another model than the one in memory", where=str(path))


MEASURED = {"val_loss": "validation loss (nats per token)", "val_bpb": "bits per byte", "tokens": "tokens learnt"}
OF_HIDDEN = {"val_loss": "validation loss of hidden tokens (nats per token)", "tokens": "tokens read"}
KINDS = {True: "text-generation", False: "fill-mask"}  # whether it writes: what the model hub calls that
LIMITS = {
    True: """
It continues texts of the kind that it learnt. What it says of the world is not to be relied on, and to whatever those
texts were biased, so is it.
""",
    False: """
It finds single hidden tokens of texts of the kind that it learnt, and writes none. To whatever those texts were biased,
so is it.
""",
}


def card(loaded: Loaded, family: Family, summary: Mapping[str, Any]) -> str:
    """The model card: what it is, what it learnt, how well, and what it is not."""
    cfg, config = loaded.config.model, loaded.config
    shape = f"{cfg.n_layer} layers, {cfg.n_head} heads, width {cfg.n_embd}, context {cfg.block_size}"
    parameters = shown_count(sum(p.numel() for p in loaded.model.parameters()))
    kind = KINDS[cfg.attention.causal]
    lines = ["---", "library_name: transformers", f"pipeline_tag: {kind}", "tags: [gptforge]", "---", ""]
    lines += [f"# {loaded.path.resolve().parents[1].name}", ""]
    lines += [f"A {family.architecture} with {parameters} parameters ({shape}).", ""]
    if loaded.step:
        lines += [f"Trained by gptforge {__version__} for {loaded.step:,} steps on data={config.data.source}.", ""]
    else:
        lines += [f"Imported by gptforge {__version__} from {Path(config.tokenizer.path or '').name}.", ""]
    named = MEASURED if cfg.attention.causal else MEASURED | OF_HIDDEN
    found = [(what, summary[key]) for key, what in named.items() if isinstance(summary.get(key), int | float)]
    if found:
        lines += ["| measured | |", "|---|---|", *(f"| {what} | {value:,.6g} |" for what, value in found)]
    return "\n".join(lines) + LIMITS[cfg.attention.causal]
