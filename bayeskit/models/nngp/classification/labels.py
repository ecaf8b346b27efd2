"""What labels of classes may be."""

from __future__ import annotations

import numpy as np

from bayeskit.errors import DataError

__all__ = ["check_classes", "class_labels"]


def class_labels(labels: object, name: str, length: int, num_classes: int | None) -> np.ndarray:
    """Labels from 0, shape `(n,)`.

    Raises:
        DataError: not integers, of another number than the inputs, or out of range.
    """
    array = np.asarray(labels)
    if array.dtype.kind not in "iu":
        raise DataError(
            f"{name} must be integers from 0, got {array.dtype}; encode classes with numpy.unique(..., "
            "return_inverse=True)"
        )
    if array.shape != (length,):
        raise DataError(f"{name} must have shape ({length},), one for each input, got {array.shape}")
    most = array.max() + 1 if num_classes is None else num_classes
    bad = np.flatnonzero((array < 0) | (array >= most))
    if bad.size:
        raise DataError(f"{name}[{bad[0]}] = {array[bad[0]]} is not a class: they are numbered from 0 to {most - 1}")
    return array.astype(np.int32)


def check_classes(labels: np.ndarray) -> None:
    """Refuse to learn from one class.

    Raises:
        DataError: all labels are the same.
    """
    if np.all(labels == labels[0]):
        raise DataError(f"labels are all {labels[0]}: there is nothing to tell apart; give at least two classes")
