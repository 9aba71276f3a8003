"""Names of array types: what is meant by an array of a kind stands here once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Real numbers in double precision; shapes stand in the names of variables.
Values = NDArray[np.float64]

#: Real numbers in whatever precision they came in: a function that takes only one of them may take these.
Reals = NDArray[Any]

#: Places in another array.
Indices = NDArray[np.integer[Any]]
