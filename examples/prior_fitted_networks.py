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
# # Networks trained on a prior
#
# Can a network that has seen enough data sets of a prior do Bayesian inference in a single pass?
#
# First the networks that come with the package, then one trained on a Gaussian process, beside the exact answer; one on
# a Bayesian neural network, beside NUTS; and a prior of your own. How it works is on the page
# [Networks trained on a prior](../docs/pfn.md).

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bayeskit as bk
from bayeskit.models import pfn

SMALL = os.environ.get("BAYESKIT_EXAMPLE_SIZE") == "small"  # for tests of this notebook
LENGTH = (
    {"num_steps": 25, "width": 16, "num_layers": 1, "batch_size": 16, "progress": False}
    if SMALL
    else {"budget": "3min"}
)
SETS = 32 if SMALL else 128  # on which a network is checked
generator = np.random.default_rng(0)

# %% [markdown]
# ## Without training
#
# Twenty noisy readings of a curve. The units are brought to those of the network's prior and back.

# %% tags=["cover"]
x = np.sort(generator.uniform(0.0, 10.0, 20))
y = 3.0 * np.sin(x) + 0.5 * generator.normal(size=20)
model = pfn.PFNRegressor(pfn.pretrained("regression"), standardise=True).fit(x[:, None], y)
line = np.linspace(-0.5, 10.5, 200)
mean, sd = model.predict(line[:, None], return_std=True)
fig, ax = plt.subplots()
ax.fill_between(line, mean - 2 * sd, mean + 2 * sd, alpha=0.3, label="two standard deviations")
ax.plot(line, mean, label="mean")
ax.plot(x, y, "k.", label="readings")
ax.set(xlabel="x", ylabel="y")
ax.legend()
plt.show()

# %% [markdown]
# And a small table: thirty patients, to tell benign from malignant. Beside it what is usual.

# %%
table, labels = load_breast_cancer(return_X_y=True)
order = generator.permutation(len(labels))
shown, asked = order[:30], order[30:330]
usual = {
    "network": pfn.PFNClassifier(pfn.pretrained("tables")),
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
    "gradient boosting": HistGradientBoostingClassifier(min_samples_leaf=3),
}
for name, classifier in usual.items():
    probability = classifier.fit(table[shown], labels[shown]).predict_proba(table[asked])[:, 1]
    print(f"{name:20} area under the curve {roc_auc_score(labels[asked], probability):.3f}")

# %% [markdown]
# ## A Gaussian process, beside the exact posterior

# %%
process = pfn.priors.GP(lengthscale=0.3, noise=0.01)
net = pfn.train(process, key=0, **LENGTH)
print(net)
print(pfn.check(net, process, num_sets=SETS, sizes=[8] if SMALL else None))

# %%
x = np.array([0.1, 0.15, 0.4, 0.75, 0.8])[:, None]
y = np.array([0.3, 0.5, -0.6, 0.9, 1.0])
line = np.linspace(0.0, 1.0, 120)[:, None]
law, exact = net.predict(x, y, line), process.exact(x, y, np.ones(5, bool), line)
fig, ax = plt.subplots()
ax.fill_between(line[:, 0], law.icdf(0.025), law.icdf(0.975), alpha=0.3, label="95% of the network")
ax.plot(line[:, 0], law.mean, label="mean of the network")
for side in (-1.96, 0.0, 1.96):
    ax.plot(line[:, 0], exact.mean + side * np.sqrt(exact.variance), "k--", lw=1, label="exact" if side == 0 else None)
ax.plot(x, y, "ko")
ax.set(xlabel="x", ylabel="y")
ax.legend()
plt.show()

# %% [markdown]
# ## A Bayesian neural network, beside NUTS
#
# The gap is the mean log loss over that of NUTS on the same model, whose predictions are averaged as probabilities.

# %%
if SMALL:
    print("left out at the small size: its training and eight runs of NUTS")
else:
    network = pfn.priors.BayesianNetwork(num_rows=60)
    net = pfn.train(network, key=0, **LENGTH)
    print(pfn.check(net, network, num_sets=SETS, nuts=bk.NUTS(), num_nuts=8, sizes=[20]))

# %% [markdown]
# ## Your own prior
#
# Dose and response: a curve that saturates, with outliers. All that is asked of the model is that its rows are
# exchangeable.


# %%
def response():
    top = numpyro.sample("top", dist.LogNormal(0.0, 0.5))
    half = numpyro.sample("half", dist.LogNormal(0.0, 0.7))
    steepness = numpyro.sample("steepness", dist.LogNormal(0.5, 0.4))
    with numpyro.plate("rows", 25):
        dose = numpyro.sample("x", dist.Uniform(0.0, 4.0))
        middle = top * dose**steepness / (half**steepness + dose**steepness)
        numpyro.sample("y", dist.StudentT(3.0, middle, 0.05))


net = pfn.train(response, key=0, **LENGTH)
data = {"x": [0.2, 0.5, 1.0, 2.0, 3.5], "y": [0.03, 0.2, 0.62, 0.95, 2.3]}
post = bk.infer(response, data, pfn.Amortised(net, at=np.linspace(0.0, 4.0, 50)), key=0)
bk.check(post)

# %%
predicted = post["predictions"]
doses = post["predictions_constant_data/x"][:, 0]
low, high = np.quantile(predicted["y"][0], (0.05, 0.95), axis=0)
fig, ax = plt.subplots()
ax.fill_between(doses, low, high, alpha=0.3, label="90%")
ax.plot(doses, predicted["mean"], label="mean")
ax.plot(data["x"], data["y"], "ko")
ax.set(xlabel="dose", ylabel="response")
ax.legend()
plt.show()

# %% [markdown]
# ## What we saw, and what to try
#
# * The networks that come with the package predict a curve and a small table in milliseconds, as well as what is usual.
# * `pfn.check` says how far a network is from the exact posterior, in nats a row; after a training of seconds it is
#   far, and the verdict says so. Minutes bring it near.
# * Try `budget="10min"`, and a prior closer to your own data: that is where the accuracy comes from.
