"""Hidden Markov models: the forward algorithm by hand, and states that are summed out along a scan.

Rabiner (1989), "A tutorial on hidden Markov models"; Ghahramani and Jordan (1997), "Factorial hidden Markov models".
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

# ---- words of which only the first have known categories -------------------------------------------------------------


def semi_supervised(num_categories: int, num_words: int, categories: ArrayLike, words: ArrayLike, later: ArrayLike):
    """Categories of the first words are known; those of the later ones are summed out by the forward algorithm."""
    with numpyro.plate("category", num_categories):
        transition = numpyro.sample("transition", dist.Dirichlet(jnp.ones(num_categories)))
        emission = numpyro.sample("emission", dist.Dirichlet(jnp.full(num_words, 0.5)))
    with numpyro.plate("step", len(categories) - 1):
        numpyro.sample("next_category", dist.Categorical(transition[categories[:-1]]), obs=categories[1:])
    with numpyro.plate("place", len(words)):
        numpyro.sample("word", dist.Categorical(emission[categories]), obs=words)

    def step(forward: ArrayLike, word: ArrayLike) -> tuple[ArrayLike, None]:
        return jax.nn.logsumexp(forward[:, None] + jnp.log(transition) + jnp.log(emission[:, word]), axis=0), None

    start = jnp.log(emission[:, later[0]])
    forward, _ = jax.lax.scan(step, start, later[1:])
    numpyro.factor("later_words", jax.nn.logsumexp(forward))


def _text() -> dict[str, object]:
    random = np.random.default_rng(14)
    transition = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.2, 0.5]])
    emission = np.array([[0.6, 0.2, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1], [0.1, 0.2, 0.1, 0.6]])
    categories = [0]
    for _ in range(49):
        categories.append(random.choice(3, p=transition[categories[-1]]))
    words = np.array([random.choice(4, p=emission[category]) for category in categories])
    return {
        "num_categories": 3,
        "num_words": 4,
        "categories": np.array(categories[:25]),
        "words": words[:25],
        "later": words[25:],
    }


TEXT = _text()

# ---- tunes: at each time, each of several notes sounds or not; the tunes have different lengths --------------------


def _listen(tunes: ArrayLike, lengths: ArrayLike, step: Callable[..., Any], start: tuple[ArrayLike, ...]) -> None:
    """Run ``step(states, notes, note_plate) -> states`` over time, in a plate of tunes that have not yet ended."""
    num_tunes, _, num_notes = tunes.shape

    def at(carry: Any, notes: ArrayLike) -> tuple[Any, None]:
        states, time = carry
        with numpyro.plate("tune", num_tunes, dim=-2), handlers.mask(mask=(time < lengths)[:, None]):
            states = step(states, notes, numpyro.plate("note", num_notes, dim=-1))
        return (states, time + 1), None

    scan(at, (start, 0), jnp.swapaxes(tunes, 0, 1))


def _start(tunes: ArrayLike) -> ArrayLike:
    return jnp.zeros((tunes.shape[0], 1), int)


def _stay(name: str, num_states: int) -> ArrayLike:
    """The chances of the next state, one row a state; to stay is more likely."""
    return numpyro.sample(name, dist.Dirichlet(0.9 * jnp.eye(num_states) + 0.1).to_event(1))


def _sounding(num_notes: int, *states: int) -> ArrayLike:
    """The chance that a note sounds, by states; most are silent."""
    return numpyro.sample("sounding", dist.Beta(1.0, 4.0).expand([*states, num_notes]).to_event(len(states) + 1))


def one_chain(tunes: ArrayLike, lengths: ArrayLike, num_states: int) -> None:
    """One hidden state; the notes are independent of each other given it."""
    transition = _stay("transition", num_states)
    sounding = _sounding(tunes.shape[2], num_states)

    def step(states: tuple[ArrayLike], notes: ArrayLike, note_plate: numpyro.plate) -> tuple[ArrayLike]:
        state = numpyro.sample("state", dist.Categorical(transition[states[0]]), infer={"enumerate": "parallel"})
        with note_plate:
            numpyro.sample("notes", dist.Bernoulli(sounding[state.squeeze(-1)]), obs=notes)
        return (state,)

    _listen(tunes, lengths, step, (_start(tunes),))


def notes_that_last(tunes: ArrayLike, lengths: ArrayLike, num_states: int) -> None:
    """A note depends on the hidden state and on whether the note sounded just before."""
    num_notes = tunes.shape[2]
    transition = _stay("transition", num_states)
    sounding = _sounding(num_notes, num_states, 2)

    def step(states: Any, notes: ArrayLike, note_plate: numpyro.plate) -> Any:
        state, before = states
        state = numpyro.sample("state", dist.Categorical(transition[state]), infer={"enumerate": "parallel"})
        with note_plate as each:
            notes = numpyro.sample("notes", dist.Bernoulli(sounding[state, before, each]), obs=notes)
        return state, notes

    _listen(tunes, lengths, step, (_start(tunes), jnp.zeros((tunes.shape[0], num_notes), int)))


def two_chains(tunes: ArrayLike, lengths: ArrayLike, num_states: int) -> None:
    """Two hidden states that move independently: a factorial model."""
    moves = _stay("first_transition", num_states), _stay("second_transition", num_states)
    sounding = _sounding(tunes.shape[2], num_states, num_states)

    def step(states: tuple[ArrayLike, ...], notes: ArrayLike, note_plate: numpyro.plate) -> tuple[ArrayLike, ...]:
        first = numpyro.sample("first", dist.Categorical(moves[0][states[0]]), infer={"enumerate": "parallel"})
        second = numpyro.sample("second", dist.Categorical(moves[1][states[1]]), infer={"enumerate": "parallel"})
        with note_plate as each:
            numpyro.sample("notes", dist.Bernoulli(sounding[first, second, each]), obs=notes)
        return first, second

    _listen(tunes, lengths, step, (_start(tunes), _start(tunes)))


def chain_on_chain(tunes: ArrayLike, lengths: ArrayLike, num_states: int) -> None:
    """Two hidden states, of which the second moves as the first has it: a dynamic Bayesian network."""
    transition = _stay("first_transition", num_states)
    with numpyro.plate("first_state", num_states):
        below = _stay("second_transition", num_states)
    sounding = _sounding(tunes.shape[2], num_states, num_states)

    def step(states: tuple[ArrayLike, ...], notes: ArrayLike, note_plate: numpyro.plate) -> tuple[ArrayLike, ...]:
        first = numpyro.sample("first", dist.Categorical(transition[states[0]]), infer={"enumerate": "parallel"})
        second = numpyro.sample("second", dist.Categorical(below[first, states[1]]), infer={"enumerate": "parallel"})
        with note_plate as each:
            numpyro.sample("notes", dist.Bernoulli(sounding[first, second, each]), obs=notes)
        return first, second

    _listen(tunes, lengths, step, (_start(tunes), _start(tunes)))


def _tunes() -> dict[str, object]:
    """Four tunes of up to nine times and three notes, from two states that tend to stay."""
    random = np.random.default_rng(15)
    lengths = np.array([9, 7, 8, 5])
    sounding = np.array([[0.1, 0.2, 0.7], [0.8, 0.6, 0.1]])
    tunes = np.zeros((4, 9, 3), int)
    for tune, length in zip(tunes, lengths, strict=True):
        state = 0
        for time in range(length):
            state = state if random.uniform() < 0.8 else 1 - state
            tune[time] = random.uniform(size=3) < sounding[state]
    return {"tunes": tunes, "lengths": lengths, "num_states": 2}


TUNES = _tunes()
