"""LayerCAM (IEEE TIP 2021, doi 10.1109/TIP.2021.3089943): its own gradient is the weight of a cell."""

from __future__ import annotations

from worker.methods.attribution import Attribution, Guarantee, Subject, Watch
from worker.methods.feature_gradients import feature_gradients, positive_part


def attribute(subject: Subject, *, seed: int, watch: Watch) -> Attribution:
    """LayerCAM (IEEE TIP 2021, doi 10.1109/TIP.2021.3089943): the weight of a cell is its own positive gradient."""
    weights = feature_gradients(subject).relu()
    return Attribution(positive_part(subject.features, weights), "logit", Guarantee.APPROXIMATE)
