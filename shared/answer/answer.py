"""The whole answer to a job: one explanation for each model, and what it takes to get the same answer again."""

from __future__ import annotations

from pydantic import Field

from shared.answer.differences import Differences
from shared.answer.explanation import Explanation
from shared.answer.record import Caution, Params, Record
from shared.jobs import JobOptions


class ModelAgreement(Record):
    """What the answers of two models say of each other; the one with more classes is named first."""

    models: tuple[str, str]
    relation: str
    code: str
    params: Params
    text: str


class InputRecipe(Record):
    """How an image becomes a model's input: sides in pixels, mean and standard deviation of each channel, 0 to 1."""

    resize: int
    crop: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str | None = Field(default=None, description="Null in a result of an earlier version.")


class ModelIdentity(Record):
    """What a model's answers depend on. Null in a result of an earlier version, which did not state all of it."""

    version: str | None = Field(default=None, description="The fingerprint of its files.")
    weights_sha256: str | None = None
    input: InputRecipe | None = None
    hierarchy: str | None = Field(default=None, description="Where its tree comes from; null for a model without one.")
    precision: str | None = None


class Provenance(Record):
    """All that is needed to get the same answer again."""

    models: dict[str, ModelIdentity] = {}
    options: JobOptions | None = None
    seed: int | None = None
    versions: dict[str, str] = Field(default={}, description="Of Python and of the packages that compute.")


class Answer(Record):
    """What a succeeded job answers."""

    explanations: tuple[Explanation, ...] = ()
    agreement: tuple[ModelAgreement, ...] = Field(default=(), description="One entry for each pair of models.")
    differences: Differences | None = None
    provenance: Provenance = Provenance()
    timings: dict[str, float] = Field(default={}, description="In milliseconds.")
    warnings: tuple[Caution, ...] = ()

    def of(self, model: str) -> Explanation | None:
        """The explanation of a model; None where it gave none."""
        return next((one for one in self.explanations if one.model == model), None)

    def warnings_of(self, model: str) -> tuple[Caution, ...]:
        """The warnings on what one model has answered."""
        return tuple(one for one in self.warnings if one.model == model)
