"""The few array operations that differ between torch and numpy; all other code here uses the array API of both.

So one search serves the network and its ONNX export, also where torch is not installed.
"""

from typing import Any

import array_api_compat
import numpy as np
import numpy.typing as npt

from showtell.errors import CheckpointError

Array = Any

BLOCK = 8
"""Values of a block in `top_k`."""

_NUMPY_HAS_ARRAY_API = hasattr(np, "cumulative_sum")  # from 2.1 on


def namespace(array: Array) -> Any:
    """Return the array API namespace of a torch tensor or numpy array."""
    if isinstance(array, np.ndarray) and _NUMPY_HAS_ARRAY_API:
        # array_api_compat imports all of numpy, f2py included: 0.25 s of a cold start.
        return np
    return array_api_compat.array_namespace(array)


def to_numpy(array: Array) -> npt.NDArray[Any]:
    """Return an array on the host."""
    if array_api_compat.is_torch_array(array):
        return np.asarray(array.detach().cpu())
    return np.asarray(array)


def like(values: npt.NDArray[Any], array: Array) -> Array:
    """Convert host values to the library and the device of ``array``."""
    return namespace(array).asarray(values, device=array_api_compat.device(array))


def log_softmax(logits: Array) -> Array:
    """Return log-probabilities over the last axis as a new array, float64 if the logits are, else float32.

    Raises:
        CheckpointError: the logits hold NaN or +infinity.
    """
    xp = namespace(logits)
    if logits.dtype != xp.float64:
        logits = xp.astype(logits, xp.float32)
    if array_api_compat.is_torch_namespace(xp):
        log_probs = xp.log_softmax(logits, -1)
    else:
        with np.errstate(invalid="ignore"):
            log_probs = logits - logits.max(axis=-1, keepdims=True)
            log_probs -= np.log(np.exp(log_probs).sum(axis=-1, keepdims=True))
    # NaN spreads over its row, so checking one column is enough.
    if np.isnan(to_numpy(log_probs[..., 0])).any():
        raise CheckpointError(
            "the decoder's logits cannot be searched",
            found="NaN or infinity",
            mend="The model or the image's features are broken; use another checkpoint",
        )
    return log_probs


def logsumexp(values: Array) -> Array:
    """Return the logarithm of the sum of exponentials over the last axis; -infinity where all values are."""
    xp = namespace(values)
    if array_api_compat.is_torch_namespace(xp):
        return xp.logsumexp(values, -1)
    peak = values.max(axis=-1)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(values - peak[..., None]).sum(axis=-1)) + peak


def top_k(values: Array, count: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the ``count`` largest values of the last axis and their indices, on the host.

    The best value comes first; equal values are ordered by index. All N values are returned if there are fewer.
    """
    xp = namespace(values)
    size = values.shape[-1]
    count = min(count, size)
    width = min(count + 1, size)  # one more shows equal values across the edge
    if array_api_compat.is_torch_namespace(xp):
        best, indices = (to_numpy(part) for part in xp.topk(values, width, dim=-1))
    else:
        indices = _largest(values.reshape(-1, size), width)
        best = np.take_along_axis(values.reshape(-1, size), indices, axis=-1)
    # In two dimensions, where plain indexing does what take_along_axis does in a third of its time.
    best, indices = best.reshape(-1, width), indices.reshape(-1, width)
    order = (np.arange(len(best))[:, None], np.lexsort((indices, -best)))
    best, indices = best[order], indices[order].astype(np.int64)
    if count < width and (tied := best[:, count - 1] == best[:, count]).any():
        rows = to_numpy(values.reshape(-1, size)[like(np.flatnonzero(tied), values)])
        indices[tied, :count] = np.argsort(-rows, kind="stable")[:, :count]
    shape = (*values.shape[:-1], count)
    return best[:, :count].astype(np.float64).reshape(shape), indices[:, :count].reshape(shape)


def _largest(rows: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
    """Return the indices [M, count] of the largest values of rows [M, N], in any order.

    The largest maxima of blocks show where they are: a third of the time of a search in all of a vocabulary.
    """
    size = rows.shape[1]
    blocks = size // BLOCK
    if blocks < 2 * count:
        return np.argpartition(rows, size - count, axis=1)[:, -count:]
    maxima = rows[:, : blocks * BLOCK].reshape(-1, BLOCK, blocks).max(axis=1)
    best = np.argpartition(maxima, blocks - count, axis=1)[:, -count:]
    columns = (best[:, None] + blocks * np.arange(BLOCK)[:, None]).reshape(len(rows), -1)
    rest = np.tile(np.arange(blocks * BLOCK, size), (len(rows), 1))
    columns = np.concatenate((columns, rest), axis=1)
    every = np.arange(len(rows))[:, None]
    return columns[every, np.argpartition(rows[every, columns], -count, axis=1)[:, -count:]]


def take(values: Array, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the values [..., N] at the indices int64 [..., M] of the last axis, on the host."""
    xp = namespace(values)
    return to_numpy(xp.take_along_axis(values, like(indices, values), axis=-1)).astype(np.float64)
