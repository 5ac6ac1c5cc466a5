"""What --help prints: the commands, and for one command its groups, options and keys. Neither torch nor hydra."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptforge import __version__
from gptforge.compose import default_options, options
from gptforge.config import SCHEMAS, SweepConfig
from gptforge.config.schema import MISSING, leaves, sections, shown, to_dict
from gptforge.option_files import with_options

EXAMPLES = """\
  gptforge train                                         the small model on Shakespeare, about three minutes
  gptforge train data=path/to/my/text                    your own text: a file, or a folder
  gptforge prepare path/to/my/text                       what that text is: documents, tokens, leakage
  gptforge train model=medium train.time=30m             another size, as long as you have
  gptforge train resume=latest                           go on where a run stopped
  gptforge sample ckpt=latest prompt="ROMEO:"            write with it
  gptforge eval ckpt=latest                              how well it predicts text that it has not seen
  gptforge train -m model=tiny,small lr=1e-3,3e-3        one run for each combination
  gptforge compare RUN RUN                               is the difference more than the noise of seeds?
  gptforge info model=gpt2                               what a config means: parameters, FLOPs, memory"""


@dataclass(frozen=True, slots=True)
class Command:
    """One verb of the command line."""

    what: str
    positionals: tuple[str, ...] = ()
    sweeps: bool = False  # whether -m runs it once for each combination


COMMANDS = {
    "train": Command("train a model, or go on with a run (resume=latest)", sweeps=True),
    "prepare": Command("make a text into tokens, and say what it is like", positionals=("data",)),
    "sample": Command("write text with a trained model", positionals=("ckpt",)),
    "eval": Command("how well a model predicts a text, beside simple baselines", positionals=("ckpt",)),
    "info": Command("what a config means: parameters, FLOPs, memory, without training"),
    "tokenizer report": Command("how a tokenizer cuts a text, and how well", positionals=("ckpt",)),
    "runs": Command("the runs there are, and how they went", positionals=("path",)),
    "runs rm": Command("remove runs, after a question", positionals=("runs",)),
    "runs tag": Command("write words on a run, to find it by", positionals=("run", "add")),
    "runs prune": Command("remove checkpoints that are no longer needed, after a question", positionals=("path",)),
    "show": Command("one run: what it is, how it went, what to type next", positionals=("run",)),
    "compare": Command("runs beside each other: is the difference more than noise?", positionals=("runs",)),
    "reproduce": Command("train a run anew: does it come to the same weights?", positionals=("run",)),
    "report": Command("draw a run or a sweep as a page: curves, samples, config, warnings", positionals=("run",)),
    "runs export": Command("send a run to a tracker, after the fact", positionals=("run",)),
    "import": Command("take a model of another program as it is: sample, eval and train it", positionals=("source",)),
    "export": Command("give a model to other programs, checked before it is there", positionals=("ckpt",)),
    "doctor": Command("what this machine has, and what is missing"),
    "completion": Command("print the completion script for bash, zsh or fish"),
}


def usage() -> str:
    """What `gptforge` alone says."""
    commands = [f"  {name:16} {command.what}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            f"gptforge {__version__}: train, understand and use your own GPT",
            "",
            "usage: gptforge COMMAND [group=option] [key=value] ...",
            "",
            *commands,
            "",
            EXAMPLES,
            "",
            "gptforge COMMAND --help lists every group, option and key.",
        ]
    )


def command_help(command: str, dirs: list[Path]) -> str:
    """The groups of a command with their options, then every key with type, default and doc."""
    lists = {leaf.name for leaf in leaves(SCHEMAS[command]) if leaf.takes_many}
    positional = "".join(f" [{n.upper()}{' ...' if n in lists else ''}]" for n in COMMANDS[command].positionals)
    lines = [f"usage: gptforge {command}{positional} [group=option] [key=value] ...", "", COMMANDS[command].what, ""]
    chosen = default_options(command)
    names = options(command, dirs)
    if any(names.values()):
        lines += ["groups (* is what you get when you choose nothing)", ""]
    for group in names:
        for option in names[group]:
            mark = "*" if option == chosen[group] else " "
            lines.append(f"  {mark} {group + '=' + option:24} {first_comment(dirs, group, option)}")
        lines += [""] if names[group] else []
    lines += list(key_lines(SCHEMAS[command], with_options(SCHEMAS[command], chosen)))
    if COMMANDS[command].sweeps:
        lines += list(key_lines(SweepConfig, to_dict(SweepConfig()), "keys of a sweep, with -m"))
    lines += [
        "",
        "A key whose last part is unique may be typed alone: lr=1e-3. --key value works too.",
        f"gptforge {command} --cfg job shows the composed config; your own options live in ./conf or --config-dir.",
    ]
    if command == "train":
        lines += ["", "-m runs one job for each combination of the values given: -m model=tiny,small lr=1e-3,3e-3"]
        lines.append("-m resume=SWEEP goes on with a sweep, be it stopped, killed or failed in part.")
        lines.append("config=RUN/config.json runs a saved config again; hydra.run.dir=PATH names the run directory.")
    return "\n".join(lines)


def first_comment(dirs: list[Path], group: str, option: str) -> str:
    """What an option's file says of itself in its first comment."""
    for folder in dirs:
        path = folder / group / f"{option}.yaml"
        if path.is_file():
            comments = (line[1:].strip() for line in path.read_text(encoding="utf-8").splitlines() if line[:1] == "#")
            return next((c for c in comments if not c.startswith("@package")), "")
    return ""


def key_lines(schema: type, defaults: Mapping[str, Any], title: str = "keys") -> Iterator[str]:
    """One line a key: name=default, type, doc; sections with their first docstring line."""
    said = {name: (section.__doc__ or "").splitlines()[0] for name, section in sections(schema)}
    current = None
    for leaf in sorted(leaves(schema), key=lambda leaf: "." in leaf.name):  # top-level keys first
        section = leaf.name.rpartition(".")[0]
        if section != current:
            current = section
            yield ""
            yield f"{section}: {said[section]}" if section else title
        value: Any = defaults
        for part in leaf.name.split("."):
            value = value[part]
        text = f"{leaf.name}={'' if value == MISSING else repr(value) if _invisible(value) else shown(value)}"
        yield f"  {text:34} {leaf.type_name}"
        yield f"      {leaf.doc}"


def _invisible(value: Any) -> bool:
    return isinstance(value, str) and value != value.strip()
