"""What Feast's on-demand views call: the named features of a view, from stored states at given times."""

from __future__ import annotations

from collections.abc import Sequence

from features.declared import FEATURE_SETS
from features.history import CorruptState, History


def named_features(
    set_name: str, view_name: str, states: Sequence[bytes | None], at_us: Sequence[int | None]
) -> dict[str, list[float]]:
    """One list for each feature, one value for each row; NaN where nothing is known (Feast infers types from values).

    At the time of an event of its history, a view's features are those with which that event was scored.

    Bytes that are no state of this view give the features of an empty history: `feast apply` tries random ones.
    """
    feature_set = FEATURE_SETS[set_name]
    view = next(view for view in feature_set.views if view.name == view_name)
    columns: dict[str, list[float]] = {name: [] for name in view.names}
    for state, at in zip(states, at_us, strict=True):
        try:
            history = History.decode(view, bytes(state) if state else None)
        except CorruptState:
            history = History(view)
        values = feature_set.read_at(view_name, history, int(at or 0)).tolist()
        for name, value in zip(view.names, values, strict=True):
            columns[name].append(value)
    return columns
