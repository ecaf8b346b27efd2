"""Animals are caught, marked, set free and caught again, or not: do they live, or were they missed?

The models of Cormack (1964), Jolly (1965) and Seber (1965) as state-space models, as in Kéry and Schaub (2012),
"Bayesian population analysis using WinBUGS", chapter 7. From its first capture on an animal is alive at the next
occasion with the chance of survival, and an animal that lives is caught with the chance of recapture. Whether it lives
is a discrete state, summed out along the scan.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.typing import ArrayLike
from numpyro import handlers
from numpyro.contrib.control_flow import scan


def _follow(history: ArrayLike, recapture: ArrayLike, survival: Callable[[Any], ArrayLike], xs: Any = None) -> None:
    """All occasions but the first; ``survival`` gives the chances up to one. What it samples is part of the scan."""
    num_animals, num_occasions = history.shape

    def occasion(carry: tuple[ArrayLike, ArrayLike], inputs: tuple[ArrayLike, Any]) -> tuple[Any, None]:
        marked, alive = carry
        captured, x = inputs
        chance = survival(x)
        with numpyro.plate("animal", num_animals, dim=-1), handlers.mask(mask=marked):
            alive = numpyro.sample(
                "alive", dist.Bernoulli(jnp.where(marked, chance * alive, 1.0)), infer={"enumerate": "parallel"}
            )
            numpyro.sample("captured", dist.Bernoulli(recapture * alive), obs=captured)
        return (marked | (captured == 1), alive), None

    start = history[:, 0] == 1, jnp.ones(num_animals, int)
    inputs = history[:, 1:].T, jnp.arange(num_occasions - 1) if xs is None else xs
    scan(occasion, start, inputs)


def constant(history: ArrayLike) -> None:
    """One chance of survival and one of recapture."""
    survival = numpyro.sample("survival", dist.Uniform(0.0, 1.0))
    recapture = numpyro.sample("recapture", dist.Uniform(0.0, 1.0))
    _follow(history, recapture, lambda _: survival)


def by_interval(history: ArrayLike) -> None:
    """Survival has a chance of its own in each interval, a site inside of the scan."""
    recapture = numpyro.sample("recapture", dist.Uniform(0.0, 1.0))
    _follow(history, recapture, lambda _: numpyro.sample("survival", dist.Beta(1.0, 1.0)))


def by_interval_before(history: ArrayLike) -> None:
    """The same density with all chances of survival drawn before the scan."""
    recapture = numpyro.sample("recapture", dist.Uniform(0.0, 1.0))
    with numpyro.plate("interval", history.shape[1] - 1):
        survival = numpyro.sample("survival", dist.Beta(1.0, 1.0))
    _follow(history, recapture, lambda chance: chance, survival)


def random_intervals(history: ArrayLike) -> None:
    """The log odds of survival are normal around their mean, one for each interval, sites inside of the scan."""
    mean = numpyro.sample("mean", dist.Uniform(0.0, 1.0))
    scale = numpyro.sample("scale", dist.Uniform(0.0, 10.0))
    recapture = numpyro.sample("recapture", dist.Uniform(0.0, 1.0))
    centre = jnp.log(mean) - jnp.log1p(-mean)
    _follow(history, recapture, lambda _: jax.nn.sigmoid(numpyro.sample("log_odds", dist.Normal(centre, scale))))


def by_sex(history: ArrayLike, sex: ArrayLike) -> None:
    """A chance of survival of each sex."""
    with numpyro.plate("sex", 2):
        survival = numpyro.sample("survival", dist.Uniform(0.0, 1.0))
    recapture = numpyro.sample("recapture", dist.Uniform(0.0, 1.0))
    _follow(history, recapture, lambda _: survival[sex])


def by_sex_and_interval(history: ArrayLike, sex: ArrayLike) -> None:
    """Log odds of survival: an effect of the sex, and one of each interval, the latter drawn before the scan."""
    effect = numpyro.sample("effect", dist.Normal(0.0, 2.0))
    recapture = numpyro.sample("recapture", dist.Uniform(0.0, 1.0))
    with numpyro.plate("interval", history.shape[1] - 1):
        level = numpyro.sample("level", dist.Normal(0.0, 2.0))
    _follow(history, recapture, lambda interval: jax.nn.sigmoid(interval + effect * sex), level)


def _histories() -> dict[str, np.ndarray]:
    """Twenty-four animals over five occasions; every one is caught at least once before the last."""
    random = np.random.default_rng(4)
    sex = np.repeat([0, 1], 12)
    first = random.integers(0, 4, 24)
    history = np.zeros((24, 5), int)
    for animal in range(24):
        alive = True
        for occasion in range(first[animal], 5):
            alive = occasion == first[animal] or (alive and random.uniform() < (0.6, 0.8)[sex[animal]])
            history[animal, occasion] = occasion == first[animal] or (alive and random.uniform() < 0.7)
    return {"history": history, "sex": sex}


WITH_SEX = _histories()
HISTORIES = {"history": WITH_SEX["history"]}
