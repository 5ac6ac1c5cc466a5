"""The shape of the code: who may import whom, and how large things may get."""

import ast
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptforge.compose import conf_dir, default_options
from gptforge.config import SCHEMAS
from gptforge.config.schema import sections

SOURCE = Path(__file__).parents[1] / "src"
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = {".".join(p.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): p for p in FILES}

# Imports go down, or stay within a layer where it is said so
LAYERS = {
    "top": {
        *("cli", "compose", "launchers", "arguments", "typed_paths", "own_options", "usage", "completion", "best"),
        "__main__",
    },
    "commands": {"commands"},
    "procedures": {"train", "sampling", "evals", "interop", "serve", "report"},
    "services": {
        *(
            "history",
            "conditions",
            "checkpoint",
            "parallel",
            "launch",
            "runtime",
            "compiling",
            "native",
            "logs",
            "trackers",
            "doctor",
            "sweep",
            "hardware",
            "notices",
            "tidy",
            "consent",
        )
    },
    "parts": {"model", "data", "tokenizers", "optim"},
    "ground": {
        *("config", "runs", "errors", "assets", "signals", "dist", "locks", "durable", "jsonfile", "tensors", ""),
        "option_files",
    },
}
ORDER = list(LAYERS)
SIDEWAYS = {"top", "services", "ground"}  # layers whose parts may use each other; cycles are refused all the same
ALLOWED_SIDEWAYS = {
    ("train", "evals"), ("train", "sampling"), ("train", "report"), ("evals", "sampling"), ("data", "tokenizers"),
    ("train", "interop"),  # a run says at its start what its model cannot be handed on as
}  # fmt: skip
HYDRA = {"gptforge.cli", "gptforge.compose", "gptforge.launchers"}
TORCH_FREE = {
    *("cli", "config", "runs", "errors", "assets", "completion", "signals", "usage", "sweep", "notices", "locks"),
    *("hardware", "best", "launchers"),
    *("history", "conditions", "option_files", "tidy", "consent", "trackers"),
    *("durable", "jsonfile"),
}


def part(module: str) -> str:
    """'train' of 'gptforge.train.trainer'."""
    return module.partition(".")[2].partition(".")[0]


def layer(module: str) -> str:
    found = [name for name, parts in LAYERS.items() if part(module) in parts]
    assert found, f"{module} belongs to no layer: put it into one"
    return found[0]


def imports(path: Path, everywhere: bool) -> Iterator[str]:
    """What a file imports, as full names; with `everywhere` also inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else module_level(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


def module_level(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from module_level(child)


def ours(path: Path, everywhere: bool = True) -> set[str]:
    return {name for name in imports(path, everywhere) if name in MODULES}


GPTFORGE = [name for name in MODULES if name.startswith("gptforge")]


@pytest.mark.parametrize("module", GPTFORGE)
def test_imports_only_go_down(module):
    here = layer(module)
    for name in ours(MODULES[module]):
        there = layer(name)
        assert ORDER.index(there) >= ORDER.index(here), f"{module} imports {name}, which is above it"
        if there == here and part(name) != part(module):
            allowed = here in SIDEWAYS or (part(module), part(name)) in ALLOWED_SIDEWAYS
            assert allowed, f"{module} imports {name}, its neighbour"


@pytest.mark.parametrize("module", MODULES)
def test_hydra_and_omegaconf_stay_at_the_door(module):
    found = {name.partition(".")[0] for name in imports(MODULES[module], everywhere=True)} & {"hydra", "omegaconf"}
    assert not found or module in HYDRA or module.startswith("hydra_plugins"), f"{module} imports {found}"


def test_the_plugin_never_imports_torch_and_gptforge_only_when_used():
    """Hydra imports its plugins in every Hydra application of an environment."""
    for module in (m for m in MODULES if m.startswith("hydra_plugins")):
        assert not any(name.partition(".")[0] == "torch" for name in imports(MODULES[module], everywhere=True))
        assert not any(name.startswith("gptforge") for name in imports(MODULES[module], everywhere=False))


def test_no_import_cycles():
    """Through module level and functions alike, and through the packages that an import runs on its way."""
    graph = {m: {n for n in ours(MODULES[m]) if n != m and not m.startswith(f"{n}.")} for m in GPTFORGE}
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for name in graph[module]:
                visit(name, [*path, module])
            done.add(module)

    for module in graph:
        visit(module, [])


def reachable(module: str) -> set[str]:
    """Everything that importing a module imports, by the text of the files."""
    seen: set[str] = set()
    queue = [module]
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in MODULES:
            packages = [name.rsplit(".", i)[0] for i in range(1, name.count(".") + 1)]
            queue += [*imports(MODULES[name], everywhere=False), *packages]
    return seen


@pytest.mark.parametrize("name", sorted(TORCH_FREE))
def test_no_torch_is_within_reach(name):
    for module in (m for m in GPTFORGE if part(m) == name):
        assert not {n for n in reachable(module) if n.partition(".")[0] in ("torch", "numpy")}, module


def test_no_torch_is_loaded():
    modules = [f"gptforge.{name}" for name in sorted(TORCH_FREE)]
    code = f"import sys, {', '.join(modules)}\nprint([m for m in ('torch', 'numpy', 'hydra') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# Limits ------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_files_and_functions_stay_small(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it is for"
    assert path.stem not in ("utils", "common", "helpers", "util", "misc")
    lines = len(text.splitlines())
    assert lines <= (60 if path.parent.name == "commands" else 400), f"{lines} lines"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= 50, f"{node.name} has {length} lines"


def test_sections_stay_small():
    for schema in SCHEMAS.values():
        for name, section in [("the root", schema), *sections(schema)]:
            keys = [f for f in dataclasses.fields(section) if not dataclasses.is_dataclass(f.default_factory)]
            assert len(keys) <= 20, f"{name} of {schema.__name__}"


def test_groups_and_options_stay_few_and_short():
    for command in SCHEMAS:
        assert len(default_options(command)) <= 14
    for path in conf_dir().rglob("*.yaml"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("# ") and len(lines[0]) > 4, f"{path}: the first line says what it is"
        assert len(lines) <= 25, path


def test_the_layers_name_only_what_is_there_or_planned():
    planned = {"interop", "serve", "report"}
    there = {part(m) for m in GPTFORGE} | planned
    assert {p for parts in LAYERS.values() for p in parts} <= there
