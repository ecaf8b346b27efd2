r"""How a gradient passes a random choice.

For a choice $x \sim q_\theta$ and the rest of the program $k(x)$, an estimator makes a *surrogate*: a number whose
value is an unbiased estimate of $\mathrm E\, k(x)$ and whose derivative is an unbiased estimate of
$\nabla_\theta\, \mathrm E\, k(x)$ (Lew, Huot, Staton and Mansinghka 2023, "ADEV"; Becker et al. 2024, "Probabilistic
Programming with Programmable Variational Inference"). With $\bot$ for `stop_gradient`:

=====================  ============================================================================================
estimator              surrogate
=====================  ============================================================================================
:class:`Pathwise`      $k(x)$ with $x$ a differentiable function of $\theta$ and of noise
:class:`Score`         $k(\bot x) \, e^{\ell - \bot \ell} - b\,(e^{\ell - \bot \ell} - 1)$, $\ell = \log q_\theta(x)$
:class:`Enumeration`   $\sum_v q_\theta(v)\, k(v)$
:class:`MeasureValued` $k(\bot x) + \sum_v \bot k(v)\, (q_\theta(v) - \bot q_\theta(v))$, or the same over the two
                       halves of a weak derivative
:class:`DisARM`        $k(\bot x)$ and, for each Bernoulli choice, $\bot[\tfrac12 (k(x) - k(\tilde x)) (-1)^{\tilde x_i}
                       1_{x_i \ne \tilde x_i}\, \sigma(|\alpha_i|)]\,(\alpha_i - \bot \alpha_i)$ with its antithetic
=====================  ============================================================================================
"""

from bayeskit.inference.vi.estimators.baselines import FittedBaseline as FittedBaseline
from bayeskit.inference.vi.estimators.custom import Custom as Custom
from bayeskit.inference.vi.estimators.default import default_estimator as default_estimator
from bayeskit.inference.vi.estimators.disarm import DisARM as DisARM
from bayeskit.inference.vi.estimators.enumeration import Enumeration as Enumeration
from bayeskit.inference.vi.estimators.measure_valued import MeasureValued as MeasureValued
from bayeskit.inference.vi.estimators.pathwise import Pathwise as Pathwise
from bayeskit.inference.vi.estimators.score import Score as Score
