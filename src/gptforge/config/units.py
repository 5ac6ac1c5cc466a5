"""Values with a unit in one text: durations, and lengths that are steps or durations."""

import re

SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(s|min|m|h|d|)")


def duration(text: str) -> float:
    """Seconds in '90', '90s', '3m', '1.5h' or '1h30m'. Raises ValueError for anything else, and for 0."""
    squeezed = text.replace(" ", "").lower()
    parts = _PART.findall(squeezed)
    if (
        not parts
        or "".join(n + unit for n, unit in parts) != squeezed
        or (len(parts) > 1 and "" in dict(parts).values())
    ):
        raise ValueError("a duration is needed, such as 90s, 3m or 1h30m")
    seconds = sum(float(n) * SECONDS[unit] for n, unit in parts)
    if not 0 < seconds < 1e9:
        raise ValueError("a duration above 0 is needed, such as 90s, 3m or 1h30m")
    return seconds


def steps_or_duration(text: str) -> tuple[int | None, float | None]:
    """(steps, None) for a whole number, (None, seconds) for a duration with its unit."""
    squeezed = text.replace("_", "").strip()
    if squeezed.isdigit():
        if int(squeezed) < 1:
            raise ValueError("at least 1 step is needed")
        return int(squeezed), None
    if not squeezed[-1:].isalpha():
        raise ValueError("whole steps (200) or a time with its unit (10m) are needed")
    return None, duration(text)


def shown_seconds(seconds: float) -> str:
    """'8.3s', '2m05s' or '1h02m'."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    if seconds < 3600:
        return f"{int(seconds // 60)}m{int(seconds % 60):02}s"
    return f"{int(seconds // 3600)}h{int(seconds % 3600 // 60):02}m"


def shown_count(n: float) -> str:
    """'950', '12.3k', '1.60M', '175B'."""
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            return f"{n / size:.3g}{suffix}"
    return f"{n:.0f}" if float(n).is_integer() else f"{n:.3g}"


def shown_bytes(n: float) -> str:
    """'812 B', '3.2 MB', '1.1 GB' (powers of 1000)."""
    for size, suffix in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n >= size:
            return f"{n / size:.1f} {suffix}"
    return f"{n:.0f} B"
