"""Tensors on disk, by name, as .npz: numbers alone, nothing that unpickles."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

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


def load_tensors(path: Path) -> dict[str, Tensor]:
    """What `save_tensors` wrote; raises ValueError where the file is no such thing."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            tensors = {name: torch.from_numpy(stored[name]) for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: must be a saved state (.npz), but cannot be read: {error}") from None
    return {
        name.removeprefix(_BFLOAT16): tensor.view(torch.bfloat16) if name.startswith(_BFLOAT16) else tensor
        for name, tensor in tensors.items()
    }
