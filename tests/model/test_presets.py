"""The presets in conf/model: they build, say only what differs, and have the published sizes."""

from pathlib import Path

import pytest
import torch
import yaml

from gptforge.config import ModelConfig
from gptforge.config.schema import build, flatten, to_dict
from gptforge.model import Transformer
from gptforge.model.cost import count_parameters

FOLDER = Path(__file__).parents[2] / "conf" / "model"
PRESETS = sorted(path.stem for path in FOLDER.glob("*.yaml"))

EXACT = {
    "gpt1": 116_534_784,
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
}
# Brown et al. 2020, table D.1, in millions.
GPT3 = {
    "gpt3-125m": 125,
    "gpt3-350m": 356,
    "gpt3-760m": 760,
    "gpt3-1.3b": 1320,
    "gpt3-2.7b": 2650,
    "gpt3-6.7b": 6660,
    "gpt3-13b": 12850,
    "gpt3-175b": 174600,
}


def preset(name: str) -> ModelConfig:
    return build(ModelConfig, yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))


def published_vocabulary(name: str) -> int:
    return 40_478 if name == "gpt1" else 50_257


def built_parameters(name: str) -> int:
    with torch.device("meta"):
        model = Transformer(preset(name), published_vocabulary(name))
    return sum(p.numel() for p in model.parameters())


def test_the_presets_are_all_there():
    assert set(PRESETS) == {"tiny", "small", "medium", "nanogpt", "nanogpt_cpu", *EXACT, *GPT3}


@pytest.mark.parametrize("name", EXACT)
def test_exact_published_size(name: str):
    assert built_parameters(name) == EXACT[name]


@pytest.mark.parametrize("name", GPT3)
def test_published_size_within_half_a_percent(name: str):
    assert built_parameters(name) == pytest.approx(GPT3[name] * 1e6, rel=0.005)


@pytest.mark.parametrize("name", PRESETS)
def test_formula_agrees_with_the_built_model(name: str):
    assert sum(count_parameters(preset(name), published_vocabulary(name)).values()) == built_parameters(name)


@pytest.mark.parametrize("name", PRESETS)
def test_file_says_what_it_is_and_only_what_differs(name: str):
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    assert lines[0].startswith("# ") and len(lines[0]) <= 70
    assert len(lines) <= 25
    defaults = flatten(to_dict(ModelConfig()))
    given = flatten(yaml.safe_load("\n".join(lines)))
    assert [key for key, value in given.items() if defaults[key] == value] == []


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_small_presets_run(name: str):
    model = Transformer(preset(name), 65)
    model.init_weights(torch.Generator().manual_seed(0))
    assert model(torch.zeros(1, 8, dtype=torch.int64)).shape == (1, 8, 65)
