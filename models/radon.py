r"""Radon in the houses of Minnesota: a hierarchical regression, counties non-centred.

A house $i$ in county $j$ has log radon

$$y_i \sim \mathrm{Normal}(\alpha_j + \beta\, \mathrm{floor}_i, \sigma), \qquad
  \alpha_j = \mu + \gamma u_j + \tau z_j, \quad z_j \sim \mathrm{Normal}(0, 1)$$

where $u_j$ is the log uranium in the county's soil (Gelman and Hill 2007, chapter 12).
Counties with few houses lean on the regression line of all counties; those with many stand on their own.
"""

import numpy as np
import numpyro
import numpyro.distributions as dist


def model(county, floor, log_uranium, log_radon=None):
    """`county` and `floor` have an entry a house, `log_uranium` one a county; without `log_radon` it predicts."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    gamma = numpyro.sample("gamma", dist.Normal(0.0, 1.0))
    beta = numpyro.sample("beta", dist.Normal(0.0, 1.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    with numpyro.plate("county", log_uranium.shape[0]):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        alpha = numpyro.deterministic("alpha", mu + gamma * log_uranium + tau * z)
    with numpyro.plate("house", county.shape[0]):
        numpyro.sample("log_radon", dist.Normal(alpha[county] + beta * floor, sigma), obs=log_radon)


def data(columns):
    """County names become indices, and the uranium of a county is kept once."""
    _, first_house, county = np.unique(columns["county"], return_index=True, return_inverse=True)
    return {
        "county": county,
        "floor": columns["floor"],
        "log_uranium": columns["log_uranium"][first_house],
        "log_radon": columns["log_radon"],
    }


def coords(columns):
    """Labels of the plate `county`."""
    return {"county": np.unique(columns["county"])}
