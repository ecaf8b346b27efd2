"""What is known of the features between layers: the conditions under which the formula of a kernel holds."""

from __future__ import annotations

import dataclasses

from bayeskit.errors import ModelError

__all__ = ["Signal"]


@dataclasses.dataclass(frozen=True)
class Signal:
    """What is known of the features at some place of a network.

    Attributes:
        image: features at each pixel, `(n, height, width, channels)`; otherwise `(n, features)`. ``None``: not known.
        gaussian: infinitely many features that are independent and Gaussian, each with the same law.
        wide: infinitely many features, not those of the input.
        fresh: of mean zero and uncorrelated given all earlier layers, because new weights were the last thing random.
    """

    image: bool | None
    gaussian: bool
    wide: bool
    fresh: bool

    def required_gaussian(self, layer: str) -> Signal:
        """The same signal.

        Raises:
            ModelError: it is not Gaussian.
        """
        if not self.gaussian:
            after = "features that are not Gaussian" if self.wide else "the raw input"
            raise ModelError(
                f"{layer} comes after {after}; its kernel needs the outputs of infinitely many random weights: put a "
                "Dense (for images, a Conv) before it"
            )
        return self

    def required_image(self, layer: str) -> Signal:
        """The same signal.

        Raises:
            ModelError: it is not an image.
        """
        if self.image is False:
            raise ModelError(
                f"{layer} needs images (n, height, width, channels) but got vectors (n, features): the input is a "
                "matrix, or it comes after Dense, Flatten or GlobalPool"
            )
        return self


ANYTHING = Signal(image=None, gaussian=True, wide=True, fresh=False)
"""What a part of a network may be fed."""
