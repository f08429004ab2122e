"""
E-processes of the pilot against the control: how strongly both counts speak against a line of rates.

The rules (derivations are in docs/method.md):

1. The null is a line: the pilot's bad rate is at most `shift + slope` times the control's. A share
   of the control's good rate, of its bad rate, or a number of points are such lines (`dip`, `rise`,
   `points`).
2. A bet is on one rate for each arm. It is divided by the point of the line that is closest to it
   for these numbers of units, so its mean is at most 1 on the whole null (Turner, Ly, Gruenwald 2024,
   arXiv:2106.02693; Turner & Gruenwald for lines of effect sizes).
3. Each stretch of time is its own stratum, so what the time of day does to both arms cancels.
4. The control's rate is learnt from control units of the past only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from controller.eprocess import CAP, Cell, clamped, odds_times, spent

DIPS = (1.3, 2.0, 4.0)  # odds ratios of the bets on the pilot's rate to the line
_PRIOR = (1.0, 10)  # bad units and units that the control's rate begins with
_HALVINGS = 45  # of the interval in which the closest point lies


class Line(NamedTuple):
    """Where the null ends: the pilot's bad rate = shift + slope x the control's."""

    shift: float
    slope: float


def dip(share: float) -> Line:
    """The pilot's good rate is *share* below the control's."""
    return Line(share, 1 - share)


def rise(share: float) -> Line:
    """The pilot's bad rate is *share* above the control's."""
    return Line(0.0, 1 + share)


def points(share: float) -> Line:
    """The pilot's bad rate is *share* more than the control's, in points of a rate."""
    return Line(share, 1.0)


class Stratum(NamedTuple):
    """Units of both arms in the same stretch of time, which ends with cell `at`."""

    at: int
    n: int
    bad: float
    control_n: int
    control_bad: float


def strata(pilot: Iterable[Cell], control: Iterable[Cell], *, least: int = 5) -> list[Stratum]:
    """
    Stretches of whole cells in which each arm has *least* units; an unfinished last one waits.

    Where they end depends on how many units came, never on outcomes, so the bets stay fair.
    """
    arms = {at: (n, bad, 0, 0) for at, n, bad in pilot}
    for at, n, bad in control:
        arms[at] = (*arms.get(at, (0, 0))[:2], n, bad)
    done = []
    n = bad = control_n = control_bad = 0
    for at in sorted(arms):
        a, b, c, d = arms[at]
        n, bad, control_n, control_bad = n + a, bad + b, control_n + c, control_bad + d
        if n >= least and control_n >= least:
            done.append(Stratum(at, n, bad, control_n, control_bad))
            n = bad = control_n = control_bad = 0
    return done


def projection(n: int, q: float, control_n: int, control_q: float, *, line: Line) -> tuple[float, float]:
    """
    The rates on *line* that are closest to (q, control_q): they minimise
    n KL(q || pilot) + control_n KL(control_q || control), which is convex along it; by bisection.
    """
    shift, slope = line
    # The closest point lies between the two rates' own: where the control is as bet, and where the pilot is.
    low, high = control_q, clamped((q - shift) / slope)
    for _ in range(_HALVINGS):
        control = (low + high) / 2
        pilot = shift + slope * control
        rising = n * slope * (pilot - q) / (pilot * (1 - pilot)) + control_n * (control - control_q) / (
            control * (1 - control)
        )
        low, high = (low, control) if rising > 0 else (control, high)
    control = (low + high) / 2
    return shift + slope * control, control


@lru_cache(maxsize=1 << 16)  # every pass asks again of the same past
def factors(stratum: Stratum, control_q: float, *, line: Line) -> tuple[float, ...]:
    """
    Log factors of one stratum, one for each of DIPS; *control_q* is what the past says of the control's rate.
    """
    _, n, bad, control_n, control_bad = stratum
    log, logs = math.log, []
    for factor in DIPS:
        on_line = clamped(line.shift + line.slope * control_q)
        q = clamped(odds_times(on_line, factor))
        if q <= line.shift + line.slope * control_q:  # no room above the line: nothing to bet on
            logs.append(0.0)
            continue
        pilot, control = projection(n, q, control_n, control_q, line=line)
        logs.append(
            bad * log(q / pilot)
            + (n - bad) * log((1 - q) / (1 - pilot))
            + control_bad * log(control_q / control)
            + (control_n - control_bad) * log((1 - control_q) / (1 - control))
        )
    return tuple(logs)


def e_two_arms(found: Sequence[Stratum], *, line: Line) -> float:
    """The e-value with restarts that the pilot is beyond *line*."""
    past_bad, past_n = _PRIOR
    states, before, top = [0.0] * len(DIPS), 0.0, math.exp(CAP)
    for stratum in found:
        mass, before = spent(stratum.at) - before, spent(stratum.at)
        logs = factors(stratum, past_bad / past_n, line=line)
        states = [min(math.exp(min(x, CAP)) * (state + mass), top) for x, state in zip(logs, states, strict=True)]
        past_n, past_bad = past_n + stratum.control_n, past_bad + stratum.control_bad
    return sum(states) / len(states)
