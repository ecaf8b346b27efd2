"""What can be kept in a file: a row in the table gets all tests.

Loaded again, it is of the same class, is taken apart into the same content, and predicts the same to the last bit.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import tinygp

import bayeskit as bk
from bayeskit import _keepable, distributions
from bayeskit.errors import StorageError
from bayeskit.models import nngp, pfn, schrodinger_bridge, spectral_pde, td_error
from bayeskit.models.nngp.classification.inducing import at_points
from bayeskit.models.nngp.classification.sparse import SparseGuide
from bayeskit.models.pfn.heads import ClassHead, HistogramHead, MixtureHead
from bayeskit.models.pfn.net import Facts
from bayeskit.models.pfn.network import Sizes, set_network
from bayeskit.models.pfn.reference import Reference
from bayeskit.models.pfn.table_network import table_network
from bayeskit.models.pfn.training import Settings, Unfinished
from bayeskit.models.td_error import agent_training
from bayeskit.numerics.gaussian_mixture_covariance import Diagonal, LowRank, full_covariance
from bayeskit.storage.fitted import as_tree
from bayeskit.train import Checkpoint, Trained, Training
from bayeskit.train.training import Stopped

from .extras import rows

X = np.linspace(-1.0, 1.0, 6)[:, None]
Y = np.array([0.3, -0.2, 0.5, 1.1, 0.4, -0.6])
NEW = np.array([[0.125], [1.25]])
IMAGES = np.random.default_rng(0).normal(size=(2, 4, 5, 2))
KERNEL = tinygp.kernels.ExpSquared(0.8)
GAMMA, BURR = dist.InverseGamma(3.0, 2.0), distributions.BurrXII(2.0, 3.0)
TRAINING = Training(
    losses=np.array([3.0, np.nan, 2.0]),
    gradient_norms=np.array([1.0, np.nan, 0.5]),
    held_out=np.array([3.5, 2.5]),
    looks=np.array([0, 3]),
    stopped=Stopped.HELD_OUT,
    has_rule=True,
    seconds=0.25,
    phases=(("fixed point", 1), ("gradient", 2)),
)


def equation():
    return spectral_pde.Problem((0.0, 1.0), lambda u: u.xx, source=-1.0, boundary=0.0, num_nodes=8)


@functools.cache
def solution():
    return spectral_pde.solve(equation(), spectrum=spectral_pde.Spectrum(1.0, 0.0, 0.5), key=0)


@functools.cache
def state_space():
    places = jnp.tile(jnp.array([1.0, 0.0, 0.0]), (6, 1))
    kernel = spectral_pde.StudentT(1.0, 0.0, 0.5)
    return spectral_pde.state_space.condition(kernel, jnp.asarray(X[:, 0]), places, jnp.asarray(Y), 0.1)


def net(head, make=set_network):
    network = make(0, 1, head.num_inputs, head.size, Sizes(8, 1, 2))
    facts = Facts("prior", "prior:0", 6, 1, getattr(head, "num_classes", 0), False, "{}")
    reference = Reference(np.array([3, 6]), np.arange(4.0).reshape(2, 2), np.ones((2, 2)))
    return pfn.Net(network, head, jnp.zeros(1), jnp.ones(1), facts, reference, TRAINING)


def bars():
    return HistogramHead(jnp.asarray(0.5), jnp.asarray(2.0), jnp.linspace(-3.0, 4.0, 6))


def unfinished():
    checkpoint = Checkpoint((np.arange(3.0, dtype=np.float32), np.array(2)), np.ones(5), np.ones(5), 5, 0.5, 1.25)
    settings = Settings(10, None, 4, 1e-3, "histogram", 5, Sizes(8, 1, 2), False, "float32")
    return Unfinished(checkpoint, settings, np.array([0, 1], np.uint32), "prior:0")


def mixture(prior, noise="inside", noise_variance=0.2, kernel=KERNEL):
    return nngp.ScaleMixture(kernel, prior, noise=noise, noise_variance=noise_variance)


def every_activation():
    dense, tanh = nngp.Dense(1.3, 0.2), nngp.Activation(jnp.tanh, 64, max_variance=1.0)
    activations = [nngp.relu, nngp.abs, nngp.leaky_relu(0.3), nngp.erf, nngp.gelu, nngp.sin, nngp.rbf(0.4), tanh]
    layers = [layer for activation in activations for layer in (dense, nngp.LayerNorm(0.1), activation)]
    branches = nngp.residual(nngp.identity, nngp.serial(nngp.relu, dense))
    return nngp.serial(*layers, dense, branches)


def convolutions(*end):
    return nngp.serial(nngp.Conv((3, 2), 1.3, 0.2, (2, 1), "CIRCULAR"), nngp.relu, *end, nngp.Dense())


def bridge(maps):
    return schrodinger_bridge.Bridge(0.5, jnp.array([-1.0, 0.5]), jnp.array([[-1.0, 0.0], [1.0, 0.5]]), maps)


def unbalanced():
    low = LowRank(jnp.array([[0.7, 1.2], [1.5, 0.4]]), jnp.array([[[0.3], [0.1]], [[0.2], [-0.4]]]))
    balanced = bridge(low)
    return schrodinger_bridge.Bridge(balanced.epsilon, balanced.log_alpha, balanced.r, low, jnp.asarray(4.0))


def guide(classes=2, points=6):
    rng = np.random.default_rng(1)
    shapes = [(classes, points), (classes, points), (classes, points, points), (), (), ()]
    return SparseGuide(*(jnp.asarray(0.3 * rng.normal(size=shape)) for shape in shapes))


def by_bridge(made):
    x0 = np.array([[0.5, -1.0], [2.0, 0.25]])
    return made.mean(x0), made.sample(x0, key=1), made.drift(x0, 0.25), made.log_density(x0, x0), made.mass(x0)


def by_kernel(made):
    return made(jnp.asarray(X), jnp.asarray(X)), made(jnp.asarray(X))


def by_mixture(made):
    return made.log_marginal_likelihood(X, Y), made.condition(X, Y).predict_each(NEW).mean


def by_posterior(made):
    each = made.predict_each(NEW, include_noise=True)
    return made.log_marginal_likelihood, each.mean, each.log_prob(jnp.array([0.5, -0.5])), made.scale.mean


def by_ensemble(made):
    law = made.predict_each(NEW)
    return law.mean, law.variance


def by_model(made):
    draws = np.random.default_rng(2).normal(size=(1, 3, 6, 2))
    return (made.predict_proba({"posterior/whitened": draws, "posterior/scale": np.exp(draws[..., 0, 0])}, NEW),)


def by_net(made):
    y = (np.abs(Y[:3]) > 0.25) if made.facts.num_classes else Y[:3]
    return made.predict(X[:3], y, NEW).log_prob(1), made.training.losses, made.reference.scores


def record(chain):
    return chain.simulate(200, noise=dist.Laplace(0.0, 1.0), key=0)


def of_tree(tree):
    return [np.asarray(variable.values) for node in tree.subtree for variable in node.variables.values()]


ROWS = {
    "network": (every_activation, lambda made: made.nngp_and_ntk(X)),
    "network of images": (lambda: convolutions(nngp.Flatten()), lambda made: made.nngp_and_ntk(IMAGES)),
    "network with a pool": (lambda: convolutions(nngp.GlobalPool()), lambda made: [made.nngp(IMAGES)]),
    "tangent kernel": (lambda: nngp.fully_connected(1).ntk_kernel, by_kernel),
    "sum of kernels": (
        lambda: tinygp.transforms.Linear(
            jnp.array([0.5]), nngp.fully_connected(1) + 2.0 * tinygp.kernels.Matern32(jnp.asarray(0.5))
        ),
        by_kernel,
    ),
    "scale mixture": (lambda: mixture(GAMMA, kernel=nngp.fully_connected(1, 1.5, 0.1)), by_mixture),
    "scale mixture, quadrature": (lambda: mixture(dist.LogNormal(0.0, 1.0)), by_mixture),
    "posterior, closed": (lambda: mixture(GAMMA).condition(X, Y), by_posterior),
    "posterior, quadrature": (lambda: mixture(BURR).condition(X, Y), by_posterior),
    "posterior, noise outside": (lambda: mixture(BURR, "outside").condition(X, Y), by_posterior),
    "posterior, fixed scale": (lambda: mixture(1.5, "outside").condition(X, Y), by_posterior),
    "importance": (
        lambda: mixture(GAMMA).importance(X, Y, num_draws=500, key=0),
        lambda made: (made.log_marginal_likelihood, made.log_weights, made.predict_each(NEW).mean),
    ),
    "readout trained": (lambda: mixture(GAMMA, noise_variance=0.0).readout_trained(X, Y), by_ensemble),
    "fully trained": (
        lambda: mixture(GAMMA, noise_variance=0.0, kernel=nngp.fully_connected(1, 1.5, 0.3)).fully_trained(X, Y),
        by_ensemble,
    ),
    "evidence": (
        lambda: nngp.EvidenceFit(mixture(GAMMA), {"a": np.array(0.2)}, -3.5, True, ("a",), np.array([-3.5]), 7),
        lambda made: (*by_mixture(made.mixture), made.parameters["a"], made.restarts),
    ),
    "classifier": (
        lambda: nngp.SparseClassifier(KERNEL, GAMMA, inducing=X[:3], num_classes=2),
        lambda made: (made.inducing, *by_kernel(made.kernel)),
    ),
    "fitted classifier": (
        lambda: nngp.FittedClassifier(at_points(KERNEL, X), GAMMA, guide(), TRAINING, 6, -4.25),
        lambda made: (made.predict_proba(NEW), made.bounds, *of_tree(made.tree)),
    ),
    "classification model": (lambda: nngp.classification_model(KERNEL, GAMMA, X, num_classes=2), by_model),
    "classification model, known scale": (
        lambda: nngp.classification_model(KERNEL, 1.5, X, num_classes=2),
        by_model,
    ),
    "bridge, diagonal": (lambda: bridge(Diagonal(jnp.array([[0.7, 1.2], [1.5, 0.4]]))), by_bridge),
    "bridge, full": (lambda: bridge(full_covariance(jnp.array(2 * [[[1.0, 0.2], [0.2, 0.5]]]))), by_bridge),
    "bridge, low rank": (unbalanced, by_bridge),
    "spectrum": (lambda: spectral_pde.Spectrum([1.0, 0.5], [0.0, 2.0], [0.5, 1.0]), lambda made: [made.density(1.5)]),
    "spectral kernels": (
        lambda: spectral_pde.Product(
            [spectral_pde.SpectralMixture(1.0, 2.0, 0.5), spectral_pde.StudentT(0.7, 1.0, 0.4)]
        ),
        lambda made: [made.evaluate(jnp.array([0.1, 0.2]), jnp.array([0.3, 0.5]))],
    ),
    "solution of an equation": (solution, lambda made: [made.mean(NEW / 2), made.sd(NEW / 2)]),
    "state space": (state_space, lambda made: [made.mean(NEW[:, 0]), made.sd(NEW[:, 0])]),
    "GP-HM": (
        lambda: spectral_pde.GPHM(2, 1.0, num_steps=3).fit(equation()),
        lambda made: [made.mean(NEW / 2)],
    ),
    "settings of GP-HM": (lambda: spectral_pde.GPHM(2, kernel="student_t"), lambda made: [made.num_steps, hash(made)]),
    "fitted bridge": (
        lambda: schrodinger_bridge.BridgeFit(
            bridge(Diagonal(jnp.ones((2, 2)))), 1.5, TRAINING.tree("LightBridge", {"rank": 2}, coupled=0)
        ),
        lambda made: (made.scale, made.losses, made.held_out, made.seconds, *of_tree(made.tree)),
    ),
    "settings of a bridge": (
        lambda: schrodinger_bridge.LightBridge(2, epsilon=0.5, annealing=[10.0, 3.0], tau=1e300),
        lambda made: (made.epsilon, made.annealing, made.tau, hash(made)),
    ),
    "Gaussian mixture": (
        lambda: unbalanced().potential,
        lambda made: [jax.jit(type(made).log_density)(made, jnp.ones((2, 2)))],
    ),
    "trained": (
        lambda: Trained({"w": jnp.array([1.0, 2.0])}, TRAINING),
        lambda made: (made.parameters["w"], made.losses),
    ),
    "net": (lambda: net(bars()), by_net),
    "net of a mixture": (lambda: net(MixtureHead(jnp.asarray(0.5), jnp.asarray(2.0))), by_net),
    "net of classes": (lambda: net(ClassHead(3)), by_net),
    "net of cells": (lambda: net(ClassHead(3), table_network), by_net),
    "training that is not finished": (
        unfinished,
        lambda made: (*made.checkpoint.leaves, made.checkpoint.losses, made.key, hash(made.settings)),
    ),
    "Markov chain": (lambda: td_error.random_walk(5, 0.9), lambda made: (made.values, *record(made).data.values())),
    "trajectories": (
        lambda: record(td_error.random_walk(5, 0.9)),
        lambda made: (made.traces(0.5), made.errors(jnp.arange(5.0))),
    ),
    "evaluation": (
        lambda: td_error.evaluate(record(td_error.random_walk(5, 0.9)), "lstd"),
        lambda made: (made.values(np.eye(5)), made.standard_errors(np.eye(5)), made.error_variance),
    ),
    "unfinished agents": (
        lambda: agent_training.Unfinished(
            (np.arange(3.0), np.array(True)), np.ones((2, 1, 3)), np.ones((2, 1, 3)), np.ones(1), "{}"
        ),
        lambda made: (*made.leaves, made.returns, made.lengths, made.seconds),
    ),
    "histogram": (
        lambda: distributions.Histogram([-1.0, 0.0, 1.0, 2.5], jnp.array([0.3, 1.0, -0.5])),
        lambda made: [made.icdf(jnp.array([0.1, 0.5, 0.9]))],
    ),
    "generalized normal": (
        lambda: distributions.GeneralizedNormal(0.5, jnp.array([1.5, 0.7]), 1.3),
        lambda made: [jax.jit(type(made).log_prob)(made, jnp.ones(2))],
    ),
    "law": (
        lambda: distributions.MultivariateStudentT(6.0, jnp.array([0.5, -1.0]), jnp.eye(2)),
        lambda made: [jax.jit(type(made).log_prob)(made, jnp.ones(2))],
    ),
}
FULL = (  # which predict as other rows do
    "scale mixture, quadrature",
    "posterior, closed",
    "posterior, fixed scale",
    "bridge, diagonal",
    "net of classes",  # which are those of "net of cells" too
)
by_name = pytest.mark.parametrize("name", rows(ROWS, full=FULL))
PREDICTS_AS_ANOTHER = (  # of which by default only the content is compared
    "network with a pool",  # as "network of images"
    "sum of kernels",  # as "tangent kernel"
    "posterior, quadrature",  # as "posterior, noise outside"
    "fully trained",  # as "readout trained"
    "bridge, full",  # as "bridge, low rank"
    "state space",  # as "solution of an equation"
    "net of a mixture",  # as "net"
)


@functools.cache
def made(name):
    return ROWS[name][0]()


def predictions(name, thing):
    return [np.asarray(each) for each in ROWS[name][1](thing)]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()


def content(thing):
    return as_tree(thing, Path("x.nc")).attrs["checksum"]


@pytest.mark.parametrize("name", rows(ROWS, full={*FULL, *PREDICTS_AS_ANOTHER}))
def test_what_is_loaded_predicts_the_same_to_the_last_bit(name, tmp_path):
    expected = predictions(name, made(name))
    for file in ("kept.zarr", "kept.nc"):
        again = bk.load(bk.save(made(name), tmp_path / file))
        assert type(again) is type(made(name))
        assert content(again) == content(made(name))
        assert_same(predictions(name, again), expected)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kept.nc", "kept.zarr"]


CUT = (
    " in float64, and JAX is set to numbers of 32 bits; call jax.config.update('jax_enable_x64', True) at the start of "
    "the program"
)
DOUBLE = [name for name in ROWS if name.startswith(("scale mixture", "posterior", "importance", "readout", "fully"))]


@by_name
def test_in_single_precision_it_is_the_same_or_refused(name, tmp_path):
    path = bk.save(made(name), tmp_path / "kept.nc")
    text = re.escape(f"{path} holds ") + r"[\w\[\].']+" + re.escape(CUT)
    with jax.enable_x64(False):
        try:
            again = bk.load(path)
        except StorageError as error:
            right = name not in DOUBLE and re.fullmatch(text, str(error)) is not None
        else:
            right = content(again) == content(made(name))
    assert right


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64")  # parameters of laws, which end in float32
@pytest.mark.parametrize("name", rows(DOUBLE, full={*DOUBLE} - {"scale mixture", "posterior, noise outside"}))
def test_what_computes_in_double_predicts_the_same_in_single_precision(name, tmp_path):
    path = bk.save(made(name), tmp_path / "kept.nc")
    with jax.enable_x64(False):
        assert_same(predictions(name, bk.load(path)), predictions(name, made(name)))


def kinds_in(name):
    structure = as_tree(made(name), Path("x.nc"))["structure/json"].values.tobytes().decode()
    return set(re.findall(r'"kind": "([\w.]+)"', structure))


def test_every_class_that_can_be_kept_is_in_a_row():
    kinds = {kind for kind in _keepable._NAMED if not kind.startswith("mine.")}
    assert kinds - set().union(*map(kinds_in, ROWS)) == set()


def test_every_name_is_found_where_nothing_is_imported_yet():
    # those that import others come last
    homes = ["distributions", "numerics", "train", "schrodinger_bridge", "spectral_pde", "nngp", "pfn"]
    kinds = sorted(
        (kind for kind in _keepable._NAMED if kind.partition(".")[0] in homes),
        key=lambda kind: homes.index(kind.partition(".")[0]),
    )
    program = f"from bayeskit._keepable import find; print([kind for kind in {kinds} if find(kind) is None])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert len(kinds) > 40
    assert done.stdout == "[]\n"
