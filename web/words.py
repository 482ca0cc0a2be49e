"""Names that the pages have in the reader's language: of methods, and of what a worker is doing."""

from __future__ import annotations

from shared.methods import METHODS
from web.language import gettext as _


def method_name(method: str) -> str:
    """A method as people call it; its own name where it is one of a newer version."""
    names = {
        "cam": _("Class activation map"),
        "gradcam": "Grad-CAM",
        "gradcam++": "Grad-CAM++",
        "layercam": "LayerCAM",
        "scorecam": "Score-CAM",
        "integrated-gradients": _("Integrated gradients"),
        "occlusion": _("Occlusion"),
        "rise": "RISE",
    }
    return names.get(method, method)


def stage_names() -> dict[str, str]:
    """What a worker is doing, by the stage that it reports."""
    drawing = {method: _("Drawing the map: {method}", method=method_name(method)).striptags() for method in METHODS}
    steady = {f"stability of {method}": _("Measuring how stable the map is").striptags() for method in METHODS}
    return {**drawing, **steady, "faithfulness": _("Measuring how faithful the map is").striptags()}
