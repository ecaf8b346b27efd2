"""Fit one problem with one library and print a verdict; `first_verdict.py` starts this and holds the clock.

    python benchmarks/verdict_of.py LIBRARY PROBLEM

Each library is used as its documentation does for a first fit, with 4 chains of 1,000 + 1,000 steps in float64; the
verdict of all but bayeskit is the largest R-hat and the smallest bulk effective sample size of ArviZ's summary. Only
what the library needs is imported.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
warnings.filterwarnings("ignore")

CHAINS, WARMUP, DRAWS = 4, 1000, 1000


def say(summary) -> None:
    """The verdict from ArviZ's table."""
    rhat, ess = summary["r_hat"].astype(float).max(), summary["ess_bulk"].astype(float).min()
    print(f"verdict: max R-hat {rhat:.3f}, min bulk ESS {ess:.0f}", flush=True)


def bayeskit(problem: str) -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    import bayeskit as bk
    from benchmarks.models import PROBLEMS

    method = bk.NUTS(num_chains=CHAINS, num_warmup=WARMUP, num_draws=DRAWS)
    post = bk.infer(*PROBLEMS[problem](), method, key=0, progress=False)
    print(f"verdict: {'ok' if bk.check(post).ok else 'not ok'}", flush=True)


def numpyro(problem: str) -> None:
    import numpyro

    numpyro.enable_x64()
    numpyro.set_host_device_count(CHAINS)
    import arviz_base
    import arviz_stats
    import jax
    from numpyro.infer import MCMC, NUTS

    from benchmarks.models import PROBLEMS

    model, data = PROBLEMS[problem]()
    mcmc = MCMC(NUTS(model), num_warmup=WARMUP, num_samples=DRAWS, num_chains=CHAINS, progress_bar=False)
    mcmc.run(jax.random.key(0), **data)
    say(arviz_stats.summary(arviz_base.from_numpyro(mcmc), kind="diagnostics", round_to="none"))


def blackjax(problem: str) -> None:
    import numpyro

    numpyro.enable_x64()
    numpyro.set_host_device_count(CHAINS)
    import arviz_base
    import arviz_stats

    from benchmarks import peers
    from benchmarks.models import PROBLEMS

    model, data = PROBLEMS[problem]()
    run = peers.blackjax(model, data, peers.latent_sites(model, data), "parallel")(0)
    tree = arviz_base.from_dict({"posterior": {"parameters": run.draws}})
    say(arviz_stats.summary(tree, kind="diagnostics", round_to="none"))


def pymc(problem: str) -> None:
    import arviz
    import nutpie

    from benchmarks.problem_data import DATA
    from benchmarks.pymc_models import MODELS

    compiled = nutpie.compile_pymc_model(MODELS[problem](DATA[problem]()))
    trace = nutpie.sample(compiled, draws=DRAWS, tune=WARMUP, chains=CHAINS, seed=0, progress_bar=False)
    say(arviz.summary(trace, kind="diagnostics", round_to="none"))


def cmdstan(problem: str) -> None:
    import cmdstanpy

    from benchmarks.problem_data import DATA

    data = DATA[problem]()
    # Stan counts from one, and has a function called floor
    data |= {"num_houses": len(data["log_radon"]), "county": data["county"] + 1, "floor_measure": data.pop("floor")}
    model = cmdstanpy.CmdStanModel(stan_file=ROOT / "benchmarks" / "stan" / f"{problem}.stan")
    fit = model.sample(data, chains=CHAINS, iter_warmup=WARMUP, iter_sampling=DRAWS, seed=1, show_progress=False)
    table = fit.summary().drop(index="lp__")
    rhat, ess = table["R_hat"].max(), table["ESS_bulk"].min()
    print(f"verdict: max R-hat {rhat:.3f}, min bulk ESS {ess:.0f}", flush=True)


LIBRARIES: dict[str, Callable[[str], None]] = {
    fit.__name__: fit for fit in (bayeskit, numpyro, blackjax, pymc, cmdstan)
}

if __name__ == "__main__":
    LIBRARIES[sys.argv[1]](sys.argv[2])
