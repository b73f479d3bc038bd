"""Parts that need a package which a plain installation does not have."""

from __future__ import annotations


class MissingExtra(LookupError):
    """A package is not installed. It names the remedy.

    >>> str(MissingExtra("LightGBM", "lightgbm"))
    "LightGBM is not installed; run: pip install 'headrace[lightgbm]'"
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed; run: pip install 'headrace[{extra}]'")
