"""gptforge COMMAND [group=option] [key=value] ...: one Hydra app per command.

Hydra has no subcommands, so the command is taken off first. The rest is understood
(arguments.py), composed and checked (compose.py) before anything is created or torch imported;
then hydra.main runs the command, which gives --multirun and --cfg. Here errors become exit codes.
"""

import atexit
import contextlib
import dataclasses
import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptforge import __version__, compose, usage
from gptforge.arguments import HELP, RUN_DIR, SWEEP_DIR, Grammar, Line, config_dirs, parse, quoted, split_command
from gptforge.config import SCHEMAS, SweepConfig
from gptforge.errors import (
    EXIT_BUG,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_STOPPED,
    CheckpointError,
    Stopped,
    UsageError,
    UserError,
    from_os_error,
    missing_extra,
)
from gptforge.notices import say
from gptforge.runs import Call, candidates, find_sweep, held, new_sweep_directory
from gptforge.signals import NOT_BEGUN, end_at_once, follow_parent, turn_deaf
from gptforge.usage import COMMANDS

if TYPE_CHECKING:
    from gptforge.sweep.points import Sweep

MANY_POINTS = 100  # of a sweep, more than anybody types by hand
# The keys of SweepConfig that are not settled when a sweep begins
ON_RESUME = ("n_jobs", "fail_fast", "retry", "yes", "launcher", "launcher_options")


def main() -> None:
    """The console script: its exit code says how the work went, whenever a signal comes."""
    words = sys.argv[1:]
    atexit.register(turn_deaf)  # the first to be registered is the last to be called
    if words[:1] == ["train"] and not {"-m", "--multirun"} & set(words):  # a sweep has a folder to clear away
        end_at_once(EXIT_STOPPED, NOT_BEGUN)
    follow_parent()
    code = guarded(lambda: flushed(dispatch(words)))
    end_at_once(code)
    if trackers_left_behind():
        os._exit(code)
    sys.exit(code)


def trackers_left_behind() -> bool:
    """Whether a tracker has failed or hangs. What its library has registered for the end may wait for a network."""
    courier = sys.modules.get("gptforge.trackers.courier")  # which is not imported for the sake of this question
    return courier is not None and bool(courier.left_behind)


def flushed(code: int) -> int:
    """Writes out what is still held back, here, where a reader that went away is no error."""
    if sys.stdout is not None:  # it is None when it was closed from the start
        sys.stdout.flush()
    return code


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
    if not argv or argv[0] in HELP or argv == ["help"]:
        print(usage.usage())
        return EXIT_DONE
    if argv[0] == "help":
        argv = [*argv[1:], "--help"]
    command, rest = split_command(argv, COMMANDS)
    if command in ("--version", "-V", "version"):
        print(f"gptforge {__version__}")
        return EXIT_DONE
    if command == "__complete":
        return complete(rest)
    if command not in COMMANDS:
        raise unknown_command(command, rest)
    if command == "completion":
        return print_completion(rest)
    return run(command, rest)


def run(command: str, tokens: list[str]) -> int:
    """Understands and checks a command line, then runs it."""
    dirs = compose.conf_dirs(config_dirs(tokens))
    grammar = Grammar(command, SCHEMAS[command], compose.options(command, dirs), COMMANDS[command].positionals)
    line = parse(tokens, grammar)
    if line.help:
        print(usage.command_help(command, dirs))
        return EXIT_DONE
    if line.multirun and not COMMANDS[command].sweeps:
        raise UsageError(f"{command} has no -m", fix="gptforge train -m … runs one training for each combination")
    for path in compose.shadowed(dirs):
        say(f"gptforge: warning: {path} is not read, gptforge has an option of that name; rename it")
    if "init" in line.free and not {"resume", "config"} & set(line.free):
        line = imported_first(command, line, dirs)
    if line.multirun and "config" not in line.free:
        return sweep(command, line, dirs)
    saved = compose.from_command_line(command, line, grammar)
    if saved is not None:
        return execute(command, saved.config, saved.call)
    return single(command, line, dirs)


def imported_first(command: str, line: Line, dirs: list[Path]) -> Line:
    """The line with the run that init= means in place of a model of another program, which becomes one now."""
    text = line.free["init"]
    others = [override for override in line.overrides if override.partition("=")[0] != "init"]
    try:
        newest = str(candidates(text)[0])
    except CheckpointError:
        from gptforge.interop import importing

        if not importing.is_source(text):
            raise
        if not line.multirun:
            compose.compose(command, dataclasses.replace(line, overrides=others), dirs)  # nothing is made for a mistake
        run, new = importing.imported(text, Call(line.typed))
        say(f"init={text} is {run.path}, {'imported now' if new else 'imported before'}")
        newest = run.pointer_name
    else:
        if not line.multirun:
            return line
    # Points of a sweep that begin one after the other begin with the same weights, whatever `latest` is by then
    return dataclasses.replace(line, overrides=[*others, f"init={quoted(newest)}"], free=line.free | {"init": newest})


def execute(command: str, config: Any, call: Call) -> int:
    """The command, here or on as many processes as its config asks for."""
    if command == "train" and config.parallel.kind != "none":
        from gptforge import launch

        if (count := launch.processes(config)) > 1:
            return launch.run(in_place, (command, config, call), count)
    return perform(command, config, call)


def in_place(command: str, config: Any, call: Call) -> int:
    """The command as one of several processes: what they have to say, one of them says."""
    code = guarded(lambda: flushed(perform(command, config, call)))
    if trackers_left_behind():
        atexit.register(os._exit, code)  # the last to be registered is the first to be called
    return code


def perform(command: str, config: Any, call: Call) -> int:
    """The command itself: gptforge.commands.COMMAND.run(config, call)."""
    return importlib.import_module(f"gptforge.commands.{compose.file_name(command)}").run(config, call)


def single(command: str, line: Line, dirs: list[Path]) -> int:
    """One job through hydra.main, after its config has been composed and checked."""
    composed = compose.compose(command, line, dirs)
    outcome = [EXIT_DONE]

    def task(_: Any) -> None:
        outcome[0] = guarded(lambda: execute(command, composed.config, composed.call))

    # Hydra makes hydra.run.dir before the job runs; ours is made when there is something to put into it
    hydra_main(task, command, line, dirs, f"{RUN_DIR}={compose.UNSET_DIR}")
    return outcome[0]


def sweep(command: str, line: Line, dirs: list[Path]) -> int:
    """The points of a sweep through hydra.main and our launcher, then their table; or one that goes on."""
    from gptforge import launchers
    from gptforge.sweep.points import read
    from gptforge.sweep.run import finish
    from gptforge.trackers.found import check

    typed = compose.sweep_keys(line)
    if "resume" in line.free:
        return go_on_with_sweep(line, typed, dirs)
    compose.check_readable(command, line.overrides)
    if "dry_run=true" in line.overrides:
        raise UsageError("dry_run=true shows one run, not a sweep", fix="leave out -m, or dry_run=true")
    cfg = SweepConfig(**typed)
    if cfg.search == "tpe" and importlib.util.find_spec("optuna") is None:
        raise missing_extra("search", "search=tpe")
    compose.check_ranges(line.overrides)
    check(compose.texts_of("tracker", line.overrides), "tracker")
    launchers.check(cfg)
    agree(cfg, compose.points_of(line.overrides) if cfg.search == "grid" else cfg.trials)
    with new_sweep_directory(line.free.get(SWEEP_DIR)) as directory:
        place = f"{SWEEP_DIR}={quoted(directory.as_posix())}"
        hydra_main(lambda _: None, command, line, dirs, *compose.of_the_sweep(cfg), place)
        return finish(read(directory), keep)


def go_on_with_sweep(line: Line, typed: dict[str, Any], dirs: list[Path]) -> int:
    """A sweep that was interrupted, or of which some points failed. What its points are was settled at its start."""
    from gptforge import launchers
    from gptforge.sweep.points import read
    from gptforge.sweep.run import finish, go_on

    if other := [name for name in (*sorted(line.named), *typed) if name not in ("resume", *ON_RESUME)]:
        what = f"{other[0]} cannot change: the points of a sweep are settled when it begins"
        raise UsageError(what, fix=f"leave it out; what may be given is {', '.join(ON_RESUME)}")
    path = find_sweep(line.free["resume"])
    sweep = read(path)
    if not sweep.words:
        launchers.check(dataclasses.replace(sweep.cfg, **typed))
        return go_on(path, typed, keep, launchers.launch)
    cfg = dataclasses.replace(sweep.cfg, **{"retry": False, "yes": False, **typed})
    again = Line(overrides=sweep.words, flags=["--multirun"])
    with held(path):
        place = f"{SWEEP_DIR}={quoted(path.as_posix())}"
        hydra_main(lambda _: None, "train", again, dirs, *compose.of_the_sweep(cfg), place)
        return finish(read(path), keep)


def keep(swept: "Sweep") -> Path | None:
    """What a sweep leaves for its reader: the page, and the best point as an option, if there is one."""
    from gptforge import best
    from gptforge.report import sweep_page

    written = best.write(swept)
    try:
        say(f"the report with pictures is {sweep_page.write(swept.path)}")
    except OSError as e:
        say(f"gptforge: warning: the report cannot be written: {e.strerror or e}")
    return written


def agree(cfg: SweepConfig, n: int) -> None:
    """Asks before a sweep of very many points, which may be a typing error. Raises UsageError if it is not wanted."""
    if n <= MANY_POINTS or cfg.yes:
        return
    if sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None and sys.stderr.isatty():
        say(f"this is a sweep of {n:,} points. Begin it? [y/N]")
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
        raise UsageError("nothing was begun")
    fixes = ["yes=true begins it", "search=random trials=20 draws some of them"]
    raise UsageError(f"this is a sweep of {n:,} points", fix=fixes)


def hydra_main(task: Callable[[Any], None], command: str, line: Line, dirs: list[Path], *more: str) -> None:
    """Calls hydra.main with a command line of ours, and `more` overrides; its errors become ours."""
    import hydra

    compose.register_schemas()
    task.__module__ = f"gptforge.commands.{compose.file_name(command)}"  # Hydra names the job after it
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["gptforge", *line.flags, *compose.search_path(dirs), *line.overrides, *more]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing and exiting
    decorate = hydra.main(
        config_path=str(compose.conf_dir()),
        config_name=compose.file_name(command),
        version_base=compose.HYDRA_VERSION_BASE,
    )
    try:
        decorate(task)()
    except SystemExit as e:  # Hydra has said why, such as a package that --cfg does not find
        raise SystemExit(UsageError.exit_code if e.code else EXIT_DONE) from e
    except OSError as e:
        raise from_os_error(e, "the sweep cannot be written") from e
    except Exception as e:
        raise compose.explained(e, command, line.overrides) from e
    finally:
        sys.argv = argv
        os.environ.pop("HYDRA_FULL_ERROR")
        if full_error is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error


def complete(words: list[str]) -> int:
    """The hidden command that the completion scripts call."""
    from gptforge.completion import candidates

    command, _ = split_command(words[:-1], COMMANDS)
    groups = compose.options(command, compose.conf_dirs([])) if command in SCHEMAS else {}
    print("\n".join(candidates(words, groups, {name: SCHEMAS.get(name, object) for name in COMMANDS})))
    return EXIT_DONE


def print_completion(words: list[str]) -> int:
    from gptforge.completion import SHELLS, script

    if words in (["-h"], ["--help"]):
        print(f"usage: gptforge completion {'|'.join(SHELLS)}\n\n{COMMANDS['completion'].what}")
    elif len(words) != 1 or words[0] not in SHELLS:
        raise UsageError("for which shell?", fix=[f"gptforge completion {shell}" for shell in SHELLS])
    else:
        print(script(words[0]))
    return EXIT_DONE


def unknown_command(command: str, rest: list[str]) -> UsageError:
    if longer := [name for name in COMMANDS if name.startswith(f"{command} ")]:
        what = f"there is no command '{command} {rest[0]}'" if rest and rest[0] not in HELP else f"{command} what?"
        return UsageError(what, fix=[f"gptforge {name}" for name in longer])
    near = difflib.get_close_matches(command, COMMANDS, 1, 0.5)
    groups = compose.default_options("train")
    if "=" in command and command.partition("=")[0] in groups:
        return UsageError(f"no command before {command!r}", fix=f"gptforge train {command}")
    fix = f"gptforge {near[0]}" if near else "gptforge --help lists the commands: " + ", ".join(COMMANDS)
    return UsageError(f"there is no command {command!r}", fix=fix)


def debug_traceback() -> None:
    if os.environ.get("GPTFORGE_DEBUG"):
        traceback.print_exc()
