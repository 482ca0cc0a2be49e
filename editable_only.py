"""The build backend: setuptools', for editable installations alone.

Pathlight runs from its checkout or its image, where models, templates and Lua scripts lie beside the code. A wheel
would leave the models out, and would install packages with names as common as `web` and `shared`. pip asks for one
wherever an installation is not editable; this says no before anything is downloaded.
"""

from __future__ import annotations

from typing import NoReturn

from setuptools import build_meta

build_editable = build_meta.build_editable
get_requires_for_build_editable = build_meta.get_requires_for_build_editable
prepare_metadata_for_build_editable = build_meta.prepare_metadata_for_build_editable


def build_wheel(*_: object, **__: object) -> NoReturn:
    """Ends with the reason why there is none."""
    raise SystemExit(
        "Pathlight is offered neither as a wheel nor as an archive: it runs from its checkout or its image. "
        "In the checkout, run: make run"
    )


build_sdist = build_wheel
