"""Names of array types: what is meant by an array of a kind stands here once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Real numbers in double precision; shapes stand in the names of variables.
Values = NDArray[np.float64]
