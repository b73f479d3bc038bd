"""What is compiled ahead is all that is compiled: a kernel left out would make every first start pay for it."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from numba.core.registry import CPUDispatcher

import features
import models
import scoring
from headrace.compile_ahead import compiled_modules

ROOT = Path(features.__file__).parent.parent


def test_every_module_that_compiles_something_is_compiled_ahead() -> None:
    compiled = set(compiled_modules(ROOT))
    for room in (features, models, scoring):
        for found in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
            if found.name == "scoring.service":  # it opens a scorer when it is imported
                continue
            kernels = [
                one for one in vars(importlib.import_module(found.name)).values() if isinstance(one, CPUDispatcher)
            ]
            own = [one for one in kernels if one.py_func.__module__ == found.name]
            assert not own or found.name in compiled, found.name


def test_what_compiles_nothing_is_not_listed() -> None:
    compiled = compiled_modules(ROOT)
    assert "features.kernel" in compiled
    assert "features.view" not in compiled
    assert len(compiled) == len(set(compiled))
