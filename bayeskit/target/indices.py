"""The check of what data and latent values index, before a run and where its chains start."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from bayeskit._typing import Values
from bayeskit.program.indices import IndexCheck
from bayeskit.target.density import observations

if TYPE_CHECKING:
    from bayeskit.target.target import Target


def index_check(target: Target) -> Callable[[Values], None]:
    """Check the indices that the data decide, and those made of discrete latent sites, which take all of their values;
    and give a function that checks the others at starting points.

    Raises:
        DataError: data that index past the end of an array.
        ModelError: so does a constant or a discrete site.
    """
    anywhere = target.structure.origin()
    check = IndexCheck(target.program, observations, anywhere, target.structure)
    check.of_data(anywhere)

    def at(positions: Values) -> None:
        if not check.depends_on_values:
            return
        host = {name: np.asarray(value) for name, value in positions.items()}
        for chain in range(min(map(len, host.values()), default=0)):
            check.at({name: value[chain] for name, value in host.items()}, f"the start of chain {chain}")

    return at
