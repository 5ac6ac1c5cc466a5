"""S1: what the source must not call, because what it reads could then run code; found by its syntax tree.

Knows names, not what they do: a name that is reached in a roundabout way is not found. Each place where one is allowed
stands in ALLOWED, with its reason.
"""

import ast
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gptforge
from faults.suite import Fault

ROOT = Path(gptforge.__file__).parents[1]
PACKAGES = ("gptforge", "hydra_plugins")
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pty", "code"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    "torch.load", "torch.hub.load", "torch.jit.load", "torch.serialization.load", "yaml.load", "yaml.load_all",
    "yaml.full_load", "yaml.Loader", "yaml.CLoader", "yaml.UnsafeLoader", "yaml.CUnsafeLoader", "yaml.FullLoader",
    "yaml.unsafe_load", "yaml.unsafe_load_all", "hydra.utils.instantiate", "hydra.utils.call",
    "hydra.utils.get_method", "hydra.utils.get_class", "hydra.utils.get_object", "os.system", "os.popen",
    "tempfile.mktemp", "shutil.unpack_archive", "tarfile.open", "importlib.import_module", "runpy.run_path",
    "torch.distributed.broadcast_object_list", "torch.distributed.gather_object", "torch.distributed.recv_object_list",
    "torch.distributed.all_gather_object", "torch.distributed.scatter_object_list", "runpy.run_module",
    "numpy.lib.format.read_array", "subprocess.getoutput", "subprocess.getstatusoutput",
}  # fmt: skip
METHODS = {"extractall", "load_module", "exec_module"}  # of whatever object
SWITCHES = {"allow_pickle": True, "shell": True, "trust_remote_code": True, "weights_only": False}
# (file, what): why it may stand there
ALLOWED = {
    ("gptforge/option_files.py", "yaml.load"): "with a loader that makes nothing but texts, numbers, lists and tables",
    ("gptforge/cli.py", "importlib.import_module"): "a command's module, its name out of the table of commands",
    ("gptforge/trackers/found.py", "importlib.import_module"): "one of our modules, its name out of the table there",
    ("gptforge/interop/unpickle.py", "torch.load"): "its reader of weights alone, in a process of its own, if trusted",
    ("gptforge/interop/unpickle.py", "pickle"): "a reader that finds no class and no function, in the same process",
    ("gptforge/tokenizers/bpe.py", "importlib.import_module"): "a package by its name, which stands there",
    ("gptforge/dist.py", "torch.distributed.broadcast_object_list"): "between the processes of one run, which are one",
    ("gptforge/dist.py", "torch.distributed.gather_object"): "between the processes of one run, which are one",
}


@dataclass(slots=True)
class Names:
    """What the names of a file stand for: {"np": "numpy", "load": "torch.load"}."""

    known: dict[str, str] = field(default_factory=dict)

    def add(self, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        """Takes an import in; gives the dotted names of what it imports."""
        for alias in node.names:
            whole = alias.name if isinstance(node, ast.Import) else f"{node.module or ''}.{alias.name}"
            yield whole
            if alias.asname or isinstance(node, ast.ImportFrom):
                self.known[alias.asname or alias.name] = whole

    def dotted(self, node: ast.AST) -> str:
        """The dotted name that an expression stands for; nothing if it is no name."""
        if isinstance(node, ast.Name):
            return self.known.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value)
            return f"{base}.{node.attr}" if base else f".{node.attr}"
        return ""


def findings(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of everything in a source that could run what it reads."""
    tree = ast.parse(source)
    names = Names()
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in imports:
        for whole in names.add(node):
            if whole.partition(".")[0] in MODULES:
                yield node.lineno, whole.partition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = names.dotted(node)
            last = name.rpartition(".")[2]
            if name in CALLS or (name in BUILTINS and _is_read(node)):
                yield node.lineno, name
            elif isinstance(node, ast.Attribute) and (last in METHODS or name in {f"builtins.{b}" for b in BUILTINS}):
                yield node.lineno, last
        if isinstance(node, ast.Call):
            yield from ((node.lineno, name) for name in _switched(node))


def _is_read(node: ast.AST) -> bool:
    """Whether a bare name is used, not given to something of its own: a section of a config is called eval."""
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)


def _switched(call: ast.Call) -> Iterator[str]:
    """Arguments that make a call unsafe; what is no literal may be anything, and counts."""
    for given in call.keywords:
        if given.arg in SWITCHES:
            literal = given.value.value if isinstance(given.value, ast.Constant) else SWITCHES[given.arg]
            if literal is SWITCHES[given.arg]:
                yield f"{given.arg}={SWITCHES[given.arg]}"


PLANTED: Mapping[str, str] = {
    "import pickle": "pickle",
    "from pickle import loads": "pickle",
    "import _pickle as fine": "_pickle",
    "import dill, json": "dill",
    "def f():\n    import shelve": "shelve",
    "from marshal import loads as read": "marshal",
    "import joblib": "joblib",
    "import torch\ntorch.load('x')": "torch.load",
    "import torch as t\nt.load('x')": "torch.load",
    "from torch import load as read\nread('x')": "torch.load",
    "import torch\nread = torch.load\nread('x')": "torch.load",
    "import torch\ntorch.save(1, 'x', weights_only=False)": "weights_only=False",
    "import numpy as np\nnp.load('x', allow_pickle=True)": "allow_pickle=True",
    "import numpy as np\nnp.load('x', allow_pickle=asked)": "allow_pickle=True",
    "eval('1')": "eval",
    "list(map(eval, texts))": "eval",
    "import builtins\nbuiltins.exec('1')": "exec",
    "exec(compile('1', '', 'exec'))": "exec",
    "__import__(name)": "__import__",
    "import yaml\nyaml.load(text, yaml.SafeLoader)": "yaml.load",
    "import yaml\nyaml.load(text, yaml.Loader)": "yaml.Loader",
    "from yaml import CUnsafeLoader as Safe\nread(text, Safe)": "yaml.CUnsafeLoader",
    "from yaml import unsafe_load\nunsafe_load(text)": "yaml.unsafe_load",
    "from hydra.utils import instantiate\ninstantiate(cfg)": "hydra.utils.instantiate",
    "import hydra\nhydra.utils.instantiate(cfg)": "hydra.utils.instantiate",
    "import subprocess\nsubprocess.run('ls', shell=True)": "shell=True",
    "import os\nos.system('ls')": "os.system",
    "import torch.distributed as c10d\nc10d.gather_object(a, b)": "torch.distributed.gather_object",
    "import tempfile\ntempfile.mktemp()": "tempfile.mktemp",
    "import zipfile\nzipfile.ZipFile(p).extractall()": "extractall",
    "import importlib\nimportlib.import_module(name)": "importlib.import_module",
    "from x import y\ny(trust_remote_code=True)": "trust_remote_code=True",
}
HARMLESS = (
    "import re\nre.compile('a')\nmodel.eval()\nmodel.compile()\njson.load(f)\nsafetensors.torch.load(b)",
    "import subprocess\nsubprocess.run(['ls'], shell=False)\nnp.load('x', allow_pickle=False)",
    "import yaml\nyaml.safe_load(text)\n'pickle'  # eval(exec)",
)


def scan(draw: random.Random, ground: Any) -> None:
    """The whole source; and that nothing planted would be overseen."""
    for source, planted in PLANTED.items():
        assert planted in {name for _, name in findings(source)}, f"the scan does not find {planted} in {source!r}"
    for source in HARMLESS:
        assert not list(findings(source)), f"the scan finds {list(findings(source))} in {source!r}"
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 100, f"only {len(files)} files in {ROOT}"
    met = set()
    for path in files:
        file = path.relative_to(ROOT).as_posix()
        for line, name in findings(path.read_text(encoding="utf-8")):
            met.add((file, name))
            assert (file, name) in ALLOWED, f"{file}, line {line}: {name}"
    assert met == ALLOWED.keys(), f"allowed, but no longer there: {ALLOWED.keys() - met}"


FAULTS = [Fault("S1", "no code path runs what a file says", scan, quick=1, full=1)]
