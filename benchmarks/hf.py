"""The peer: Hugging Face transformers' GPT2LMHeadModel of the same shape, as its users run it.

transformers is looked up at run time: it belongs to the extra `bench`, not to gptforge. use_cache is off in training,
dropout 0, and the optimizer is torch's fused AdamW, which its Trainer takes too: nothing is left slow on purpose.
"""

import importlib
import math
from typing import Any

import torch

from plain import RandomWindows
from workers import Subject

MATRICES = {"attn.qkv": "attn.c_attn", "attn.proj": "attn.c_proj", "mlp.fc": "mlp.c_fc", "mlp.proj": "mlp.c_proj"}
NORMS = {"attn_norm": "ln_1", "mlp_norm": "ln_2"}
SHOWN = 64  # tokens that are compared
LOGITS_AGREE = 1e-4  # the most by which float32 logits of the two may differ, in standard deviations


def gpt2(n_layer: int, n_head: int, n_embd: int, block_size: int, vocab_size: int) -> Any:
    """A GPT2LMHeadModel with weights of its own."""
    transformers: Any = importlib.import_module("transformers")
    transformers.logging.set_verbosity_error()
    shape = dict(n_layer=n_layer, n_head=n_head, n_embd=n_embd, n_positions=block_size, vocab_size=vocab_size)
    dropout = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    ids = dict(bos_token_id=None, eos_token_id=None, pad_token_id=None)
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape, **dropout, **ids))


def training(batch_size: int, bf16: bool, **shape: int) -> Subject:
    """A unit is one step; `bf16` adds the autocast that a user would have to know of."""
    model = gpt2(**shape).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    windows = RandomWindows(shape["vocab_size"], shape["block_size"], batch_size)

    def steps(n: int) -> None:
        for _ in range(n):
            ids, _ = windows.batch()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = model(input_ids=ids, labels=ids, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if not math.isfinite(loss.item()):
                raise FloatingPointError("the loss of transformers is not finite")

    facts = {"tokens": batch_size * shape["block_size"], "parameters": sum(p.numel() for p in model.parameters())}
    return Subject(steps, facts)


def same_weights(ours: Any, theirs: Any) -> None:
    """Copies a gptforge model of GPT-2's architecture into a GPT2LMHeadModel, whose matrices are transposed."""
    state = ours.state_dict()
    target = theirs.transformer
    with torch.no_grad():
        target.wte.weight.copy_(state["tok_emb.weight"])
        target.wpe.weight.copy_(state["pos_emb.weight"])
        for n, layer in enumerate(target.h):
            for mine, its in MATRICES.items():
                layer.get_submodule(its).weight.copy_(state[f"blocks.{n}.{mine}.weight"].T)
                layer.get_submodule(its).bias.copy_(state[f"blocks.{n}.{mine}.bias"])
            for mine, its in NORMS.items():
                layer.get_submodule(its).weight.copy_(state[f"blocks.{n}.{mine}.weight"])
                layer.get_submodule(its).bias.copy_(state[f"blocks.{n}.{mine}.bias"])
        target.ln_f.weight.copy_(state["final_norm.weight"])
        target.ln_f.bias.copy_(state["final_norm.bias"])


def matched(words: list[str], path: str, **shape: int) -> Subject:
    """Stores a GPT2LMHeadModel's weights in `path` that are those of ours.sampling; there is nothing to measure.

    In a process of its own, for gptforge tunes the allocator of the process that it is in. Raises ValueError when
    the logits of the two differ: two different models would then be compared.
    """
    from safetensors.torch import save_model

    from ours import built, written

    ours, theirs = built(words, shape["vocab_size"]), gpt2(**shape).eval()
    same_weights(ours, theirs)
    ids = torch.randint(shape["vocab_size"], (2, shape["block_size"]), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        mine, its = ours(ids), theirs(ids).logits
        apart = float((mine - its).abs().max() / its.std())
    if not apart < LOGITS_AGREE:
        raise ValueError(f"the logits of the two models differ by {apart:.2g} standard deviations")
    n = min(32, shape["block_size"])
    equal = (written(ours, n) == written_by(theirs, n, 1)[:, 1:]).float().mean()
    save_model(theirs, path)
    return Subject(lambda n: None, {"logits_apart": apart, "greedy_equal": float(equal)})


def written_by(model: Any, n: int, batch: int) -> torch.Tensor:
    """The first token and n more of each of `batch` texts, greedily, with the cache."""
    start = torch.zeros(batch, 1, dtype=torch.long)
    with torch.inference_mode():
        return model.generate(start, attention_mask=torch.ones_like(start), do_sample=False, max_new_tokens=n)


def sampling(path: str, batch: int, dtype: str, **shape: int) -> Subject:
    """A unit is one token of each of `batch` texts, by the weights that `matched` has stored."""
    from safetensors.torch import load_model

    model = gpt2(**shape)
    load_model(model, path)
    model.to(getattr(torch, dtype)).eval()
    return Subject(lambda n: written_by(model, n, batch), {})


def continuing(path: str, prompt: list[int], dtype: str) -> Subject:
    """A unit is one token that goes on from a prompt, by the model in a directory. `facts` has what is written."""
    transformers: Any = importlib.import_module("transformers")
    transformers.logging.set_verbosity_error()
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype)).eval()
    start = torch.tensor([prompt])
    how = {"attention_mask": torch.ones_like(start), "do_sample": False, "eos_token_id": [], "pad_token_id": 0}

    def write(n: int) -> list[int]:
        with torch.inference_mode():
            return model.generate(start, max_new_tokens=n, **how)[0, len(prompt) :].tolist()

    return Subject(write, {"tokens": write(SHOWN)})
