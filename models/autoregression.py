r"""An autoregression of the lynx trapped in Canada, on the logarithmic scale.

$$y_t \sim \mathrm{Normal}\Bigl(\alpha + \sum_{k=1}^{K} \phi_k\, y_{t-k}, \; \sigma\Bigr)$$

The first $K$ values are taken as given. Two lags are enough for the famous ten-year cycle (Moran 1953).
"""

import numpy as np
import numpyro
import numpyro.distributions as dist

ORDER = 2


def model(lags, y=None):
    """Row t of `lags` holds the values one, two, ... steps before `y[t]`."""
    alpha = numpyro.sample("alpha", dist.Normal(0.0, 2.0))
    with numpyro.plate("lag", lags.shape[1]):
        phi = numpyro.sample("phi", dist.Normal(0.0, 1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    with numpyro.plate("year", lags.shape[0]):
        numpyro.sample("y", dist.Normal(alpha + lags @ phi, sigma), obs=y)


def data(columns):
    """Base-10 logarithms, beside their own past."""
    y = np.log10(columns["trapped"])
    return {"lags": np.stack([y[ORDER - k : -k] for k in range(1, ORDER + 1)], axis=1), "y": y[ORDER:]}


def coords(columns):
    """Labels of the plates `lag` and `year`."""
    return {"lag": np.arange(1, ORDER + 1), "year": columns["year"][ORDER:]}
