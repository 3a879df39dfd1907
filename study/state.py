"""Tensors on disk, by name, as .npz: numbers alone, nothing that unpickles."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_BFLOAT16 = "bfloat16:"  # numpy has no such number: its bits are kept as int16 under a marked name


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes the file whole or not at all."""
    arrays = {}
    for name, tensor in tensors.items():
        stored = tensor.detach().cpu()
        if stored.dtype == torch.bfloat16:
            name, stored = _BFLOAT16 + name, stored.view(torch.int16)
        arrays[name] = stored.numpy()
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    with draft.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    draft.replace(path)


# What NumPy, zipfile and torch raise for damaged, encrypted and forged files; a header that claims more bytes
# than there is memory is a MemoryError.
_UNREADABLE = (
    OSError, ValueError, EOFError, TypeError, KeyError, AttributeError, MemoryError, OverflowError,
    RuntimeError, RecursionError, SyntaxError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def _reject_compressed(stored: Any) -> None:
    """Raises ValueError for what `save_tensors` never writes: a small file may unpack to any size."""
    if any(member.compress_type != zipfile.ZIP_STORED for member in stored.zip.infolist()):
        raise ValueError("it is compressed")


def load_tensors(path: Path) -> dict[str, Tensor]:
    """What `save_tensors` wrote; raises ValueError where the file is no such thing."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise ValueError("it is not a file")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            _reject_compressed(stored)
            tensors = {name: torch.from_numpy(stored[name]) for name in stored.files}
    except _UNREADABLE as error:
        raise ValueError(f"{path}: must be a saved state (.npz), but cannot be read: {error}") from None
    return {
        name.removeprefix(_BFLOAT16): tensor.view(torch.bfloat16) if name.startswith(_BFLOAT16) else tensor
        for name, tensor in tensors.items()
    }
