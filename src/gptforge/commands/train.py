"""gptforge train: build everything, claim a run directory, train."""

from gptforge.checkpoint import first_sound
from gptforge.config import TrainConfig
from gptforge.config.saved import as_saved
from gptforge.logs import make_console_sink
from gptforge.notices import slow_work
from gptforge.runs import Call, Run, candidates, read_json, run_name
from gptforge.signals import StopSignals
from gptforge.tokenizers import load_tokenizer
from gptforge.train.parts import Parts, build_parts
from gptforge.train.plan import make_plan
from gptforge.train.trainer import Trainer


def run(cfg: TrainConfig, call: Call) -> int:
    """Trains, or goes on with cfg.resume. Nothing is written before the config, the text and the model are sound."""
    with StopSignals() as signals:
        return resume(cfg, call, signals) if cfg.resume else begin(cfg, call, signals)


def begin(cfg: TrainConfig, call: Call, signals: StopSignals) -> int:
    parts, dist = build_parts(cfg, on_progress=slow_work(cfg.ui))
    if cfg.dry_run:
        return show(cfg, parts, call)
    name = run_name(cfg.data.source, call.choices.get("model", "custom"))
    place = Run.create(as_saved(cfg, call.choices), name, call)
    Trainer(cfg, place, dist, parts, call, signals).fit()
    return 0


def resume(cfg: TrainConfig, call: Call, signals: StopSignals) -> int:
    """Goes on from the newest sound checkpoint; a run that has none yet begins anew."""
    place = Run.find(str(cfg.resume))
    with place.locked():
        pass  # a run that still trains is refused before its checkpoints are looked at
    path, warnings = None, ["it has no checkpoint yet and begins anew"]
    tokenizer, decisions = None, None
    if place.steps():
        path, warnings = first_sound(candidates(str(cfg.resume)))
        tokenizer = load_tokenizer(path, cfg.tokenizer.unknown)
        decisions = read_json(path / "decisions.json", "the saved decisions")
    parts, dist = build_parts(cfg, tokenizer, decisions, slow_work(cfg.ui))
    if cfg.dry_run:
        return show(cfg, parts, call)
    Trainer(cfg, place, dist, parts, call, signals).fit(path, warnings)
    return 0


def show(cfg: TrainConfig, parts: Parts, call: Call) -> int:
    """Tells what would run, and makes nothing."""
    sink = make_console_sink(cfg.ui)
    sink.start(make_plan(cfg, parts, call.choices, "none, dry_run=true"), None, None, 0)
    sink.close()
    return 0
