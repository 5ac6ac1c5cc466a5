"""gptforge COMMAND [group=option] [key=value] ...: one Hydra app per command.

Hydra has no subcommands, so the command is taken off first. The rest is understood
(arguments.py), composed and checked (compose.py) before anything is created or torch imported;
then hydra.main runs the command, which gives --multirun and --cfg. Here errors become exit codes.
"""

import contextlib
import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gptforge import __version__, compose, usage
from gptforge.arguments import Grammar, Line, parse
from gptforge.config import SCHEMAS
from gptforge.errors import EXIT_BUG, EXIT_DONE, EXIT_INTERRUPTED, Stopped, UsageError, UserError, from_os_error
from gptforge.runs import Call, new_sweep_directory
from gptforge.usage import COMMANDS


def main() -> None:
    """The console script."""
    sys.exit(guarded(lambda: dispatch(sys.argv[1:])))


def guarded(action: Callable[[], int]) -> int:
    """Runs an action; what it raises becomes one message on stderr and an exit code."""
    try:
        return action()
    except UserError as e:
        say(f"gptforge: {e}")
        return e.exit_code
    except Stopped as e:
        return e.exit_code
    except KeyboardInterrupt:
        say("gptforge: interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except OSError as e:
        debug_traceback()
        error = from_os_error(e, "a file cannot be read or written")
        say(f"gptforge: {error}")
        return error.exit_code
    except Exception as e:
        debug_traceback()
        say(f"gptforge: internal error: {type(e).__name__}: {e} (GPTFORGE_DEBUG=1 shows where; please report it)")
        return EXIT_BUG


def dispatch(argv: list[str]) -> int:
    """Finds the command and runs it."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage.usage())
        return EXIT_DONE
    command, rest = argv[0], argv[1:]
    if command in ("--version", "-V", "version"):
        print(f"gptforge {__version__}")
        return EXIT_DONE
    if command == "__complete":
        return complete(rest)
    if command not in COMMANDS:
        raise unknown_command(command)
    if command == "completion":
        return print_completion(rest)
    return run(command, rest)


def run(command: str, tokens: list[str]) -> int:
    """Understands and checks a command line, then runs it."""
    dirs = compose.conf_dirs([])
    grammar = Grammar(SCHEMAS[command], compose.options(command, dirs), COMMANDS[command].positionals)
    line = parse(tokens, grammar)
    if line.config_dirs:  # options of the user's: understood once their names are known
        dirs = compose.conf_dirs(line.config_dirs)
        grammar = Grammar(SCHEMAS[command], compose.options(command, dirs), COMMANDS[command].positionals)
        line = parse(tokens, grammar)
    if line.help:
        print(usage.command_help(command, dirs))
        return EXIT_DONE
    for path in compose.shadowed(dirs):
        say(f"gptforge: warning: {path} is not read, gptforge has an option of that name; rename it")
    saved = compose.from_command_line(command, line, grammar)
    if saved is not None:
        return execute(command, saved.config, saved.call)
    return through_hydra(command, line, dirs)


def execute(command: str, config: Any, call: Call) -> int:
    """The command itself: gptforge.commands.COMMAND.run(config, call)."""
    return importlib.import_module(f"gptforge.commands.{command}").run(config, call)


def through_hydra(command: str, line: Line, dirs: list[Path]) -> int:
    """hydra.main around the command, after the same config has been composed and checked."""
    config_name = command
    for i, flag in enumerate(line.flags):
        if flag in ("--config-name", "-cn"):
            config_name = line.flags[i + 1] if i + 1 < len(line.flags) else command
    overrides = [*compose.search_path(dirs), *line.overrides]
    if not line.multirun and "--hydra-help" not in line.flags:
        compose.compose(command, line, dirs, config_name)
    sweep = None
    if line.multirun:
        sweep = new_sweep_directory()
        overrides.append(f"hydra.sweep.dir={sweep.as_posix()}")
    outcome = [EXIT_DONE]

    def task(cfg: Any) -> None:
        composed = compose.from_task(command, cfg, line.typed, dirs, overrides)
        outcome[0] = guarded(lambda: execute(command, composed.config, composed.call))

    hydra_main(task, command, [*line.flags, *overrides])
    if sweep is not None:
        from gptforge.sweep import finish

        return finish(sweep)
    return outcome[0]


def hydra_main(task: Callable[[Any], None], command: str, argv: list[str]) -> None:
    """Calls hydra.main with a command line of ours."""
    import hydra

    compose.register_schemas()
    task.__module__ = f"gptforge.commands.{command}"  # Hydra names the job after it
    before = sys.argv
    sys.argv = ["gptforge", *argv]
    try:
        hydra.main(config_path=str(compose.conf_dir()), config_name=command, version_base=compose.HYDRA_VERSION_BASE)(
            task
        )()
    finally:
        sys.argv = before


def complete(words: list[str]) -> int:
    """The hidden command that the completion scripts call."""
    from gptforge.completion import candidates

    command = words[0] if len(words) > 1 else ""
    groups = compose.options(command, compose.conf_dirs([])) if command in SCHEMAS else {}
    print("\n".join(candidates(words, groups, {name: SCHEMAS.get(name, object) for name in COMMANDS})))
    return EXIT_DONE


def print_completion(words: list[str]) -> int:
    from gptforge.completion import script

    shells = ("bash", "zsh", "fish")
    if not words or words[0] not in shells:
        raise UsageError("for which shell?", fix=[f"gptforge completion {shell}" for shell in shells])
    print(script(words[0]))
    return EXIT_DONE


def unknown_command(command: str) -> UsageError:
    near = difflib.get_close_matches(command, COMMANDS, 1, 0.5)
    groups = compose.default_options("train")
    if "=" in command and command.partition("=")[0] in groups:
        return UsageError(f"no command before {command!r}", fix=f"gptforge train {command}")
    fix = f"gptforge {near[0]}" if near else "gptforge --help lists the commands: " + ", ".join(COMMANDS)
    return UsageError(f"there is no command {command!r}", fix=fix)


def say(text: str) -> None:
    """A message for people: on stderr, whatever its encoding; a closed stderr is no reason to fail."""
    with contextlib.suppress(OSError, ValueError):
        encoding = getattr(sys.stderr, "encoding", None) or "ascii"
        plain = text.replace("…", "...").replace("–", "-") if encoding.lower() not in ("utf-8", "utf8") else text
        sys.stderr.write(plain.encode(encoding, "replace").decode(encoding) + "\n")
        sys.stderr.flush()


def debug_traceback() -> None:
    if os.environ.get("GPTFORGE_DEBUG"):
        traceback.print_exc()
