"""The curves of a run: its losses, and how its steps went. Knows the columns of metrics.jsonl."""

import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence

from gptforge.config.units import shown_count
from gptforge.logs.drawing import LIGHT
from gptforge.logs.series import Point, reach, smoothed
from gptforge.report import curves, png
from gptforge.report.curves import Line, Picture, Reading
from gptforge.report.html import Markup, details, element, table
from gptforge.report.page import beside, figure, key, paragraph
from gptforge.report.run_files import Told

Evaluations = Sequence[Mapping[str, float]]

RULES = """
.switch { display: none; margin: 0.4rem 0; }
.switch label { margin-right: 1.2rem; cursor: pointer; }
@supports selector(:has(a)) {
  .switch { display: block; }
  .either:has(.of-linear:checked) > .log, .either:has(.of-log:checked) > .linear { display: none; }
}
@media print { .switch { display: none; } .either > .log, .either > .linear { display: block !important; } }
"""

MOST_ROWS = 200  # of evaluations in numbers

# Of training records: column, what it is called, how a value is written, and whether its mean says something
COURSE: tuple[tuple[str, str, Callable[[float], str], bool], ...] = (
    ("lr", "Learning rate", lambda v: f"{v:.3g}", False),
    ("grad_norm", "Gradient norm before clipping", lambda v: f"{v:.3g}", True),
    ("tokens_per_second", "Tokens a second", shown_count, True),
    ("data_wait", "Time spent waiting for data", lambda v: f"{100 * v:.3g}%", True),
)


def losses(train: Sequence[Point], evaluations: Evaluations, unit: str = "nats per token") -> Iterator[Markup]:
    """The losses of training and validation on linear and on logarithmic axes, and the evaluations in numbers."""
    val = [(one["step"], one["val_loss"]) for one in evaluations]
    if not train and not val:
        yield paragraph("No losses are recorded yet.")
        return
    pictures = [("linear", "linear axes", _losses(train, val, logarithmic=False))]
    if all(y > 0 and x > 0 for x, y in [*train, *val]):
        pictures.append(("log", "both axes logarithmic", _losses(train, val, logarithmic=True)))
    entries = [("training: each record, and smoothed", "first")] if train else []
    entries += [(f"validation, {_best(val)[1]}", "second")] if val else []
    parts = []
    if len(pictures) > 1:
        parts.append(element("p", *(_choice(name, said) for name, said, _ in pictures), class_="switch"))
    for name, said, picture in pictures:
        drawn = figure(f"Loss in {unit}, {said}", picture)
        parts.append(element("div", drawn, class_=name))
    yield element("div", *parts, class_="either")
    yield key(entries)
    if val:
        yield details("The evaluations in numbers", _numbers(evaluations))


def _choice(name: str, said: str) -> Markup:
    button = element("input", type="radio", name="axes", class_=f"of-{name}", checked="" if name == "linear" else None)
    return element("label", button, f" {said}")


def _losses(train: Sequence[Point], val: Sequence[Point], logarithmic: bool) -> Markup:
    losses, steps = reach(train, val), [x for x, _ in [*train, *val]]
    if logarithmic:
        x, y = curves.logarithmic(steps, 8), curves.logarithmic(losses, 6)
    else:
        x, y = curves.linear([0.0, *steps], 8, _step, round_ends=False), curves.linear(losses, 6)
    smooth = smoothed(train, y.high)
    best = _best(val) if val else None
    lines = [Line(train, "raw"), Line(smooth, "smooth"), Line(val, "val", dots=True)]
    places, read = _loss_readings(train, smooth, val)
    marked = (best[0], "" if logarithmic else best[1]) if best else None  # there the curve would be behind the words
    picture = Picture(x, y, lines, places, read, marked)
    ends = [f"{name} from {row[0][1]:.4g} to {row[-1][1]:.4g}" for name, row in _named(train, val) if row]
    label = f"Loss over {max(steps):,.0f} steps: {', '.join(ends)}" + (f"; {best[1]}" if best else "")
    return picture.drawn(label)


def _best(val: Sequence[Point]) -> tuple[Point, str]:
    best = min(val, key=lambda point: point[1])
    return best, f"best {best[1]:.4g} at step {best[0]:,.0f}"


def _named(train: Sequence[Point], val: Sequence[Point]) -> list[tuple[str, Sequence[Point]]]:
    return [("training", train), ("validation", val)]


def _loss_readings(
    train: Sequence[Point], smooth: Sequence[Point], val: Sequence[Point]
) -> tuple[list[float], Callable[[int], Reading]]:
    """At each training record its loss and that of the newest evaluation; without records, at each evaluation."""
    evaluated = [x for x, _ in val]

    def of_val(n: int) -> Reading:
        x, y = val[n]
        return Reading(f"step {x:,.0f}: validation {y:.4g}", [(val[n], "val")])

    def of_train(n: int) -> Reading:
        x, raw = train[n]
        mean = smooth[min(bisect.bisect_left(smooth, x, key=lambda point: point[0]), len(smooth) - 1)][1]
        text, dots = f"step {x:,.0f}: training {raw:.4g}", [((x, mean), "smooth")]
        if newest := bisect.bisect_right(evaluated, x):
            text += f", validation {val[newest - 1][1]:.4g}"
            dots.append((val[newest - 1], "val"))
        return Reading(text, dots)

    return ([x for x, _ in train], of_train) if train else (evaluated, of_val)


def _numbers(evaluations: Evaluations) -> Markup:
    heads = ("step", ">validation loss", ">bits per byte", ">perplexity", ">loss on training text")
    names = ("val_loss", "val_bpb", "val_ppl", "train_eval_loss")
    known = [n for n, name in enumerate(names) if n < 1 or any(name in one for one in evaluations)]
    heads, names = ("step", *(heads[n + 1] for n in known)), tuple(names[n] for n in known)
    shown = curves.spread([one["step"] for one in evaluations], MOST_ROWS)
    rows = [
        (f"{one['step']:,.0f}", *(f"{one[name]:.4f}" if name in one else "" for name in names))
        for one in (evaluations[n] for n in shown)
    ]
    less = f"{len(rows)} of {len(evaluations):,} evaluations, evenly spread" if len(rows) < len(evaluations) else ""
    return table(less or "Evaluations", heads, rows)


def png_of(told: Told) -> bytes:
    """The losses of a run as the bytes of a PNG file."""
    train = told.series.get("train_loss", [])
    val = [(one["step"], one["val_loss"]) for one in told.evaluations if "val_loss" in one]
    lines = [
        png.Curve("training", train, LIGHT["first"], faint=True),
        png.Curve("training, smoothed", smoothed(train), LIGHT["first"]),
        png.Curve("validation", val, LIGHT["second"], dots=True),
    ]
    return png.draw(lines, told.run.path.resolve().name, "step", "loss (nats per token)")


# How the steps went -------------------------------------------------------------------------------------------


def course(series: Mapping[str, Sequence[Point]]) -> Iterator[Markup]:
    """Learning rate, gradient norm, speed and waiting, side by side."""
    drawn = [_small(series[name], title, shown, mean) for name, title, shown, mean in COURSE if series.get(name)]
    if drawn:
        yield beside(*drawn)


def _small(points: Sequence[Point], title: str, shown: Callable[[float], str], mean: bool) -> Markup:
    values = sorted(y for _, y in points)
    x = curves.linear([0.0, *(x for x, _ in points)], 4, _step, round_ends=False)
    y = curves.linear([0.0, *_usual(values)], 3, shown)
    lines = [Line(points, "raw"), Line(smoothed(points, y.high), "smooth")] if mean else [Line(points, "smooth")]

    def read(n: int) -> Reading:
        at, value = points[n]
        return Reading(f"step {at:,.0f}: {shown(value)}", [(points[n], "smooth")])

    caption = f"{title}: {shown(values[len(values) // 2])} at the median" if mean else title
    label = f"{title} over {points[-1][0]:,.0f} steps: from {shown(points[0][1])} to {shown(points[-1][1])}, "
    label += f"at least {shown(values[0])}, at most {shown(values[-1])}"
    return figure(caption, Picture(x, y, lines, [at for at, _ in points], read, small=True).drawn(label))


def _usual(values: Sequence[float]) -> list[float]:
    """What the axis must hold of ascending values: all, unless a few stick out so far that the rest would be flat."""
    usual = 3 * values[int(0.95 * (len(values) - 1))]
    return [values[0], min(values[-1], usual) if usual > 0 else values[-1]]


def _step(step: float) -> str:
    return f"{step:,.0f}" if step < 10_000 else shown_count(step)
