"""The docs say what is so: generated parts are fresh, links lead somewhere, examples run, commands are understood."""

import doctest
import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
import torch

from gptforge import compose
from gptforge.arguments import Grammar, parse, split_command
from gptforge.config import SCHEMAS, TrainConfig
from gptforge.config.schema import build as build_config
from gptforge.data.order import WindowOrder
from gptforge.train.decisions import DEFAULT_STEPS
from gptforge.usage import COMMANDS, with_options

ROOT = Path(__file__).parents[1]
CHINESE = ROOT / "README.zh.md"
PAGES = [ROOT / "README.md", CHINESE, *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"`(gptforge [^`]+)`|^(?:    )?(gptforge \S.*?)(?:  |$)", re.MULTILINE)
TRAINING_TOKENS = 1_070_109  # of the nine plays, whose text is fixed by its hash
# A word that the reader replaces, or a path that only the reader has
PLACEHOLDER = re.compile(r"\b[A-Z]{2,}\b(?![:.])|\.\.\.|path/to")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """docs/build.py as a module."""
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def one_thread():
    """Small tensors are slowed down by threads, most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_generated_parts_are_fresh(script: ModuleType) -> None:
    outdated = [path.name for path in script.stale()]
    assert not outdated, f"{', '.join(outdated)}: run python docs/build.py"


def test_reference_to_lines(script: ModuleType) -> None:
    path = ROOT / "src" / "gptforge" / "errors.py"
    link = re.search(r"lines (\d+)-(\d+)", script.reference("src/gptforge/errors.py::UserError.__str__"))
    assert link is not None
    lines = path.read_text(encoding="utf-8").splitlines()[int(link[1]) - 1 : int(link[2])]
    assert lines[0].strip() == "def __str__(self) -> str:" and lines[-1].strip().startswith("return")


@pytest.mark.parametrize("target", ["src/gptforge/errors.py::Nothing", "src/gptforge/nowhere.py::main"])
def test_reference_to_nothing_is_an_error(script: ModuleType, target: str) -> None:
    with pytest.raises(LookupError, match=re.escape(target)):
        script.with_references(f"<!-- code: {target} -->\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name} links to {link}"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{page.name} links to {link}"


def anchors(page: Path) -> set[str]:
    """What the headings of a page can be linked to by."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_readme_is_short(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= 150


def test_the_chinese_readme_says_what_the_english_one_does() -> None:
    """The two commands, what comes of them and the figures of the default run, in the same order."""
    english = (ROOT / "README.md").read_text(encoding="utf-8")
    chinese = CHINESE.read_text(encoding="utf-8")
    first = [FENCED.findall(page)[:3] for page in (english, chinese)]
    assert first[0] == first[1] and first[0][0] == "make train\n" and first[0][2] == "make test\n"
    for words in ("804k", "2,000", "3 min 39 s", "1.544", "2.228"):
        assert words in english and words in chinese, words
    for words, same in {"about five minutes": "约五分钟", "about eight minutes": "约八分钟"}.items():
        assert words in english and same in chinese, same
    assert "(README.zh.md)" in english and "(README.md)" in chinese


def test_the_chinese_readme_knows_the_exit_codes() -> None:
    page = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    codes = re.findall(r"^\| (\d+) \| ", page, re.MULTILINE)
    (line,) = re.findall(r"退出码：(.*?)。", CHINESE.read_text(encoding="utf-8"), re.DOTALL)
    named = re.findall(r"(?:^|；)\s*(\d+) ", line)
    assert named == [code for code in codes if code not in ("0", "1", "130")]


def test_examples_of_the_walk_are_right(one_thread: None) -> None:
    text = (ROOT / "docs" / "walk.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "walk.md", None, None)
    report: list[str] = []
    failed, tried = doctest.DocTestRunner(verbose=False).run(examples, out=report.append)
    assert tried > 20 and not failed, "".join(report)


def test_numbers_of_the_walk_are_those_of_the_default_run() -> None:
    cfg = build_config(TrainConfig, with_options(TrainConfig, compose.default_options("train")))
    B, T, C = cfg.train.batch_size, cfg.model.block_size, cfg.model.n_embd
    heads, d = cfg.model.n_head, cfg.model.head_dim
    qkv, width = (heads + 2 * cfg.model.n_kv_head) * d, cfg.model.mlp_width
    steps = cfg.train.steps or DEFAULT_STEPS
    epoch = WindowOrder(TRAINING_TOKENS, T, cfg.seed).windows_per_epoch
    cache = 2 * cfg.model.n_layer * T * cfg.model.n_kv_head * d * 4
    text = (ROOT / "docs" / "walk.md").read_text(encoding="utf-8")
    for words in (
        f"(`train.batch_size`) | {B} |",
        f"(`model.block_size`) | {T} |",
        f"(`model.n_embd`) | {C} |",
        f"{cfg.model.n_layer} blocks (B, T, C)",
        f"inputs and labels are ({B}, {T}), one step learns {B * T:,} tokens",
        f"the nine plays give {TRAINING_TOKENS:,} tokens",
        f"an epoch is {epoch:,} windows",
        f"{steps:,} steps, which is {steps * B * T / 1e6:.1f} million",
        f"{steps * B / epoch:.1f} times through the plays",
        f"x (B, T, {C}) -> qkv (B, T, {qkv}) -> q, k, v: {heads} heads, (B, {heads}, T, {d}) each",
        f"(B, T, {C}) -> (B, T, {width}) -> (B, T, {C})",
        f"({cache / 1e6:.1f} MB in the small model)",
        f"weights per layer: {B * heads * T * T / 1e6:.1f} million",
        {"relu2": "squared ReLU, max(0, x)^2"}[cfg.model.mlp.kind],
        {"cosine": "falls along half a cosine", "linear": "falls along a straight line"}[cfg.schedule.kind],
    ):
        assert words in " ".join(text.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_understood(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # where data=README.md is
    for command, *words in commands_in(page):
        dirs = [compose.conf_dir()]
        grammar = Grammar(command, SCHEMAS[command], compose.options(command, dirs), COMMANDS[command].positionals)
        line = parse(words, grammar)
        if not line.multirun and not line.help:
            compose.compose(command, line, dirs)


def commands_in(page: Path) -> list[list[str]]:
    """The command lines on a page that could be typed as they are, without `gptforge`."""
    text = page.read_text(encoding="utf-8").replace("我的文本.txt", "README.md")  # which the reader has
    found = [inline or block for inline, block in COMMAND.findall(text)]
    lines = [shlex.split(text)[1:] for text in found if not PLACEHOLDER.search(text)]
    commands = [split_command(line, SCHEMAS) for line in lines]
    return [[command, *words] for command, words in commands if command in SCHEMAS]


def test_commands_are_found() -> None:
    assert len(commands_in(ROOT / "docs" / "walk.md")) >= 15
    assert len(commands_in(ROOT / "README.md")) >= 5
    assert len(commands_in(CHINESE)) >= 15
