"""The one definition of a spread in these experiments: the standard deviation over seeds, divisor n - 1."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Spread(NamedTuple):
    """Mean and standard deviation over seeds; NaN deviation of one alone."""

    mean: float
    deviation: float

    def __str__(self) -> str:
        return self.told(3)

    def told(self, digits: int) -> str:
        """Mean +- standard deviation with so many digits; of one seed the number alone."""
        mean = f"{self.mean:.{digits}f}"
        return mean if np.isnan(self.deviation) else f"{mean} +- {self.deviation:.{digits}f}"


def spread(values: Any) -> Spread:
    """Mean and standard deviation (divisor n - 1) of some values.

    Example:
      >>> str(spread([0.5, 0.7])), str(spread([0.5])), spread([45.0, 47.0]).told(1)
      ('0.600 +- 0.141', '0.500', '46.0 +- 1.4')
    """
    values = np.asarray(values, np.float64)
    return Spread(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan"))
