"""A real pretrained model beside what transformers makes of the same file: its logits, and what it writes."""

import pytest
import torch

transformers = pytest.importorskip("transformers")
pytest.importorskip("gguf")
pytest.importorskip("accelerate")

from gptforge.config import SamplingConfig  # noqa: E402
from gptforge.errors import UserError  # noqa: E402
from gptforge.interop.sources import Source, load  # noqa: E402
from gptforge.sampling import generate  # noqa: E402

pytestmark = pytest.mark.slow

LENGTH = 32  # tokens that are written
PROMPTS = (
    "The capital of France is", "Water boils at", "def fibonacci(n):", "Once upon a time there was a",
    "The three primary colours are", "My favourite food is", "To be, or not to be,", "In 1969 Neil Armstrong",
    "The derivative of x^2 is", "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n",
    "Dear Sir or Madam,", "SELECT name FROM users WHERE", "The chemical symbol of gold is", "Q: What is 2 + 2?\nA:",
    "La capitale de l'Allemagne est", "1, 1, 2, 3, 5, 8,", "The opposite of hot is", "Shakespeare wrote",
    "# Introduction\n\n", "<|im_start|>user\nName a planet.<|im_end|>\n<|im_start|>assistant\n",
)  # fmt: skip


@pytest.fixture(scope="module")
def ours() -> Source:
    try:
        source = load("smollm2")
    except UserError as e:
        pytest.skip(f"SmolLM2 cannot be fetched: {e}")
    source.model.float().eval()
    return source


@pytest.fixture(scope="module")
def theirs(ours):
    folder, name = str(ours.path.parent), ours.path.name
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    return model, transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_it_reads_and_writes_as_in_transformers(ours, theirs, prompt):
    model, tokenizer = theirs
    ids = tokenizer(prompt)["input_ids"]
    if "<|" not in prompt:  # in a text of people's ours takes those marks for text
        assert [int(i) for i in ours.tokenizer.encode(prompt)] == ids
    inputs = torch.tensor([ids])
    written = greedy(ours, ids)
    with torch.inference_mode():
        torch.testing.assert_close(ours.model(inputs), model(inputs).logits, rtol=0, atol=1e-4)
        told = model.generate(
            inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=LENGTH, do_sample=False,
            eos_token_id=[], pad_token_id=0,
        )[0, len(ids) :].tolist()  # fmt: skip
        assert written == told
        assert len(set(written)) > 1


def test_it_knows_the_capital_of_france(ours):
    ids = [int(i) for i in ours.tokenizer.encode("The capital of France is")]
    assert ours.tokenizer.decode(greedy(ours, ids)).startswith(" Paris")


def greedy(source: Source, ids: list[int]) -> list[int]:
    cfg = SamplingConfig(temperature=0, max_new_tokens=LENGTH)
    return [int(token) for (token,) in generate(source.model, [ids], cfg, seed=0)]
