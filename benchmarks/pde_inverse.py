"""The inverse problem of `pde_inverse_peers.py` by the model, beside its two peers.

Unknown are the diffusion, the place of the source and the noise. All data sets are readings of one truth, so the share
of intervals that hold it is a frequentist one, which the posterior does not promise. The spectrum is that of
`models/diffusion.py`, with which the density of the posterior is that of the sine series to 0.1 nats.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import bayeskit as bk
from bayeskit.models import spectral_pde as sp
from benchmarks.pde_calibration import verdict
from benchmarks.pde_inverse_peers import (
    HEIGHT,
    WIDTH,
    InverseFit,
    Readings,
    least_squares_inverse,
    pinn_inverse,
    simulate_readings,
)
from benchmarks.pde_peers import TRUTH

SPECTRUM = [sp.Spectrum(1.0, 0.0, 0.25), sp.Spectrum(1.0, 0.0, 0.8)]
SHOWN = 3
"""Data sets that the network sees too."""


class Settings(NamedTuple):
    """Nodes along both coordinates, draws of warmup and draws to keep, of one chain a data set."""

    num_nodes: int
    num_warmup: int
    num_draws: int


def heat(num_nodes: int) -> sp.Problem:
    """The equation."""
    return sp.Problem(
        domain=[(0.0, 1.0), (0.0, 1.0)],
        operator=lambda u, diffusion: u.t - diffusion * u.xx,
        source=lambda x, t, place: HEIGHT * jnp.exp(-((x - place) ** 2) / (2 * WIDTH**2)) + 0 * t,
        boundary=0.0,
        initial=0.0,
        coefficients={"diffusion": dist.LogNormal(-1.0, 1.0), "place": dist.Uniform(0.1, 0.9)},
        num_nodes=num_nodes,
    )


def posterior(model, data: Readings, settings: Settings, key: int) -> tuple[InverseFit, int]:
    """Medians and 90% intervals, and the number of divergences."""
    method = bk.NUTS(num_chains=1, num_warmup=settings.num_warmup, num_draws=settings.num_draws)
    begin = time.perf_counter()
    readings = {"at": data.at, "readings": data.readings}
    found = bk.infer(model, readings, method, key=key, progress=False)
    seconds = time.perf_counter() - begin
    rows = [np.quantile(found.posterior[name].to_numpy(), (0.05, 0.5, 0.95)) for name in ("diffusion", "place")]
    (low, diffusion, high), (left, place, right) = (map(float, row) for row in rows)
    stats = found.sample_stats
    steps, divergences = int(stats["n_steps"].sum()), int(stats["diverging"].sum())
    return InverseFit(diffusion, place, ((low, high), (left, right)), seconds, steps), divergences


def row(name: str, fits: list[InverseFit], *, judged: bool = False) -> str:
    """Root mean square errors and, where there are any, how many intervals hold the truth."""
    truth = np.array(TRUTH)
    errors = np.array([(fit.diffusion, fit.place) for fit in fits]) - truth
    rms = np.sqrt(np.mean(errors**2, axis=0)) / (truth[0], 1.0)
    line = f"{name:22}{len(fits):10}{rms[0]:12.4f}{rms[1]:10.4f}"
    if fits[0].intervals is not None:
        intervals = np.array([fit.intervals for fit in fits])
        for held in np.mean((intervals[..., 0] <= truth) & (truth <= intervals[..., 1]), axis=0):
            line += f"{held:11.0%} {verdict(0.85 <= held <= 0.95) if judged else '':6}"
    else:
        line += " " * 36
    return f"{line}{np.median([fit.seconds for fit in fits]):12.3f}"


def inverse(num_seeds: int, settings: Settings, pinn_seconds: float) -> None:
    """Print the table."""
    data_sets = [simulate_readings(*TRUTH, seed) for seed in range(num_seeds)]
    begin = time.perf_counter()
    model = sp.model(heat(settings.num_nodes), spectrum=SPECTRUM)
    ours, divergences = [], 0
    for seed, data in enumerate(data_sets):
        fit, some = posterior(model, data, settings, seed)
        ours.append(fit)
        divergences += some
        if seed == 0:
            print(f"\ninverse: the first data set, compilation included: {time.perf_counter() - begin:.1f} s")
    squares = [least_squares_inverse(data.readings, data.at) for data in data_sets]
    print(
        f"{num_seeds} data sets of 20 readings at diffusion {TRUTH[0]}, place {TRUTH[1]}; rms errors, of the diffusion"
    )
    print(
        f"relative; bar: 90% intervals hold 85 to 95% (standard error {np.sqrt(0.09 / num_seeds):.0%} if they hold 90%)"
    )
    print(
        f"nodes {settings.num_nodes}^2, a chain of {settings.num_warmup} + {settings.num_draws} draws a data set,",
        end=" ",
    )
    print(f"{divergences} divergences, {np.mean([fit.steps for fit in ours]):.0f} leapfrog steps of the draws kept")
    print(f"{'':22}{'data sets':>10}{'diffusion':>12}{'place':>10}{'intervals hold':>22}{'':14}{'seconds':>12}")
    print(row("posterior, NUTS", ours, judged=True))
    print(row("least squares", squares, judged=True))
    if pinn_seconds:
        nets = [
            pinn_inverse(data.readings, data.at, pinn_seconds, seed=seed) for seed, data in enumerate(data_sets[:SHOWN])
        ]
        print(row("network", nets))
        print(row("posterior, those only", ours[:SHOWN]))
        print(row("least squares, those", squares[:SHOWN]))
