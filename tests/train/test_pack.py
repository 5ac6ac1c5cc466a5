"""data.pack=documents: tokens see their own document only, in training as in evaluation, and none is left out."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import small
import writing
from gptforge.data.loader import TrainLoader, eval_batches
from gptforge.data.order import WindowOrder
from gptforge.evals.score import score, tokens_before
from gptforge.train.parts import build_parts

TOKENS = np.random.default_rng(0).integers(0, writing.VOCAB, 300).astype(np.uint16)
QUICK = ("model=tiny", "train.steps=4", "runtime.threads=1", "runtime.dtype=float32", "tokenizer=byte")


@st.composite
def divided(draw):
    """How long a text is, and where its documents begin."""
    n = draw(st.integers(12, 300))
    return n, np.array([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=40)))])


def owner(documents: np.ndarray, place: int) -> int:
    return max(k for k, first in enumerate(documents.tolist()) if first <= place)


@given(divided(), st.integers(1, 10), st.integers(0, 9))
def test_an_input_is_of_the_document_of_its_label(text, block_size, step):
    n, documents = text
    loader = TrainLoader(np.arange(n), block_size, 3, WindowOrder(n, block_size, seed=0), documents)
    batches = [loader.batch(step), *eval_batches(np.arange(n), block_size, 3, documents=documents)]
    for batch in batches:
        there = batch.labels > 0
        wanted = [owner(documents, place) for place in batch.labels[there].tolist()]
        assert batch.documents is not None
        # Numbers need not be the same, but equal where the document is.
        assert batch.documents[there].tolist() == [k + 1 for k in wanted]
    assert loader.batch(step).rows(1, 3).documents.tolist() == loader.batch(step, slice(1, 3)).documents.tolist()


def test_by_default_nothing_is_marked(own_folder):
    small.write_text()
    parts, _ = build_parts(small.config())
    assert parts.loader.batch(0).documents is None


@pytest.mark.parametrize("kind", ["rope", "learned", "window", "grouped queries"])
def test_evaluated_together_is_as_each_alone(kind):
    model, documents = writing.make(**writing.KINDS[kind]), np.array([0, 7, 20, 21, 33, 40])
    size = 50
    alone = []
    for first, end in zip(documents, [*documents[1:], size], strict=True):
        text = TOKENS[max(0, first - 1) : end]  # with what ends the one before
        windows = [text[:end] for end in range(2, len(text) + 1)]
        for seen in windows:
            logits = model(torch.from_numpy(seen[:-1].astype(np.int64))[None], last_only=True)[0, -1]
            alone.append(-logits.log_softmax(0)[int(seen[-1])].item())
    model = writing.make(**writing.KINDS[kind] | {"block_size": size})
    if kind == "learned":
        shorter = writing.make(**writing.KINDS[kind])
        model.load_state_dict(shorter.state_dict() | {"pos_emb.weight": model.pos_emb.weight})
        with torch.no_grad():
            model.pos_emb.weight[: writing.BLOCK] = shorter.pos_emb.weight
    batches = eval_batches(TOKENS[:size], size, 2, documents=documents)
    found = score(model, batches, contextlib.nullcontext)
    np.testing.assert_allclose(found.nats, alone, rtol=1e-5, atol=1e-6)


@given(divided(), st.integers(1, 20), st.data())
def test_tokens_before_are_those_of_the_document(text, block_size, data):
    n, documents = text
    stride = data.draw(st.integers(1, block_size))
    plain = tokens_before(n - 1, block_size, stride)
    wanted = [min(plain[place - 1], place - max(0, documents[owner(documents, place)] - 1)) for place in range(1, n)]
    assert tokens_before(n - 1, block_size, stride, documents).tolist() == wanted


def write_poems(folder: Path) -> None:
    poems = [f"poem {n} of roses\nred are {n % 7} of them\n" for n in range(120)]
    (folder / "poems.jsonl").write_text("".join(json.dumps({"text": p}) + "\n" for p in poems), encoding="utf-8")


def losses(run: str) -> list[float]:
    rows = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    return [row["train_loss"] for row in rows if "train_loss" in row]


def test_it_is_trained_evaluated_and_goes_on(own_folder, capsys):
    write_poems(own_folder)
    words = ["data=poems.jsonl", "log.every=1", *QUICK]
    apart = [*words, "data.pack=documents"]
    assert small.gptforge("train", *words, "hydra.run.dir=text", "ui=quiet") == 0
    assert small.gptforge("train", *apart, "hydra.run.dir=apart", "ui=plain") == 0
    assert "each token sees its own of 108 documents" in capsys.readouterr().err
    assert small.gptforge("train", *apart, "hydra.run.dir=cut", "ui=quiet", "train.stop_after=2") == 75
    assert small.gptforge("train", "resume=cut") == 0
    ends = [Path(name, "checkpoints/step-000004/model.safetensors").read_bytes() for name in ("cut", "apart", "text")]
    assert ends[0] == ends[1] != ends[2]
    assert losses("apart")[0] != losses("text")[0]  # the same weights and tokens, seen otherwise
    capsys.readouterr()

    def evaluated(*more: str) -> dict:
        assert small.gptforge("eval", "apart", "json=true", "runtime.dtype=float32", "baselines=false", *more) == 0
        return json.loads(capsys.readouterr().out)

    own = evaluated()
    assert own["how"]["pack"] == "documents"
    assert own["loss"] == pytest.approx(small.summary("apart")["val_loss"], rel=1e-6)
    assert max(group["to"] for group in own["by_context"]) <= 40  # as long as a poem, shorter than the window
    again = [evaluated("data=poems.jsonl", "split=val", *more) for more in ([], ["data.pack=text"])]
    assert again[0]["loss"] == own["loss"] != again[1]["loss"]
    assert small.gptforge("eval", "apart", "baselines=false") == 0
    assert "each token sees its own document only" in capsys.readouterr().out
    assert small.gptforge("train", "resume=cut", "data.pack=text") == 4
    assert "data.pack" in capsys.readouterr().err
