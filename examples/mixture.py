# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A mixture with discrete assignments
#
# Can a random choice that no gradient passes stay in the model and in the guide?
#
# Points come from three groups; to which group a point belongs is not observed. NUTS cannot draw such assignments, so
# they are usually summed out of the model by hand. Here they stay in the model *and* in the guide, and the estimator of
# their gradient is a choice: enumeration, measure-valued, or the score. At the end the weights of the groups are
# compared with NUTS on the model with the assignments summed out.

# %%
import os

import jax

jax.config.update("jax_enable_x64", True)  # before anything is computed: 64-bit numbers

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax

import bayeskit as bk

SMALL = os.environ.get("BAYESKIT_EXAMPLE_SIZE") == "small"  # for tests of this notebook
STEPS = 400 if SMALL else 3000
GROUPS, POINTS = 3, 60

generator = np.random.default_rng(0)
truth = {"weights": np.array([0.5, 0.3, 0.2]), "means": np.array([-4.0, 0.0, 5.0])}
points = generator.normal(truth["means"][generator.choice(GROUPS, POINTS, p=truth["weights"])], 1.0)

# %% [markdown]
# ## Model and guide
#
# Both are written for *one* point, which stands for all: the weights and means are shared, so their densities count
# $1/N$ for each point (`scale`), and the sum over the points is the bound for all of them. Each point has an
# expectation of its own, `jax.vmap(bk.expectation(...))`, so that an assignment's enumeration is over three values and
# not $3^{60}$, and the score of an assignment multiplies the terms of its own point only.


# %%
def shared(weights, means):
    with numpyro.handlers.scale(scale=1 / POINTS):
        weights = numpyro.sample("weights", weights)
        means = numpyro.sample("means", means.to_event(1))
    return weights, means


def model(point):
    weights, means = shared(dist.Dirichlet(jnp.ones(GROUPS)), dist.Normal(jnp.zeros(GROUPS), 5.0))
    group = numpyro.sample("group", dist.Categorical(weights))
    numpyro.sample("point", dist.Normal(means[group], 1.0), obs=point)


def guide(p, logits):
    sticks = dist.Normal(p["sticks"], jnp.exp(p["log_stick_scales"])).to_event(1)
    weights = dist.TransformedDistribution(sticks, dist.transforms.StickBreakingTransform())
    shared(weights, dist.Normal(p["means"], jnp.exp(p["log_scales"])))
    numpyro.sample("group", dist.Categorical(logits=logits))


def bound(estimator):
    def one(p, point, logits):
        chosen = bk.with_estimators(lambda: guide(p, logits), {"group": estimator})
        return bk.objectives.ELBO()(lambda: model(point), chosen)

    each = jax.vmap(bk.expectation(one), (0, None, 0, 0))
    return lambda key, p: jnp.sum(each(jax.random.split(key, POINTS), p, points, p["logits"]))


start = {
    "sticks": jnp.zeros(GROUPS - 1),
    "log_stick_scales": jnp.full(GROUPS - 1, -1.0),
    "means": jnp.array([-2.0, 0.5, 2.0]),
    "log_scales": jnp.full(GROUPS, -1.0),
    "logits": jnp.zeros((POINTS, GROUPS)),
}

# %% [markdown]
# ## Three gradients of the same bound
#
# The noise of each, at the start, in the derivative by the logits of the assignments.

# %%
ESTIMATORS = {
    "enumeration": bk.estimators.Enumeration(),
    "measure-valued": bk.estimators.MeasureValued(),
    "score": bk.estimators.Score(),
}
for name, estimator in ESTIMATORS.items():
    gradient = jax.jit(jax.vmap(jax.grad(bound(estimator), argnums=1), (0, None)))
    logits = gradient(jax.random.split(jax.random.key(0), 50 if SMALL else 500), start)["logits"]
    print(f"{name:16} standard deviation of an element {float(logits.std(axis=0).mean()):.3f}")

# %% [markdown]
# ## The fits


# %%
def maximise(objective):
    optimizer = optax.adam(optax.cosine_decay_schedule(0.03, STEPS))

    def step(carry, key):
        p, state = carry
        value, gradient = jax.value_and_grad(lambda p: -objective(key, p))(p)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(p, updates), state), -value

    keys = jax.random.split(jax.random.key(1), STEPS)
    (p, _), values = jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), keys))()
    return p, np.asarray(values)


fits = {name: maximise(bound(estimator)) for name, estimator in ESTIMATORS.items()}
figure, axes = plt.subplots(figsize=(7, 3))
for (name, (_, values)), colour in zip(fits.items(), ["C0", "C1", "0.6"], strict=True):
    smooth = np.convolve(values, np.ones(50) / 50, "valid")
    axes.plot(np.arange(50, STEPS + 1), smooth, label=name, color=colour, zorder=1 if name == "score" else 2)
axes.set(xlabel="step", ylabel="bound (mean of 50)")
axes.legend()
figure.tight_layout()

# %% [markdown]
# ## Against NUTS
#
# With the assignments summed out, NUTS samples the exact posterior. The names of the groups are arbitrary there, so
# that each draw is sorted by its means.


# %%
def summed_out(points):
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(GROUPS)))
    means = numpyro.sample("means", dist.Normal(jnp.zeros(GROUPS), 5.0).to_event(1))
    components = dist.Normal(means, 1.0)
    with numpyro.plate("row", POINTS):
        numpyro.sample("point", dist.MixtureSameFamily(dist.Categorical(weights), components), obs=points)


method = bk.NUTS(num_chains=2, num_warmup=200 if SMALL else 500, num_draws=200 if SMALL else 1000)
post = bk.infer(summed_out, {"points": points}, method, key=0, progress=False)
order = np.argsort(np.asarray(post["posterior/means"]), axis=-1)
exact = np.take_along_axis(np.asarray(post["posterior/weights"]), order, -1).reshape(-1, GROUPS)

p = fits["enumeration"][0]
order = np.argsort(p["means"])
draw = jax.vmap(lambda key: bk.draw(lambda: guide(p, p["logits"][0]), key=key)[0]["weights"])
weights = np.asarray(draw(jax.random.split(jax.random.key(2), 4000)))[:, order]
for group in range(GROUPS):
    print(
        f"weight {group}: guide {weights[:, group].mean():.3f} ± {weights[:, group].std():.3f}   "
        f"NUTS {exact[:, group].mean():.3f} ± {exact[:, group].std():.3f}   made with {truth['weights'][group]}"
    )

# %% tags=["cover"]
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
grid = np.linspace(-8, 9, 300)
left.hist(points, bins=30, density=True, color="0.85")
colours = plt.colormaps["viridis"]([0.1, 0.5, 0.8])
for group, (index, colour) in enumerate(zip(order, colours, strict=True)):
    curve = np.exp(-0.5 * (grid - float(p["means"][index])) ** 2) / np.sqrt(2 * np.pi)
    left.plot(grid, weights[:, group].mean() * curve, color=colour)
    bins = np.linspace(0, 0.8, 60)
    right.hist(exact[:, group], bins, density=True, color=colour, alpha=0.35)
    right.hist(weights[:, group], bins, density=True, histtype="step", color=colour, linewidth=1.5)
probabilities = np.asarray(jax.nn.softmax(p["logits"]))[:, order]
left.scatter(points, np.full(POINTS, -0.012), c=np.clip(probabilities @ colours, 0, 1), s=12)
left.set(xlabel="points, coloured by their probable group", ylabel="density")
right.set(xlabel="weight of a group (line: guide; filled: NUTS)", yticks=[])
figure.tight_layout()

# %% [markdown]
# ## What we saw, and what to try
#
# The guide's weights are NUTS's, up to the little that independent assignments take from their spread: the groups are
# well apart. Enumeration and measure-valued gradients reach the same bound; the score gets there later and shakes.
#
# Try groups that overlap (means of -1, 0 and 1): then the assignments are correlated, and a guide of independent ones
# is too sure of the weights. The page [Variational inference](../docs/variational.md) lists the estimators.
