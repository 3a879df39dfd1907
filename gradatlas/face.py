"""What `import gradatlas` offers, in functions whose own imports wait until they are called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradatlas.analysis.opened import Run
    from gradatlas.study.one_network import Profile


def open(run: str | Path) -> Run:
    """The run of a folder or a URL, finished or not, with its tables as Polars LazyFrames.

    Nothing of the run is executed, and nothing is written. Raises ValueError where there is no run, or one
    without results yet.

        run = gradatlas.open("runs/quickstart-20261125-070502")
        run.cells.filter(activation="tanh").select("depth", "sigma_w", "gradient_decades").collect()
    """
    from gradatlas.analysis.opened import opened
    from gradatlas.analysis.reading.tables import NoResultsError
    from gradatlas.sweeps.store.storage import location_of

    location = str(location_of(str(run)).expanduser())
    try:
        return opened(location if "://" in location else Path(location))
    except NoResultsError:
        raise
    except ValueError as error:  # the limits of its sweep file
        raise ValueError(f"{location}: {error}") from None


def profile(
    *, seeds: int = 1, input_std: float | None = None, task: str | None = None, **parameters: Any
) -> Profile:
    """One network at initialisation, measured: the median over seeds, and a row for each seed.

    The parameters are those of a sweep file that matter at initialisation (`depth`, `activation`,
    `weight_gain`, …); rows have the results' column names. Inputs are Gaussian of deviation `input_std`
    (None: 1), or the first training batch of a `task`. Raises ValueError with the parameter's name and rule.

        gradatlas.profile(depth=30, activation="tanh", seeds=5)["median"]["gradient_decades"]
    """
    from gradatlas.study.one_network import measured_rows
    from gradatlas.study.one_network import profile as plain_profile

    return plain_profile(measured_rows({"task": task} | parameters, seeds=seeds, input_std=input_std))


def theory(
    activation: str | None = None,
    *,
    sigma_w: float | None = None,
    sigma_b: float = 0.0,
    critical: bool = False,
    depth: int | None = None,
    width: int = 64,
    norm: str = "none",
    norm_position: str = "before",
    skip: str = "none",
    batch_size: int = 64,
    input_std: float = 1.0,
    family: str = "mlp",
) -> list[dict[str, Any]]:
    """What mean-field theory says of a network, one row per activation (None: of each activation).

    χ, slope, depth scale and critical σ_w hold at infinite depth; the window and G are of `depth`. `sigma_w`
    is 1 where it is None, or with `critical` the critical one. None stands where theory says nothing, with
    the reason in `note`. Raises ValueError with the parameter's name and rule.

        gradatlas.theory("tanh", sigma_b=0.05, critical=True)[0]["sigma_w"]
    """
    from gradatlas.study.one_network import plain, theory_rows

    rows = theory_rows(
        activation, sigma_w=sigma_w, sigma_b=sigma_b, critical=critical, depth=depth, width=width, norm=norm,
        norm_position=norm_position, skip=skip, batch_size=batch_size, input_std=input_std, family=family,
    )  # fmt: skip
    found: list[dict[str, Any]] = plain(rows)
    return found
