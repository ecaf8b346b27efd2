"""What may have been meant by a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: object, known: Iterable[str], otherwise: str = "") -> str:
    """The end of an error message about an unknown name.

    Args:
        name: what was given.
        known: the names that there are.
        otherwise: begins the list of these where none is close, as in ``"it has"``; without it nothing is listed.

    Example:
        >>> from bayeskit._spelling import did_you_mean
        >>> did_you_mean("slop", ["slope", "sigma"])
        "; did you mean 'slope'?"
        >>> did_you_mean("x", ["slope", "sigma"], "the model has")
        '; the model has slope, sigma'
    """
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; {otherwise} {', '.join(names) or 'none'}" if otherwise else ""
