"""Training of plain stacks in machine code: one trial after another, many steps of each.

A plain stack has neither norms nor skips, and an activation of two straight lines: φ(h) = h for h > 0 and
leak · h below. All that a step of one such trial touches fits the cache of a core, where matrix products are
up to half as fast again as on a whole pack's tensors, which lie in memory that the cores share; and no Python
comes between two operations, which takes most of the time in packs of a few trials.

Numba compiles the loops and calls SciPy's BLAS for the products. Nobody needs it: where it is missing, packs
take the stacked operations that all others take. Parameters come as addresses, since Numba would compile anew
for every number of layers. A trial's gradient is one flat array: weights, first layer first and readout last,
then biases.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, NamedTuple, no_type_check

import numba
import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  the BLAS of the products, loaded so that its threads are found
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from threadpoolctl import ThreadpoolController

_BLAS = ThreadpoolController().select(user_api="blas")
_NARROW = 128  # below this width the BLAS is slow where the second matrix is transposed
_CALLS = 100  # more than there are functions
SGD: Final = 0
MOMENTUM: Final = 1
ADAM: Final = 2
OPTIMIZERS = {"sgd": SGD, "momentum": MOMENTUM, "adam": ADAM}  # the rules that are known here


# The tables stand here and not in a file of their own: whether compiled code is stale Numba's cache sees by
# this file alone, and code that was compiled for other fields would read the wrong ones.
class Stack(NamedTuple):
    """Addresses of contiguous tensors: of weights and of biases, by layer, the readout's last."""

    parameters: np.ndarray  # (2, layers)
    slots: np.ndarray  # (2, 2, layers): what the optimizer keeps beside each, 0 where nothing
    updates: np.ndarray  # (layers,): the sums of the weights' updates, 0 where none is kept
    depths: np.ndarray  # (trials,), deepest first


class Rates(NamedTuple):
    """The optimizers' numbers, named as the trial's parameters: (trials,) each, in the parameters' dtype; nan
    where the optimizer does not read it."""

    learning_rate: np.ndarray
    momentum: np.ndarray
    adam_beta1: np.ndarray
    adam_beta2: np.ndarray
    adam_eps: np.ndarray


class Rules(NamedTuple):
    """How the trials train; limits are (trials,), infinity where one does not clip."""

    leak: np.floating
    optimizer: int  # of `OPTIMIZERS`
    rates: Rates
    clip_adaptive: np.ndarray
    clip_value: np.ndarray
    clip_norm: np.ndarray
    smallest_unit: float
    clip_eps: float
    diverged_factor: float


class Examples(NamedTuple):
    """The examples that each step of a window sees."""

    inputs: np.ndarray  # (steps, batch, features)
    targets: np.ndarray  # (steps, batch) labels or (steps, batch, outputs) values
    steps_done: int  # before the first of them


class Probe(NamedTuple):
    """The examples whose loss is taken between steps, in batches."""

    inputs: np.ndarray  # (batches, batch, features)
    targets: np.ndarray  # (batches, batch) labels or (batches, batch, outputs) values
    counted: np.ndarray  # (batches, 2): the rows of each batch that count, first and behind the last


class Record(NamedTuple):
    """What is written down: by trial, and by (steps, trials) for each step that a trial did."""

    first_loss: np.ndarray
    diverged_step: np.ndarray  # -1 while a trial is running
    losses: np.ndarray
    norms_before: np.ndarray
    norms_after: np.ndarray
    cosines: np.ndarray


class LayerSizes(NamedTuple):
    """Units of the input, of each hidden layer and of the readout, the same in every trial."""

    features: int
    width: int
    outputs: int


class _Scratch(NamedTuple):
    """Where a trial's signals are while it is worked on; the same memory for all trials of a thread."""

    signals: np.ndarray  # (layers, batch, width): what each layer puts out
    outputs: np.ndarray  # (batch, outputs): of the readout, then the loss' gradient
    planes: np.ndarray  # (2, batch, width)
    transposed: np.ndarray  # (width, width)


def train(
    stack: Stack, rules: Rules, sizes: LayerSizes, examples: Examples, record: Record, *, threads: int
) -> None:
    """Trains the trials that have not diverged, dealt out to threads.

    A trial that diverges keeps the parameters that it had at that step.
    """
    _deal_out(threads, _train, stack, rules, sizes, examples, record)


def probe(
    stack: Stack, rules: Rules, sizes: LayerSizes, examples: Probe, losses: np.ndarray, *, threads: int
) -> None:
    """Writes the mean loss of each trial over the examples that count, (trials,)."""
    _deal_out(threads, _probe, stack, rules, sizes, examples, losses)


def _deal_out(threads: int, function: Callable[..., None], *arguments: Any) -> None:
    """Calls a compiled function in each thread, with the first of its trials and the stride to the next."""

    def start_from(first: int) -> None:
        _call(function, *arguments, first, threads)

    with _BLAS.limit(limits=1), ThreadPoolExecutor(threads) as pool:
        list(pool.map(start_from, range(threads)))


def _call(function: Callable[..., None], *arguments: Any) -> None:
    # Where its cache has no room for a function Numba raises, but has compiled it: each call gets further.
    for calls_left in range(_CALLS, 0, -1):
        try:
            function(*arguments)
        except OSError:
            if calls_left == 1:
                raise
        else:
            return


def _compiled(function: Callable[..., Any], *, sums: bool = False) -> Any:
    """Machine code of a function, kept beside this file or, where nothing may be written, in memory.

    A multiplication and an addition may become one instruction; `sums` may be made in any order.
    """
    lenient = {"contract", "reassoc"} if sums else {"contract"}
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": lenient}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        return njit(**options)(function)


_summing = partial(_compiled, sums=True)


@intrinsic
def _pointer(typing_context: Any, address: Any) -> tuple[Any, Callable[..., Any]]:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.intp), generate


@_compiled
@no_type_check
def _matrix(address, trial, rows, columns, like):
    """A trial's matrix in the stack at an address, of the dtype of `like`."""
    start = address + trial * rows * columns * like.itemsize
    return numba.carray(_pointer(start), (rows, columns), like.dtype)


@_compiled
@no_type_check
def _bend(h, bias, leak):
    """φ(h + bias), in place."""
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            value = h[i, j] + bias[0, j]
            below = leak * value if leak != 0 else leak  # 0 · ∞ would be nan
            h[i, j] = below if value <= 0 else value


@_compiled
@no_type_check
def _bend_back(g, y, leak):
    """The gradient at h from that at y = φ(h), in place."""
    for i in range(g.shape[0]):
        for j in range(g.shape[1]):
            below = leak * g[i, j] if leak != 0 else leak
            g[i, j] = below if y[i, j] <= 0 else g[i, j]


@_compiled
@no_type_check
def _sum_rows(g, total):
    for j in range(len(total)):
        total[j] = 0
    for i in range(g.shape[0]):
        for j in range(g.shape[1]):
            total[j] += g[i, j]


@_compiled
@no_type_check
def _cross_entropy(logits, labels):
    """The mean loss in nats; its gradient takes the place of the logits."""
    loss, count = 0.0, logits.dtype.type(len(labels))
    for i in range(len(labels)):
        largest, total = logits[i, 0], logits.dtype.type(0)
        for j in range(logits.shape[1]):
            largest = largest if logits[i, j] <= largest else logits[i, j]
        picked = logits[i, labels[i]] - largest
        for j in range(logits.shape[1]):
            logits[i, j] = np.exp(logits[i, j] - largest)
            total += logits[i, j]
        loss += np.log(total) - picked
        for j in range(logits.shape[1]):
            logits[i, j] /= total
        logits[i, labels[i]] -= logits.dtype.type(1)  # exactly zero where the loss is
        for j in range(logits.shape[1]):
            logits[i, j] /= count
    return loss / len(labels)


@_compiled
@no_type_check
def _squared_error(outputs, targets):
    """The mean over examples and outputs; its gradient takes the place of the outputs."""
    loss, factor = 0.0, outputs.dtype.type(2 / outputs.size)
    for i in range(outputs.shape[0]):
        for j in range(outputs.shape[1]):
            error = outputs[i, j] - targets[i, j]
            loss += error * error
            outputs[i, j] = factor * error
    return loss / outputs.size


@_compiled
@no_type_check
def _loss(outputs, targets):
    """The mean loss; its gradient takes the place of the outputs. Labels have one axis, values two."""
    if targets.ndim == 1:  # decided when this is compiled
        return _cross_entropy(outputs, targets)
    return _squared_error(outputs, targets)


@_compiled
@no_type_check
def _place(sizes, depth, part, layer):
    """Where in a trial's gradient a weight (part 0) or a bias (part 1) is: (start, rows, columns). The
    readout is layer `depth`."""
    first, square = sizes.features * sizes.width, sizes.width * sizes.width
    columns = sizes.width if layer < depth else sizes.outputs
    if part == 1:
        weights = first + (depth - 1) * square + sizes.width * sizes.outputs
        return weights + layer * sizes.width, 1, columns
    if layer == 0:
        return 0, sizes.features, columns
    return first + (layer - 1) * square, sizes.width, columns


@_compiled
@no_type_check
def _forward(stack, rules, trial, inputs, scratch):
    """Writes what each layer puts out, and what the readout does."""
    depth, x = stack.depths[trial], inputs
    for layer in range(depth + 1):
        y = scratch.signals[layer] if layer < depth else scratch.outputs
        weight, bias = stack.parameters[:, layer if layer < depth else -1]
        np.dot(x, _matrix(weight, trial, x.shape[1], y.shape[1], x), y)
        leak = rules.leak if layer < depth else x.dtype.type(1)
        _bend(y, _matrix(bias, trial, 1, y.shape[1], x), leak)
        x = y


@_compiled
@no_type_check
def _times_transposed(g, weight, transposed, out):
    """g @ weightᵀ; `transposed` is a matrix to work in, (width, width)."""
    if weight.shape[1] != len(transposed) or len(transposed) >= _NARROW:
        np.dot(g, weight.T, out)
        return
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            transposed[j, i] = weight[i, j]
    np.dot(g, transposed, out)


@_compiled
@no_type_check
def _backward(stack, rules, sizes, trial, inputs, scratch, gradient):
    """Writes a trial's gradient, from the loss' gradient at the outputs."""
    depth, address = stack.depths[trial], gradient.ctypes.data
    g, spare, other = scratch.outputs, scratch.planes[0], scratch.planes[1]
    for layer in range(depth, -1, -1):
        if layer < depth:
            _bend_back(g, scratch.signals[layer], rules.leak)
        start, _, columns = _place(sizes, depth, 1, layer)
        _sum_rows(g, gradient[start : start + columns])
        start, rows, columns = _place(sizes, depth, 0, layer)
        x = scratch.signals[layer - 1] if layer else inputs
        np.dot(x.T, g, _matrix(address + start * inputs.itemsize, 0, rows, columns, inputs))
        if layer:
            weight = stack.parameters[0, layer if layer < depth else -1]
            _times_transposed(g, _matrix(weight, trial, rows, columns, inputs), scratch.transposed, spare)
            g, spare, other = spare, other, spare


@_summing
@no_type_check
def _inner_product(x, y):
    """In float64, where products of float32 neither overflow nor underflow."""
    total = 0.0
    for i in range(len(x)):
        total += np.float64(x[i]) * np.float64(y[i])
    return total


@_compiled
@no_type_check
def _clip_units(values, gradient, limit, smallest):
    """Adaptive clipping of the columns of a matrix, in place."""
    for j in range(gradient.shape[1]):
        size, length = 0.0, 0.0
        for i in range(gradient.shape[0]):
            value, slope = np.float64(values[i, j]), np.float64(gradient[i, j])
            size += value * value
            length += slope * slope
        allowed, length = limit * max(np.sqrt(size), smallest), np.sqrt(length)
        if length > allowed:
            factor = gradient.dtype.type(allowed / length)
            for i in range(gradient.shape[0]):
                gradient[i, j] *= factor


@_compiled
@no_type_check
def _clip_elements(stack, rules, sizes, trial, gradient):
    """Clips a trial's gradient by unit, then by value, in place."""
    depth, address = stack.depths[trial], gradient.ctypes.data
    for part in range(2):
        for layer in range(depth + 1):
            start, rows, columns = _place(sizes, depth, part, layer)
            if rows == 1:  # one unit
                rows, columns = columns, rows
            values = _matrix(
                stack.parameters[part, layer if layer < depth else -1], trial, rows, columns, gradient
            )
            slopes = _matrix(address + start * gradient.itemsize, 0, rows, columns, gradient)
            _clip_units(values, slopes, rules.clip_adaptive[trial], rules.smallest_unit)
    largest = gradient.dtype.type(rules.clip_value[trial])
    for i in range(len(gradient)):
        gradient[i] = min(max(gradient[i], -largest), largest)


@_compiled
@no_type_check
def _clip(stack, rules, sizes, trial, gradient):
    """(Norm of a trial's gradient, norm after clipping elements, cosine between both, what to multiply it by
    to clip its norm)."""
    before = np.sqrt(_inner_product(gradient, gradient))
    after, cosine = before, np.nan
    if np.isfinite(rules.clip_adaptive[trial]) or np.isfinite(rules.clip_value[trial]):
        unclipped = gradient.copy()
        _clip_elements(stack, rules, sizes, trial, gradient)
        after = np.sqrt(_inner_product(gradient, gradient))
        cosine = _inner_product(unclipped, gradient) / (before * after)
    factor = rules.clip_norm[trial] / (after + rules.clip_eps)
    return before, after, cosine, 1.0 if factor > 1.0 else factor


@_compiled
@no_type_check
def _update_tensor(rules, trial, parameter, total, gradient, slots, clip, step):
    """One step of the optimizer on a row of numbers; `study.choices.optimizers` has the rules.

    `total` sums the updates, and is empty where they are not summed. It has loops of its own: in a common
    one the product would be rounded before it is added to the parameter, whose bits would be others.
    """
    one, first, second = parameter.dtype.type(1), slots[0], slots[1]
    learning_rate = rules.rates.learning_rate[trial]
    if rules.optimizer == SGD:
        for i in range(len(parameter)):
            parameter[i] -= learning_rate * clip * gradient[i]
        for i in range(len(total)):
            total[i] -= learning_rate * clip * gradient[i]
    elif rules.optimizer == MOMENTUM:
        momentum = rules.rates.momentum[trial]
        for i in range(len(parameter)):
            first[i] = momentum * first[i] + clip * gradient[i]
            parameter[i] -= learning_rate * first[i]
        for i in range(len(total)):
            total[i] -= learning_rate * first[i]
    else:
        beta1, beta2 = rules.rates.adam_beta1[trial], rules.rates.adam_beta2[trial]
        new, eps = one - beta1, rules.rates.adam_eps[trial]
        rate = learning_rate / (one - parameter.dtype.type(beta1**step))
        root = np.sqrt(one - parameter.dtype.type(beta2**step))
        for i in range(len(parameter)):
            g = clip * gradient[i]
            # As torch's lerp: the share that is larger is not made by cancellation.
            difference = g - first[i]
            first[i] = first[i] + new * difference if new < 0.5 else g - difference * (one - new)
            second[i] = beta2 * second[i] + (one - beta2) * g * g
            gradient[i] = rate * first[i] / (np.sqrt(second[i]) / root + eps)
            parameter[i] -= gradient[i]
        for i in range(len(total)):
            total[i] -= gradient[i]


@_compiled
@no_type_check
def _update(stack, rules, sizes, trial, gradient, clip, step):
    """One step of the optimizer on all of a trial's tensors; steps from 1."""
    depth = stack.depths[trial]
    for part in range(2):
        for layer in range(depth + 1):
            start, rows, columns = _place(sizes, depth, part, layer)
            index, count = layer if layer < depth else -1, rows * columns
            first = _matrix(stack.slots[0, part, index], trial, 1, count, gradient)[0]
            second = _matrix(stack.slots[1, part, index], trial, 1, count, gradient)[0]
            summed = count if part == 0 and layer < depth else 0
            _update_tensor(
                rules,
                trial,
                _matrix(stack.parameters[part, index], trial, 1, count, gradient)[0],
                _matrix(stack.updates[index], trial, 1, count, gradient)[0, :summed],
                gradient[start : start + count],
                (first, second),
                clip,
                step,
            )


@_compiled
@no_type_check
def _step(stack, rules, sizes, trial, examples, index, record, scratch, gradient):
    """One step of a trial; writes down what it was like, and whether the trial diverged."""
    inputs, targets, step = examples.inputs[index], examples.targets[index], examples.steps_done + index
    _forward(stack, rules, trial, inputs, scratch)
    loss = _loss(scratch.outputs, targets)
    _backward(stack, rules, sizes, trial, inputs, scratch, gradient)
    before, after, cosine, factor = _clip(stack, rules, sizes, trial, gradient)
    if step == 0:
        record.first_loss[trial] = loss
    record.losses[index, trial] = loss
    record.norms_before[index, trial] = before
    record.norms_after[index, trial] = after * factor
    record.cosines[index, trial] = cosine
    if loss <= rules.diverged_factor * record.first_loss[trial] and np.isfinite(after * factor):
        _update(stack, rules, sizes, trial, gradient, gradient.dtype.type(factor), step + 1)
    else:
        record.diverged_step[trial] = step


@_compiled
@no_type_check
def _new_scratch(deepest, batch, sizes, dtype):
    return _Scratch(
        np.empty((deepest, batch, sizes.width), dtype),
        np.empty((batch, sizes.outputs), dtype),
        np.empty((2, batch, sizes.width), dtype),
        np.empty((sizes.width, sizes.width), dtype),
    )


@_compiled
@no_type_check
def _probe(stack, rules, sizes, examples, losses, first, stride):
    """The loss of every `stride`-th trial from `first` on."""
    batches, batch, _ = examples.inputs.shape
    scratch = _new_scratch(stack.depths[first], batch, sizes, examples.inputs.dtype)
    for trial in range(first, len(stack.depths), stride):
        total, count = 0.0, 0
        for index in range(batches):
            start, end = examples.counted[index]
            _forward(stack, rules, trial, examples.inputs[index], scratch)
            loss = _loss(scratch.outputs[start:end], examples.targets[index][start:end])
            total += (end - start) * loss
            count += end - start
        losses[trial] = total / count


@_compiled
@no_type_check
def _train(stack, rules, sizes, examples, record, first, stride):
    """All steps of every `stride`-th trial from `first` on."""
    steps, batch, _ = examples.inputs.shape
    dtype = examples.inputs.dtype
    scratch = _new_scratch(stack.depths[first], batch, sizes, dtype)
    for trial in range(first, len(stack.depths), stride):
        start, _, columns = _place(sizes, stack.depths[trial], 1, stack.depths[trial])
        gradient = np.empty(start + columns, dtype)
        for index in range(steps):
            if record.diverged_step[trial] >= 0:
                break
            _step(stack, rules, sizes, trial, examples, index, record, scratch, gradient)
