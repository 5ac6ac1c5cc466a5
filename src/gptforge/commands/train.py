"""gptforge train: build everything, claim a run directory, train."""

from gptforge.checkpoint import to_go_on_from
from gptforge.config import TrainConfig
from gptforge.config.saved import as_saved
from gptforge.dist import Dist
from gptforge.jsonfile import read_json
from gptforge.launch import place
from gptforge.logs import Sink, make_console_sink
from gptforge.notices import slow_work
from gptforge.runs import Call, Run, run_name
from gptforge.signals import StopSignals
from gptforge.tokenizers import load_tokenizer
from gptforge.trackers import found
from gptforge.train.parts import Parts, build_parts
from gptforge.train.plan import make_plan
from gptforge.train.trainer import Trainer


def run(cfg: TrainConfig, call: Call) -> int:
    """Trains, or goes on with cfg.resume. Nothing is written before the config, the text and the model are sound."""
    with place(cfg.parallel) as (dist, signals):
        dist.first(lambda: found.check(cfg.tracker, "tracker"))
        return resume(cfg, call, dist, signals) if cfg.resume else begin(cfg, call, dist, signals)


def begin(cfg: TrainConfig, call: Call, dist: Dist, signals: StopSignals) -> int:
    parts, dist = build_parts(cfg, on_progress=slow_work(cfg.ui), dist=dist)
    if cfg.dry_run:
        return show(cfg, parts, call, dist)
    name = run_name(cfg.data.source, call.choices.get("model", "custom"))
    where = dist.first(lambda: Run.create(as_saved(cfg, call.choices), name, call))
    Trainer(cfg, where, dist, parts, call, signals).fit()
    return 0


def resume(cfg: TrainConfig, call: Call, dist: Dist, signals: StopSignals) -> int:
    """Goes on from the newest sound checkpoint; a run that has none yet begins anew."""
    where, path, warnings = dist.first(lambda: to_go_on_from(str(cfg.resume)))
    tokenizer = load_tokenizer(path, cfg.tokenizer.unknown) if path else None
    decisions = read_json(path / "decisions.json", "the saved decisions") if path else None
    parts, dist = build_parts(cfg, tokenizer, decisions, slow_work(cfg.ui), dist)
    if cfg.dry_run:
        return show(cfg, parts, call, dist)
    Trainer(cfg, where, dist, parts, call, signals).fit(path, warnings)
    return 0


def show(cfg: TrainConfig, parts: Parts, call: Call, dist: Dist) -> int:
    """Tells what would run, and makes nothing."""
    sink = make_console_sink(cfg.ui) if dist.main else Sink()
    sink.start(make_plan(cfg, parts, call.choices, "none, dry_run=true"), None, None, 0)
    sink.close()
    return 0
