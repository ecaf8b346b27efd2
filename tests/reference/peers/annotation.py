"""Several annotators put each item into a class, and some are better at it than others.

The true class of each item is a discrete latent site, which is summed out. Dawid and Skene (1979), "Maximum likelihood
estimation of observer error-rates using the EM algorithm"; Hovy et al. (2013), "Learning whom to trust with MACE";
Paun et al. (2018), "Comparing Bayesian models of annotation". The priors hold annotators for more often right than not,
or classes could be relabelled.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.typing import ArrayLike
from numpyro import handlers
from numpyro.infer.reparam import LocScaleReparam


def _true_class(num_items: int, shares: ArrayLike) -> tuple[numpyro.plate, ArrayLike]:
    """The plate of the items, entered by the caller, and the class of each."""
    items = numpyro.plate("item", num_items, dim=-2)
    with items:
        return items, numpyro.sample("true_class", dist.Categorical(shares), infer={"enumerate": "parallel"})


def _mostly_right(num_classes: int) -> ArrayLike:
    """Log odds of what is said, by class, against the last class: two for the truth against any other."""
    return 2.0 * (jnp.eye(num_classes)[:, :-1] - (jnp.arange(num_classes) == num_classes - 1)[:, None])


def multinomial(annotations: ArrayLike) -> None:
    """All annotators alike: what is said of an item depends on its class alone."""
    num_classes = int(np.max(annotations)) + 1
    num_items, num_columns = annotations.shape
    with numpyro.plate("class", num_classes):
        said = numpyro.sample("said", dist.Dirichlet(1.0 + 4.0 * jnp.eye(num_classes)))
    shares = numpyro.sample("shares", dist.Dirichlet(jnp.ones(num_classes)))
    items, true_class = _true_class(num_items, shares)
    with items, numpyro.plate("column", num_columns):
        numpyro.sample("annotation", dist.Categorical(said[true_class]), obs=annotations)


def dawid_skene(annotator: ArrayLike, annotations: ArrayLike) -> None:
    """Each annotator confuses classes in a way of their own."""
    num_annotators = int(np.max(annotator)) + 1
    num_classes = int(np.max(annotations)) + 1
    num_items, num_columns = annotations.shape
    with numpyro.plate("annotator", num_annotators, dim=-2), numpyro.plate("class", num_classes):
        said = numpyro.sample("said", dist.Dirichlet(1.0 + 4.0 * jnp.eye(num_classes)))
    shares = numpyro.sample("shares", dist.Dirichlet(jnp.ones(num_classes)))
    items, true_class = _true_class(num_items, shares)
    with items, numpyro.plate("column", num_columns):
        numpyro.sample("annotation", dist.Categorical(said[annotator, true_class]), obs=annotations)


def mace(annotator: ArrayLike, annotations: ArrayLike) -> None:
    """An annotator knows the class, or guesses: whether they do is a second discrete site, one for each annotation."""
    num_annotators = int(np.max(annotator)) + 1
    num_classes = int(np.max(annotations)) + 1
    num_items, num_columns = annotations.shape
    with numpyro.plate("annotator", num_annotators):
        guess = numpyro.sample("guess", dist.Dirichlet(jnp.full(num_classes, 10.0)))
        honest = numpyro.sample("honest", dist.Beta(0.5, 0.5))
    items, true_class = _true_class(num_items, jnp.full(num_classes, 1.0 / num_classes))
    with items, numpyro.plate("column", num_columns):
        guesses = numpyro.sample("guesses", dist.Bernoulli(1.0 - honest[annotator]), infer={"enumerate": "parallel"})
        known = jnp.eye(num_classes)[true_class]
        chances = jnp.where(guesses[..., None] == 0, known, guess[annotator])
        numpyro.sample("annotation", dist.Categorical(chances), obs=annotations)


def hierarchical_dawid_skene(annotator: ArrayLike, annotations: ArrayLike) -> None:
    """Annotators vary around what is usual for a class, on the scale of log odds; the last class has log odds zero."""
    num_annotators = int(np.max(annotator)) + 1
    num_classes = int(np.max(annotations)) + 1
    num_items, num_columns = annotations.shape
    with numpyro.plate("class", num_classes):
        usual = numpyro.sample("usual", dist.Normal(_mostly_right(num_classes), 1.0).to_event(1))
        spread = numpyro.sample("spread", dist.HalfNormal(1.0).expand([num_classes - 1]).to_event(1))
    annotators, classes = numpyro.plate("annotator", num_annotators, dim=-2), numpyro.plate("class", num_classes)
    with annotators, classes, handlers.reparam(config={"log_odds": LocScaleReparam(0.0)}):
        log_odds = numpyro.sample("log_odds", dist.Normal(usual, spread).to_event(1))
    log_odds = jnp.pad(log_odds, [(0, 0), (0, 0), (0, 1)])
    shares = numpyro.sample("shares", dist.Dirichlet(jnp.ones(num_classes)))
    items, true_class = _true_class(num_items, shares)
    with items, numpyro.plate("column", num_columns):
        numpyro.sample("annotation", dist.Categorical(logits=log_odds[annotator, true_class]), obs=annotations)


def item_difficulty(annotations: ArrayLike) -> None:
    """Items vary, some being harder than others of their class; annotators are all alike."""
    num_classes = int(np.max(annotations)) + 1
    num_items, num_columns = annotations.shape
    with numpyro.plate("class", num_classes):
        usual = numpyro.sample("usual", dist.Normal(_mostly_right(num_classes), 1.0).to_event(1))
        spread = numpyro.sample("spread", dist.HalfNormal(1.0).expand([num_classes - 1]).to_event(1))
    shares = numpyro.sample("shares", dist.Dirichlet(jnp.ones(num_classes)))
    items, true_class = _true_class(num_items, shares)
    with items:
        with handlers.reparam(config={"log_odds": LocScaleReparam(0.0)}):
            log_odds = numpyro.sample("log_odds", dist.Normal(usual[true_class], spread[true_class]).to_event(1))
        log_odds = jnp.pad(log_odds, [(0, 0)] * (jnp.ndim(log_odds) - 1) + [(0, 1)])
        with numpyro.plate("column", num_columns):
            numpyro.sample("annotation", dist.Categorical(logits=log_odds), obs=annotations)


def logistic_random_effects(annotator: ArrayLike, annotations: ArrayLike) -> None:
    """Annotators vary, and items do."""
    num_annotators = int(np.max(annotator)) + 1
    num_classes = int(np.max(annotations)) + 1
    num_items, num_columns = annotations.shape
    with numpyro.plate("class", num_classes):
        usual = numpyro.sample("usual", dist.Normal(_mostly_right(num_classes), 1.0).to_event(1))
        spread = numpyro.sample("spread", dist.HalfNormal(1.0).expand([num_classes - 1]).to_event(1))
        hardness = numpyro.sample("hardness", dist.HalfNormal(1.0).expand([num_classes - 1]).to_event(1))
    annotators, classes = numpyro.plate("annotator", num_annotators, dim=-2), numpyro.plate("class", num_classes)
    with annotators, classes, handlers.reparam(config={"log_odds": LocScaleReparam(0.0)}):
        log_odds = numpyro.sample("log_odds", dist.Normal(usual, spread).to_event(1))
    shares = numpyro.sample("shares", dist.Dirichlet(jnp.ones(num_classes)))
    items, true_class = _true_class(num_items, shares)
    with items:
        with handlers.reparam(config={"shift": LocScaleReparam(0.0)}):
            shift = numpyro.sample("shift", dist.Normal(0.0, hardness[true_class]).to_event(1))
        with numpyro.plate("column", num_columns):
            logits = log_odds[annotator, true_class] - shift
            logits = jnp.pad(logits, [(0, 0)] * (jnp.ndim(logits) - 1) + [(0, 1)])
            numpyro.sample("annotation", dist.Categorical(logits=logits), obs=annotations)


def _annotations() -> dict[str, np.ndarray]:
    """Four annotators in six columns (the first of them twice more), who are right with chances from 0.6 to 0.9."""
    random = np.random.default_rng(3)
    annotator = np.array([0, 0, 0, 1, 2, 3])
    truth = random.choice(3, size=14, p=[0.5, 0.3, 0.2])
    right = random.uniform(size=(14, 6)) < np.array([0.9, 0.8, 0.7, 0.6])[annotator]
    other = (truth[:, None] + random.integers(1, 3, (14, 6))) % 3
    return {"annotator": annotator, "annotations": np.where(right, truth[:, None], other)}


BY_ANNOTATORS = _annotations()
ALL_ALIKE = {"annotations": BY_ANNOTATORS["annotations"]}
