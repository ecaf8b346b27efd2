r"""Logistic regression: is a tumour benign, given the shape of its cell nuclei?

$$y_i \sim \mathrm{Bernoulli}\bigl(\mathrm{logit}^{-1}(\alpha + x_i^\top \beta)\bigr), \qquad
  \beta_k \sim \mathrm{Normal}(0, 1)$$

The features are standardised, so that one prior suits all of them; radius, perimeter and area say nearly the same,
which makes their weights strongly correlated.
"""

import numpy as np
import numpyro
import numpyro.distributions as dist

OUTCOME = "benign"


def model(x, y=None):
    """`x` has a row a tumour and a standardised column a feature; `y` is 1 for benign."""
    alpha = numpyro.sample("alpha", dist.Normal(0.0, 2.5))
    with numpyro.plate("feature", x.shape[1]):
        beta = numpyro.sample("beta", dist.Normal(0.0, 1.0))
    with numpyro.plate("tumour", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=alpha + x @ beta), obs=y)


def data(columns):
    """Standardise every column but the outcome."""
    x = np.stack([column for name, column in columns.items() if name != OUTCOME], axis=1)
    return {"x": (x - x.mean(axis=0)) / x.std(axis=0), "y": columns[OUTCOME]}


def coords(columns):
    """Labels of the plate `feature`."""
    return {"feature": [name for name in columns if name != OUTCOME]}
