r"""Eight schools, non-centred: the effect of a school is a standardised deviation, scaled afterwards.

$$y_j \sim \mathrm{Normal}(\theta_j, \sigma_j), \qquad \theta_j = \mu + \tau z_j, \quad z_j \sim \mathrm{Normal}(0, 1)$$

The same posterior for $\theta$ as the centred version, without its funnel: a priori $z_j$ does not depend on $\tau$.
"""

import numpyro
import numpyro.distributions as dist


def model(sigma, y=None):
    """`sigma` holds the standard errors of the estimated effects `y`, one a school."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("school", sigma.shape[0]):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        theta = numpyro.deterministic("theta", mu + tau * z)
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def data(columns):
    """Leave the names of the schools to the coordinates."""
    return {"sigma": columns["sigma"], "y": columns["y"]}


def coords(columns):
    """Labels of the plate `school`."""
    return {"school": columns["school"]}
