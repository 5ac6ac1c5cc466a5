"""Whether a difference between two configurations is larger than what another seed alone makes.

Numbers in, numbers out; knows nothing of runs. Sources: B. L. Welch, The generalization of "Student's" problem when
several different population variances are involved, Biometrika 34 (1947); F. E. Satterthwaite, An approximate
distribution of estimates of variance components, Biometrics Bulletin 2 (1946); for the distribution of t the continued
fraction of the incomplete beta function, NIST DLMF 8.17.22.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

TINY = 1e-300  # stands for 0 in a continued fraction
WELCH, POOLED = "Welch's t-test", "t-test, pooled standard deviation"


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two means, `second` - `first`, with its confidence interval; `larger`: 0 is not in that."""

    difference: float
    low: float
    high: float
    degrees: float  # of freedom
    confidence: float
    method: str

    @property
    def larger(self) -> bool:
        return self.low > 0 or self.high < 0


def judged(
    first: Sequence[float], second: Sequence[float], others: Sequence[Sequence[float]] = (), confidence: float = 0.95
) -> Difference | None:
    """The difference of the means of two groups of repeats. None where no group has a spread to judge it by.

    Two groups that both have repeats are judged by their own spreads (Welch). A group of one has none: then it is the
    pooled standard deviation of all groups that have repeats, `others` too, as if the noise of all were equal.
    """
    difference = fmean(second) - fmean(first)
    if min(len(first), len(second)) > 1:
        parts = [variance(group) / len(group) for group in (first, second)]
        squared = sum(parts)
        if squared <= 0:
            return None
        degrees = 1 / sum((p / squared) ** 2 / (len(g) - 1) for p, g in zip(parts, (first, second), strict=True))
        return _interval(difference, math.sqrt(squared), degrees, confidence, WELCH)
    repeated = [group for group in (first, second, *others) if len(group) > 1]
    degrees = sum(len(group) - 1 for group in repeated)
    squares = sum(variance(group) * (len(group) - 1) for group in repeated)
    if squares <= 0:
        return None
    error = math.sqrt(squares / degrees * (1 / len(first) + 1 / len(second)))
    return _interval(difference, error, degrees, confidence, POOLED)


def _interval(difference: float, error: float, degrees: float, confidence: float, method: str) -> Difference:
    reach = t_quantile((1 + confidence) / 2, degrees) * error
    return Difference(difference, difference - reach, difference + reach, degrees, confidence, method)


def t_quantile(share: float, degrees: float) -> float:
    """The t below which a `share` of Student's distribution lies, 0.5 <= share < 1, degrees > 0."""
    low, high = 0.0, 1.0
    while t_below(high, degrees) < share:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_below(middle, degrees) < share else (low, middle)
    return high


def t_below(t: float, degrees: float) -> float:
    """The share of Student's distribution that lies below t."""
    square = t * t
    if square < degrees:  # the share of what is near 0: of a number near 1 the last digits would be lost
        tail = (1 - incomplete_beta(square / (degrees + square), 0.5, degrees / 2)) / 2
    else:
        tail = incomplete_beta(degrees / (degrees + square), degrees / 2, 0.5) / 2
    return 1 - tail if t >= 0 else tail


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function I_x(a, b), 0 <= x <= 1, a and b > 0."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction would converge slowly
        return 1 - incomplete_beta(1 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(front) * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction 1/(1 + d1/(1 + d2/(1 + ...))) of DLMF 8.17.22, from its top (Lentz's method)."""
    value = numerator = 1.0
    denominator = 0.0
    for n in range(1, 10_000):
        m = n // 2
        if n % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        denominator = 1 / _not_zero(1 + term * denominator)
        numerator = _not_zero(1 + term / numerator)
        value *= numerator * denominator
        if abs(numerator * denominator - 1) < 1e-15:
            break
    return 1 / value


def _not_zero(value: float) -> float:
    return value if abs(value) > TINY else TINY
