"""Models as ONNX files: the one file that knows onnxruntime.

An artifact is plain ONNX bytes with one float32 input of shape (rows, features) and, as its second output, the
probabilities of both classes. `models/onnx_export.py` writes them; nothing here unpickles.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.contract import Matrix, Vector
from models.manifest import Manifest

# Read when it is imported: otherwise it writes a session file and may report its use to its makers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

ONLY_ERRORS = 3
ONLY_FATAL = 4


class InvalidArtifact(ValueError):
    """The bytes are no model that can be served. A retry cannot help; train or register again."""


class ModelAborted(RuntimeError):
    """The call was ended from another thread before it had an answer."""


class OnnxModel:
    """One ONNX session on the caller's thread, and the calibration that makes its output a probability.

    Values are rounded to float32 on the way in: train on values rounded alike, or a threshold of a tree can fall
    between the two. Warm after construction: the first call of a session costs about a hundred times the second.

    Parameters
    ----------
    artifact
        The ONNX bytes, or the file that holds them.
    manifest
        What was stored beside it; gives the name, the version, the number of features and the calibration.

    Raises
    ------
    InvalidArtifact
        When the bytes are not ONNX, or take or give something else than a model of this manifest.
    """

    def __init__(self, artifact: bytes | Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self._calibration = manifest.calibration
        subject = f"model {manifest.name!r} version {manifest.version!r}"
        content = artifact if isinstance(artifact, bytes) else artifact.read_bytes()
        try:
            self._session = _open(content)
        except Exception as error:  # onnxruntime raises a family of its own without a common root
            raise InvalidArtifact(f"{subject} is not an ONNX file that loads: {error}; train it again") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        width = inputs[0].shape[-1] if len(inputs) == 1 else None
        if width != len(manifest.feature_names) or len(outputs) != 2:
            raise InvalidArtifact(
                f"{subject} takes {width} features and gives {len(outputs)} outputs, its manifest names "
                f"{len(manifest.feature_names)} features and a model gives 2 outputs; train it again"
            )
        self._input = inputs[0].name
        # Past its Python wrapper, which costs half as much as the model: what it checks was checked above.
        self._answer = self._session._sess.run
        self._outputs = [outputs[1].name]
        self._options = _run_options()
        self.score_one(np.zeros(len(manifest.feature_names)))
        self.score_many(np.zeros((2, len(manifest.feature_names))))

    @property
    def name(self) -> str:
        """The name it is registered under."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The registered version."""
        return self.manifest.version

    def score_one(self, x: Vector) -> float:
        """Calibrated probability of class 1, in [0, 1]; NaN marks unknown values. Microseconds, and no lock."""
        raw = float(self._run(x.reshape(1, -1))[0, 1])
        # This way round, a NaN passes both.
        return self._calibration.apply(min(max(raw, 0.0), 1.0))

    def score_many(self, X: Matrix) -> Vector:
        """Calibrated probabilities, shape (n_rows,), of rows of shape (n_rows, n_features), in one call."""
        return self._calibration.apply_many(np.clip(self._run(X)[:, 1].astype(np.float64), 0.0, 1.0))

    def abort(self) -> None:
        """End the call that runs with `ModelAborted`, at the next node of its graph; or else the next call, at once."""
        self._options.terminate = True

    def _run(self, X: Matrix) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):  # beyond float32 is infinity, on the right side of every threshold
            rows = X.astype(np.float32)
        options = self._options
        try:
            probabilities: NDArray[np.float32] = self._answer(self._outputs, {self._input: rows}, options)[0]
        except Exception as error:
            if not options.terminate:
                raise
            self._options = _run_options()
            raise ModelAborted(f"model {self.name!r} {self.version} was ended") from error
        return probabilities


def raw_probabilities(content: bytes, X: Matrix) -> Vector:
    """What the ONNX bytes answer before any calibration, shape (n_rows,): for comparing with their estimator."""
    session = _open(content)
    rows = X.astype(np.float32)
    outputs: list[NDArray[np.float32]] = session.run(None, {session.get_inputs()[0].name: rows})
    return outputs[1][:, 1].astype(np.float64)


def _run_options() -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    options.log_severity_level = ONLY_FATAL  # what fails is raised, and counted
    return options


def _open(content: bytes) -> onnxruntime.InferenceSession:
    # More threads would fight the server's own over the same cores for a call of microseconds.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = ONLY_ERRORS
    return onnxruntime.InferenceSession(content, sess_options=options, providers=["CPUExecutionProvider"])
