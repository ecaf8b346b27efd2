r"""Eight schools, centred: the version that fails, on purpose.

$$y_j \sim \mathrm{Normal}(\theta_j, \sigma_j), \qquad \theta_j \sim \mathrm{Normal}(\mu, \tau)$$

When $\tau$ is small the effects $\theta_j$ are pressed together, and no single step size fits both the neck and the
mouth of that funnel (Neal 2003; Betancourt and Girolami 2015). The verdict should say so; `eight_schools_noncentred.py`
is the cure.
"""

import numpyro
import numpyro.distributions as dist


def model(sigma, y=None):
    """`sigma` holds the standard errors of the estimated effects `y`, one a school."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("school", sigma.shape[0]):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def data(columns):
    """Leave the names of the schools to the coordinates."""
    return {"sigma": columns["sigma"], "y": columns["y"]}


def coords(columns):
    """Labels of the plate `school`."""
    return {"school": columns["school"]}
