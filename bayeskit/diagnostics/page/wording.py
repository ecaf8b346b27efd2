"""Numbers and names as a reader wants them."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

from markupsafe import Markup, escape

LONG_WORD = 12
"""Letters; a shorter word is never broken."""
_LONGEST = 24
_JOINTS = re.compile(r"(?<=[_.,/:=()\[\]\-])(?=[^\s_.,/:=()\[\]\-])")


def breakable(text: object) -> Markup:
    """Text as HTML, in which long names may wrap at their joints, and nothing else may."""
    words = re.split(r"(\s+)", str(text))
    return Markup("").join(_word(word) if len(word) > LONG_WORD else escape(word) for word in words)


def _word(word: str) -> Markup:
    parts: list[str] = []
    for piece in _JOINTS.split(word):
        parts += [piece[i : i + _LONGEST] for i in range(0, len(piece), _LONGEST)]
    joined: list[str] = [parts[0]]
    for before, part in itertools.pairwise(parts):
        # few letters alone at the end of a line, or on the next one, are worse than a longer line
        if len(joined[-1]) < 4 or (len(part) < 4 and len(before) < _LONGEST):
            joined[-1] += part
        else:
            joined.append(part)
    return Markup("<wbr>").join(escape(part) for part in joined)


def rounded(value: float, scale: float, digits: int = 2) -> str:
    """A number to as many decimals as `digits` digits of its scale (such as its standard deviation) have."""
    if not math.isfinite(value):
        return "undefined" if math.isnan(value) else "infinite"
    if not (math.isfinite(scale) and scale > 0):
        return f"{value:.4g}"
    decimals = digits - 1 - math.floor(math.log10(scale))
    if decimals > 6 or max(abs(value), scale) >= 1e7:
        return f"{value:.3g}"
    text = f"{round(value, decimals):,.{max(decimals, 0)}f}"
    return text.replace("-", "−").replace("−0", "0") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names in a sentence: ``a, b and c``, or ``a, b and 7 more``."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def counted(number: int, noun: str) -> str:
    """``1 chain``, ``4 chains``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def seconds(value: float) -> str:
    """A length of time."""
    if value >= 5400:
        return f"{value / 3600:.1f} h"
    return f"{value / 60:.1f} min" if value >= 90 else f"{value:.1f} s" if value >= 0.1 else f"{value:.3f} s"
