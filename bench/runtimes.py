"""Measure what other runtimes make of the same trunks, in turns with ours, and write docs/measurements/runtimes.md.

    python -m bench.runtimes [--quick] [--write-page] [MODEL ...]

What is installed runs in turns with ours. ONNX Runtime and OpenVINO are no part of Pathlight; in a folder of their own
they leave its environment as it is:

    pip install --target runtimes --no-deps onnxruntime onnx onnxscript onnx-ir ml_dtypes protobuf flatbuffers openvino
    PYTHONPATH=runtimes python -m bench.runtimes --write-page

torch.compile needs a C++ compiler.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import torch
from rich.console import Console
from torch import Tensor, nn

from bench import figures
from bench.figures import Figure
from bench.page import MEASUREMENTS, fill, page
from bench.quality.context import Sizes
from bench.speed.race import Runner, race
from bench.speed.subjects import MODELS, model
from shared.cores import usable_cores
from shared.settings import REPOSITORY
from worker.engine.fusing import Fused
from worker.engine.precision import computes_bf16

OUT = REPOSITORY / "bench" / "out"
OURS = "pathlight"
WINS = 1.15  # times our speed, on shipped and upstream networks, would be worth another dependency
FULL: Sizes = {"rounds": 5, "models": 4, "batches": 3}
QUICK: Sizes = {"rounds": 1, "models": 1, "batches": 1}
BATCHES = (1, 8, 32)
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
CLOSE = {"fp32": 1e-3, "bf16": 0.1}  # of the largest feature: what answers must agree to, before they are timed

Start = Callable[[str, str, Tensor], Runner]
"""Makes a model ready, in a precision, for inputs of one size: the runner gives its features, as a tensor or array."""


def ours(name: str, precision: str, inputs: Tensor) -> Runner:
    subject = model(name, precision=precision)
    return lambda: subject.features(inputs)


def compiled(name: str, precision: str, inputs: Tensor) -> Runner:
    torch.compiler.reset()
    trunk = torch.compile(_plain(name).to(TYPES[precision]), dynamic=False, options={"freezing": True})
    return torch.inference_mode()(lambda: trunk(inputs.to(TYPES[precision])).float())


def onnxruntime(name: str, precision: str, inputs: Tensor) -> Runner:
    import onnxruntime

    if precision != "fp32":
        raise NotImplementedError("it has no bf16 for this kind of processor")
    exported = torch.onnx.export(_plain(name), (inputs,), optimize=False, verbose=False)
    assert exported is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        exported.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {session.get_inputs()[0].name: inputs.contiguous().numpy()}
    return lambda: session.run(None, given)[0]


def openvino(name: str, precision: str, inputs: Tensor) -> Runner:
    import openvino

    converted = openvino.convert_model(_plain(name), example_input=inputs, input=[inputs.shape])
    settings = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    network = openvino.compile_model(converted, "CPU", settings)
    given = inputs.contiguous().numpy()
    return lambda: network(given)[0]


def _plain(name: str) -> nn.Module:
    """A trunk with batch norms folded, as it is before convolutions are fused for torch; a copy."""
    trunk = model(name, precision="fp32").trunk
    return copy.deepcopy(trunk.plain if isinstance(trunk, Fused) else trunk)


RUNTIMES: Mapping[str, Start] = {"torch.compile": compiled, "ONNX Runtime": onnxruntime, "OpenVINO": openvino}


@click.command(help=__doc__)
@click.argument("names", metavar="[MODEL ...]", nargs=-1, type=click.Choice(MODELS))
@click.option("--quick", is_flag=True, help="A trial on one network; its figures mean little.")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, help="The folder of runtimes.json.")
@click.option("--write-page", is_flag=True, help="Write docs/measurements/runtimes.md too.")
def main(names: tuple[str, ...], quick: bool, out: Path, write_page: bool) -> None:
    torch.set_num_threads(usable_cores())
    n = QUICK if quick else FULL
    found = {name: _of_model(name, n) for name in names or MODELS[: n["models"]]}
    every = [figure for section in found.values() for figure in section]
    machine = figures.machine(seed=0)
    Console().print(figures.table(every, title="Other runtimes"))
    figures.write(every, machine, out / "runtimes.json")
    if write_page:
        fill(MEASUREMENTS / "runtimes.md", writer="python -m bench.runtimes", text=page(found, machine))


def _of_model(name: str, n: Sizes) -> list[Figure]:
    precisions = ("fp32", "bf16") if computes_bf16(torch.device("cpu")) else ("fp32",)
    return [
        figure
        for precision in precisions
        for batch in BATCHES[: n["batches"]]
        for figure in _beside_ours(name, precision, batch, n)
    ]


def _beside_ours(name: str, precision: str, batch: int, n: Sizes) -> list[Figure]:
    """The speed of every runtime, or the reason why it has none."""
    size = model(name, precision=precision).card.input.size
    torch.manual_seed(0)
    inputs = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    at = f"{name}, {precision}, batch {batch}"
    runners, reasons = {OURS: ours(name, precision, inputs)}, dict[str, str]()
    for runtime, start in RUNTIMES.items():
        try:
            runners[runtime] = _checked(start(name, precision, inputs), runners[OURS], precision)
        except Exception as error:  # of the runtime's own making, ImportError where it is not installed
            reasons[runtime] = (str(error).splitlines() or [type(error).__name__])[0]
    found = race(runners, rounds=n["rounds"], images=batch, title=at)
    meaning = "Speed of the trunk alone, relative to ours."
    return [
        Figure(f"{runtime}, {at}", None, reason=reasons[runtime])
        if runtime in reasons
        else found.speed(runtime, beside=OURS, figure=f"{runtime}, {at}", meaning=meaning)
        for runtime in RUNTIMES
    ]


def _checked(runner: Runner, own: Runner, precision: str) -> Runner:
    """The runner, once it has given the features that ours gives."""
    theirs, features = (torch.as_tensor(run()).float() for run in (runner, own))
    difference = float((theirs - features).abs().max() / features.abs().max())
    if difference > CLOSE[precision]:
        raise ValueError(f"its features differ from ours by {difference:.1g} of the largest")
    return runner


if __name__ == "__main__":
    main()
