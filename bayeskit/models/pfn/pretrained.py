"""Networks that come with the package."""

from __future__ import annotations

import functools
from pathlib import Path

from bayeskit._settings import check_choice
from bayeskit.models.pfn.net import Net, load

__all__ = ["pretrained"]

NETS = ("regression", "tables")
_HOME = Path(__file__).parent / "nets"


@functools.cache
def pretrained(name: str) -> Net:
    """A network that comes with the package, so that nothing need be trained to begin with.

    ================ ================================================================================================
    ``"regression"`` curves of one input, up to 101 rows: :class:`bayeskit.models.pfn.priors.Curve`. For data in other
                     units use ``PFNRegressor(net, standardise=True)``.
    ``"tables"``     up to four classes from tables, up to 64 rows of 32 columns:
                     :class:`bayeskit.models.pfn.priors.Table`. Use it by ``PFNClassifier(net)``.
    ================ ================================================================================================

    The scripts that trained them are `benchmarks/pfn_pretrain_regression.py` and `benchmarks/pfn_pretrain_tables.py`.

    Args:
        name: which.

    Raises:
        MethodError: there is no such network.

    Example:
        >>> import numpy as np
        >>> from bayeskit.models import pfn
        >>> x = np.linspace(0.0, 10.0, 20)[:, None]
        >>> model = pfn.PFNRegressor(pfn.pretrained("regression"), standardise=True).fit(x, np.sin(x[:, 0]))
        >>> bool(abs(model.predict([[2.2]])[0] - np.sin(2.2)) < 0.2)
        True
    """
    check_choice("name", name, NETS)
    return load(_HOME / f"{name}.nc")
