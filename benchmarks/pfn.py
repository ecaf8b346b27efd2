"""Prior-data fitted networks against exact posteriors, NUTS, marginal likelihood and the PyTorch implementation.

    python benchmarks/pfn.py [rbf] [hierarchical] [network] [speed] [throughput] [devices]

All parts by default but the last two. rbf: the gap to the exact posterior predictive after budgets of training, and the
coverage of intervals of 95%, by the size of the context. hierarchical, network: mean log losses beside those of long
NUTS runs on the same model, on the same outputs; probabilities are averaged over draws. speed: seconds a data set at
equal loss, compiled, in one process: NUTS runs of growing length until one reaches the network's loss. throughput: data
sets a second of training beside `pfns` (pip install pfns), at the same sizes. devices: the same over two simulated
devices.
Networks are kept in the folder `--nets` and trained where they are not there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

import bayeskit as bk
from bayeskit.models import pfn
from bayeskit.models.pfn.by_nuts import log_predictive
from bayeskit.models.pfn.prior import Prior

RBF = pfn.priors.GP(lengthscale=0.3, noise=0.01, num_rows=33)
HIERARCHICAL = pfn.priors.HierarchicalGP(num_rows=41)
NETWORK = pfn.priors.BayesianNetwork(num_rows=129)
LONG_NETWORK = pfn.priors.BayesianNetwork(num_rows=300)
CONTEXT, QUERIES = 100, 200
LONG = bk.NUTS(num_chains=4, num_warmup=1000, num_draws=1000)
SIZES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32)


def verdict(holds: bool) -> str:
    """Of a bar."""
    return "met" if holds else "missed"


def kept(asked: argparse.Namespace, name: str, prior: Callable[[], None], **settings: object) -> pfn.Net:
    """The network of that name, trained now if there is none."""
    path = Path(asked.nets) / f"{name}.nc"
    if path.exists():
        return pfn.load(path)
    net = pfn.train(prior, key=0, budget=asked.budget, progress=asked.progress, **settings)
    Path(asked.nets).mkdir(parents=True, exist_ok=True)
    net.save(path)
    return net


# ---------------------------------------------------------------- parts


def rbf(asked: argparse.Namespace) -> None:
    """Gaussian processes with known hyperparameters: the posterior predictive is known."""
    print(f"\nrbf: {RBF}")
    bars = {60: 0.32, 300: 0.06, 1200: 0.03}
    print(
        f"{'budget':>8}{'took':>8}{'steps':>8}{'gap':>18}{'bar':>8}{'':8}{'gap, no rows':>14}{'95% hold, by size':>24}"
    )
    for seconds in asked.seconds:
        begin = time.perf_counter()
        net = pfn.train(RBF, key=0, budget=seconds, progress=asked.progress)
        took = time.perf_counter() - begin
        found = pfn.check(net, RBF, key=1, num_sets=asked.sets, sizes=SIZES)
        gap, error = found.gap.mean(), np.sqrt(np.mean(found.gap_error**2))
        bar = bars.get(int(seconds), np.inf)
        row = f"{seconds:8.0f}{took:8.0f}{len(net.training.losses):8}{gap:10.4f} +- {error:.4f}{bar:8.2f}  "
        row += f"{verdict(gap <= bar):6}{found.gap[0]:14.4f}{found.held.min():14.3f} to {found.held.max():.3f}"
        if seconds == max(asked.seconds):
            holds = found.held.min() >= 0.93 and found.held.max() <= 0.98
            row += f"  .93 to .98: {verdict(holds)}; no rows <= .02: {verdict(found.gap[0] <= 0.02)}"
        print(row, flush=True)


def against_nuts(net: pfn.Net, prior: Callable[[], None], num_known: int, num: int) -> None:
    """Mean log losses on the outputs that are not shown."""
    x, y = map(np.asarray, Prior(prior).draw(jax.random.key(7), num))
    ours, theirs, seconds = [], [], []
    model = pfn.conditioned(prior)
    for i in range(num):
        law = net.predict(x[i, :num_known], y[i, :num_known], x[i, num_known:])
        ours.append(-np.mean(np.asarray(law.log_prob(jnp.asarray(y[i, num_known:])))))
        begin = time.perf_counter()
        theirs.append(-np.mean(log_predictive(prior, x[i], y[i], num_known, LONG, i, model)))
        seconds.append(time.perf_counter() - begin)
    gap = np.array(ours) - np.array(theirs)
    error = gap.std(ddof=1) / np.sqrt(num)
    print(
        f"{num_known:6} rows, {num} data sets: network {np.mean(ours):8.4f}, NUTS {np.mean(theirs):8.4f} "
        f"({np.median(seconds):.1f} s each), gap {gap.mean():7.4f} +- {error:.4f}, bar .05: "
        f"{verdict(gap.mean() <= 0.05)}",
        flush=True,
    )


def hierarchical(asked: argparse.Namespace) -> None:
    """Hyperparameters have priors."""
    net = kept(asked, "hierarchical", HIERARCHICAL, num_bars=512)
    print(f"\nhierarchical: {HIERARCHICAL}\n{net}")
    for size in (5, 15, 30):
        against_nuts(net, HIERARCHICAL, size, asked.nuts_sets)


def network(asked: argparse.Namespace) -> None:
    """A neural network with normal weights."""
    net = kept(asked, "network", NETWORK)
    print(f"\nnetwork: {NETWORK}\n{net}")
    for size in (10, 50, 100):
        against_nuts(net, NETWORK, size, asked.nuts_sets)


def speed(asked: argparse.Namespace) -> None:
    """Seconds a data set at equal loss."""
    net = kept(asked, "network", NETWORK)
    print(f"\nspeed: {jax.devices()[0].device_kind}, {os.cpu_count()} cores; {CONTEXT} rows shown, {QUERIES} predicted")
    x, y = map(np.asarray, Prior(LONG_NETWORK).draw(jax.random.key(11), asked.speed_sets))
    shown, asked_for = (x[:, :CONTEXT], y[:, :CONTEXT], x[:, CONTEXT:]), jnp.asarray(y[:, CONTEXT:])
    ours, seconds = predicted(net, shown, asked_for)
    print(f"network: loss {ours:.4f}, {1e3 * seconds:.2f} ms a data set ({len(y)} at once)")
    model = pfn.conditioned(LONG_NETWORK)
    for num in (25, 50, 100, 200, 400, 800):
        method = bk.NUTS(num_chains=1, num_warmup=num, num_draws=num)
        log_predictive(LONG_NETWORK, x[0], y[0], CONTEXT, method, 0, model)
        losses, begin = [], time.perf_counter()
        for i in range(asked.nuts_sets):
            losses.append(-np.mean(log_predictive(LONG_NETWORK, x[i], y[i], CONTEXT, method, i, model)))
        each = (time.perf_counter() - begin) / asked.nuts_sets
        same, _ = predicted(net, tuple(one[: asked.nuts_sets] for one in shown), asked_for[: asked.nuts_sets])
        print(
            f"NUTS, {num} + {num}: loss {np.mean(losses):.4f} (the network on these {asked.nuts_sets} data sets "
            f"{same:.4f}), {each:.2f} s a data set, {each / seconds:,.0f} times",
            flush=True,
        )
        if np.mean(losses) <= same:
            print(f"bar 1,000 times: {verdict(each / seconds >= 1000)}")
            break
    net = kept(asked, "hierarchical", HIERARCHICAL, num_bars=512)
    x, y = map(np.asarray, Prior(HIERARCHICAL).draw(jax.random.key(12), asked.speed_sets))
    half = HIERARCHICAL.num_rows // 2
    ours, seconds = predicted(net, (x[:, :half], y[:, :half], x[:, half:]), jnp.asarray(y[:, half:]))
    losses, spent = zip(*(by_marginal_likelihood(x[i], y[i], half) for i in range(asked.speed_sets)), strict=True)
    each = float(np.mean(spent[1:]))  # without the one that compiles
    print(
        f"{HIERARCHICAL.kernel} process, {half} rows: network {ours:.4f}, {1e3 * seconds:.2f} ms; marginal likelihood "
        f"{np.mean(losses):.4f} (median {np.median(losses):.4f}), {1e3 * each:.1f} ms, {each / seconds:,.0f} times, "
        f"bar 200: {verdict(each / seconds >= 200)}"
    )


def predicted(net: pfn.Net, shown: tuple[np.ndarray, ...], y_new: jax.Array) -> tuple[float, float]:
    """The mean log loss, and seconds a data set once compiled."""
    net.predict(*shown)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        loss = -float(np.mean(np.asarray(net.predict(*shown).log_prob(y_new))))
        times.append(time.perf_counter() - begin)
    return loss, min(times) / len(y_new)


def by_marginal_likelihood(x: np.ndarray, y: np.ndarray, num_known: int) -> tuple[float, float]:
    """The loss with the hyperparameters of the highest marginal likelihood, found from five starts, and seconds."""
    begin = time.perf_counter()
    data = tuple(map(jnp.asarray, (x[:num_known], y[:num_known])))

    def objective(log_parameters: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = MARGINAL(jnp.asarray(log_parameters), *data)
        return float(value), np.asarray(slope, float)

    rng, size = np.random.default_rng(0), float(np.var(y[:num_known]) + 1e-6)
    starts = np.log([0.4, size, 1e-3 * size]) + 0.7 * rng.normal(size=(5, 3))
    bounds = [(-4.0, 3.0), (np.log(size) - 6, np.log(size) + 6), (np.log(size) - 9, np.log(size) + 1)]
    starts = np.clip(starts, *np.array(bounds).T)
    fits = [scipy.optimize.minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds) for start in starts]
    best = min(fits, key=lambda fit: fit.fun)
    loss = -float(
        np.mean(CONDITIONAL(jnp.asarray(best.x), *data, jnp.asarray(x[num_known:]), jnp.asarray(y[num_known:])))
    )
    return loss, time.perf_counter() - begin


def _process(log_parameters: jax.Array) -> pfn.priors.GP:
    process = object.__new__(pfn.priors.GP)  # with traced hyperparameters, which the constructor would compare with 0
    length, scale, noise = jnp.exp(log_parameters)
    values = {"lengthscale": length, "scale": scale, "noise": noise, "kernel": HIERARCHICAL.kernel}
    for name, value in values.items():
        object.__setattr__(process, name, value)
    return process


def _marginal(log_parameters: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Minus the log marginal likelihood, up to a constant."""
    process = _process(log_parameters)
    root = jnp.linalg.cholesky(process.cover(x, x) + process.noise * jnp.eye(len(x)))
    white = jax.scipy.linalg.solve_triangular(root, y, lower=True)
    return 0.5 * jnp.sum(white**2) + jnp.sum(jnp.log(jnp.diag(root)))


MARGINAL = jax.jit(jax.value_and_grad(_marginal))
CONDITIONAL = jax.jit(
    lambda log_parameters, x, y, x_new, y_new: (
        _process(log_parameters).exact(x, y, jnp.ones(len(x), bool), x_new).log_prob(y_new)
    )
)


def throughput(asked: argparse.Namespace) -> None:
    """Data sets a second of training, beside the public implementation at the same sizes, one after the other."""
    script = str(Path(__file__).with_name("pfn_torch.py"))
    run = subprocess.run([asked.torch_python, script], capture_output=True, text=True, check=True)
    theirs, one, two = float(run.stdout.split()[-1]), rate_of(1, 2), rate_of(2, 2)
    print(
        f"\nthroughput: ours {one:.0f} data sets a second on one device, {two:.0f} on two, pfns {theirs:.0f}: "
        f"{two / theirs:.1f} times, bar 3: {verdict(two >= 3 * theirs)}"
    )


def our_rate() -> float:
    """Data sets a second, compilation left out."""
    rate, _ = our_rate_and_compile_seconds()
    return rate


def our_rate_and_compile_seconds(num_steps: int = 250, batch_size: int = 64) -> tuple[float, float]:
    """Data sets a second once the first two blocks of steps are done, and the seconds until then without these."""
    start, begin = time.perf_counter(), []
    from bayeskit.models.pfn import training

    plain = training.minimise

    def timed(*arguments: object, **settings: object) -> object:
        def report(_: object) -> None:
            begin.append(time.perf_counter())

        settings["report"] = report
        return plain(*arguments, **settings)

    training.minimise = timed
    try:
        pfn.train(RBF, key=0, num_steps=num_steps, batch_size=batch_size, progress=False)
    finally:
        training.minimise = plain
    each = (begin[-1] - begin[1]) / (len(begin) - 2)
    return batch_size * training.BLOCK / each, begin[1] - start - 2 * each


def devices(_: argparse.Namespace) -> None:
    """Over two simulated devices on two cores, beside one on one core."""
    one, two = rate_of(1, 1), rate_of(2, 2)
    print(f"\ndevices: one core {one:.0f}, two devices {two:.0f} data sets a second: {two / one:.2f} times")


def rate_of(devices: int, cores: int) -> float:
    """Data sets a second in a process of its own with so many simulated devices and cores."""
    code = "import sys; sys.path.insert(0, '.'); from benchmarks.pfn import our_rate; print(our_rate())"
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    run = subprocess.run(
        ["taskset", "-c", ",".join(map(str, range(cores))), sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(run.stdout.split()[-1])


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "rbf": rbf,
    "hierarchical": hierarchical,
    "network": network,
    "speed": speed,
    "throughput": throughput,
    "devices": devices,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seconds", type=float, nargs="+", default=[60, 300, 1200], help="budgets of rbf")
    parser.add_argument("--sets", type=int, default=2000, help="data sets of rbf")
    parser.add_argument("--nuts-sets", type=int, default=20, help="data sets for NUTS")
    parser.add_argument("--speed-sets", type=int, default=100, help="data sets of speed")
    parser.add_argument("--nets", default="nets", help="where networks are kept")
    parser.add_argument("--budget", default="10min", help="of networks that are not there")
    parser.add_argument("--torch-python", default=sys.executable, help="an interpreter that has pfns")
    parser.add_argument("--progress", action="store_true")
    asked = parser.parse_args()
    for name in asked.parts:
        if name not in PARTS:
            parser.error(f"there is no part {name!r}; there are {', '.join(PARTS)}")
    for name in asked.parts or list(PARTS)[:4]:
        PARTS[name](asked)


if __name__ == "__main__":
    main()
