"""gptforge train: build everything, claim a run directory, train."""

from gptforge.checkpoint import first_sound
from gptforge.config import TrainConfig
from gptforge.config.saved import as_saved
from gptforge.logs import make_console_sink
from gptforge.notices import slow_work
from gptforge.runs import Call, Run, candidates, read_json, run_name
from gptforge.signals import StopSignals
from gptforge.tokenizers import load_tokenizer
from gptforge.train.parts import build_parts
from gptforge.train.plan import make_plan
from gptforge.train.trainer import Trainer


def run(cfg: TrainConfig, call: Call) -> int:
    """Trains, or goes on with cfg.resume. Nothing is written before the config, the text and the model are sound."""
    with StopSignals() as signals:
        return resume(cfg, call, signals) if cfg.resume else begin(cfg, call, signals)


def begin(cfg: TrainConfig, call: Call, signals: StopSignals) -> int:
    parts, dist = build_parts(cfg, on_progress=slow_work(cfg.ui))
    if cfg.dry_run:
        sink = make_console_sink(cfg.ui)
        sink.start(make_plan(cfg, parts, call.choices, "none, dry_run=true"), None, None, 0)
        sink.close()
        return 0
    name = run_name(cfg.data.source, call.choices.get("model", "custom"))
    place = Run.create(as_saved(cfg, call.choices), name, call)
    Trainer(cfg, place, dist, parts, call, signals).fit()
    return 0


def resume(cfg: TrainConfig, call: Call, signals: StopSignals) -> int:
    """Goes on from the newest sound checkpoint; a run that has none yet begins anew."""
    text = str(cfg.resume)
    place = Run.find(text)
    paths = candidates(text) if place.steps() else []
    if not paths:
        parts, dist = build_parts(cfg, on_progress=slow_work(cfg.ui))
        Trainer(cfg, place, dist, parts, call, signals).fit(None, ["it has no checkpoint yet and begins anew"])
        return 0
    path, warnings = first_sound(paths)
    saved = read_json(path / "decisions.json", "the saved decisions")
    parts, dist = build_parts(cfg, load_tokenizer(path, cfg.tokenizer.unknown), saved, slow_work(cfg.ui))
    Trainer(cfg, place, dist, parts, call, signals).fit(path, warnings)
    return 0
