"""The sleep phase of wake-sleep. It takes a generative program, so it is not an `Objective` for `VI`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bayeskit._settings import Settings, require
from bayeskit._typing import Values
from bayeskit.errors import ModelError
from bayeskit.inference.vi.objectives.objective import Number, check_count, draw_fixed
from bayeskit.program import Runnable, average, log_density
from bayeskit.program.runnable import name_of_program

__all__ = ["Sleep"]


@dataclass(frozen=True)
class Sleep(Settings):
    r"""The sleep phase of wake-sleep: :math:`\mathrm E_{p(z, y)} \log q(z \mid y)` over draws of the model.

    It fits an amortised guide, for all data at once, without bias and without weights; up to a constant it is the mean
    of :math:`-\mathrm{KL}(p(z \mid y) \,\|\, q(z \mid y))` over data from the model. The gradient reaches the guide
    only. Instead of a model with its data it takes a *generative* program, which draws the data as well, and the guide
    as a function of them: ``sleep(["x"])(generative, guide)``, where ``guide({"x": x})`` is a program of the other
    sites.

    Args:
        observed: names of the sites that are data.
        num_particles: how many draws are averaged.

    Raises:
        MethodError: an impossible setting.
        ModelError: when called: the program has no such site.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def generative():
        ...     z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...     numpyro.sample("x", dist.Normal(z, 1.0))
        >>> def objective(slope):
        ...     guide = lambda data: lambda: numpyro.sample("z", dist.Normal(slope * data["x"], 0.5**0.5))
        ...     return bk.objectives.Sleep(["x"], 1000)(generative, guide)
        >>> gradient = jax.jit(jax.grad(bk.expectation(objective), argnums=1))(0, 0.5)  # the posterior's slope
        >>> bool(abs(gradient) < 0.3)
        True

    Reference: Hinton, Dayan, Frey and Neal (1995), "The wake-sleep algorithm for unsupervised neural networks".
    """

    kind: ClassVar[str] = "sleep"

    observed: Sequence[str]
    num_particles: int = 1

    def __post_init__(self) -> None:
        check_count(self.num_particles)
        ok = bool(self.observed) and not isinstance(self.observed, str)
        ok = ok and all(isinstance(name, str) for name in self.observed)
        require(ok, "observed", self.observed, "a list of site names")
        object.__setattr__(self, "observed", tuple(self.observed))

    def __call__(self, generative: Runnable, guide: Callable[[Values], Runnable]) -> Number:
        def one() -> Number:
            choices, _ = draw_fixed(generative)
            for name in self.observed:
                if name not in choices:
                    raise ModelError(
                        f"observed names {name!r}, and {name_of_program(generative)!r} has {sorted(choices)}"
                    )
            given = {name: choices[name] for name in self.observed}
            return log_density(guide(given), {name: v for name, v in choices.items() if name not in given})

        return average(self.num_particles, one)
