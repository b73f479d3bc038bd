"""The numbers by which the compiled reading is told what to do: kinds of operations, and the columns of its tables."""

from __future__ import annotations

COUNT, TOTAL, MEAN, STD, LOWEST, HIGHEST, LATEST, PREVIOUS, DISTINCT, SHARE, FIRST, SINCE, DECAYED = range(13)
KIND, COLUMN, WINDOW_US, DELAY_US, HALF_LIFE_US = range(5)
"""The columns of an operation. A column of -1 means the events themselves."""

FIRST_OPERATION, END_OPERATION, WIDTH, MERGED_WIDTH, COLUMNS = range(5)
"""The columns of a shape: what is fixed of each view."""
ROWS, MERGED, MEMBERS, CURRENT = range(4)
"""The columns of a size: how many of each a view's part of the block has; -1 rows for a view that was not read."""
SIZES = 4
