"""Attribution methods: pure functions from inputs and scores to raw maps."""

from __future__ import annotations

from collections.abc import Mapping

from worker.methods import activation, gradients, occlusion, rise, scorecam
from worker.methods.attribution import Method

METHODS: Mapping[str, Method] = {
    "cam": activation.cam,
    "gradcam": activation.gradcam,
    "gradcam++": activation.gradcam_plus_plus,
    "layercam": activation.layercam,
    "scorecam": scorecam.scorecam,
    "integrated-gradients": gradients.integrated_gradients,
    "occlusion": occlusion.occlusion,
    "rise": rise.rise,
}
