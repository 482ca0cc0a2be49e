"""The training loop: seeded, resumable to the same weights, and what feeds it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Generator, Tensor, nn
from torch.nn import functional

from shared.settings import REPOSITORY
from training import augment
from training.cifar10 import between
from training.fit import Recipe, estimate_norms, fit, normalise, predict
from training.muon import orthogonal
from training.pictures import photos100, read_archive, read_tiny_imagenet
from worker.engine.networks import whitening_filters
from worker.engine.precision import computes_bf16

RECIPE = Recipe(epochs=3, batch=16, peak_rate=0.1, weight_decay=1e-3, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
RECIPES = {"sgd": RECIPE, "muon in chunks": replace(RECIPE, filter_rate=0.1, chunk=8)}
each_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


def data() -> tuple[Tensor, Tensor]:
    """Two classes told apart by their brightness."""
    rng = Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    images = torch.randint(0, 80, (64, 3, 8, 8), generator=rng) + 150 * labels[:, None, None, None]
    return images.to(torch.uint8), labels


def small_network() -> nn.Module:
    torch.manual_seed(1)
    layers = (nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 2))


def train(network: nn.Module, checkpoint: Path, *, recipe: Recipe = RECIPE, stop_after: int | None = None) -> None:
    images, labels = data()

    def view(batch: Tensor, indices: Tensor, epoch: int, rng: Generator) -> Tensor:
        return augment.shift(augment.alternating_flip(batch, indices, epoch=epoch), pixels=1, generator=rng)

    def after_epoch(epoch: int) -> str:
        if epoch == stop_after:
            raise KeyboardInterrupt
        return ""

    fit(
        network,
        recipe,
        images,
        labels,
        loss=lambda logits, wanted, share: functional.cross_entropy(logits, wanted),
        view=view,
        checkpoint=checkpoint,
        after_epoch=after_epoch,
    )


@each_recipe
def test_a_training_that_was_interrupted_ends_with_the_weights_of_one_that_was_not(
    recipe: Recipe, tmp_path: Path
) -> None:
    whole, resumed = small_network(), small_network()
    train(whole, tmp_path / "whole.pt", recipe=recipe)
    with pytest.raises(KeyboardInterrupt):
        train(resumed, tmp_path / "resumed.pt", recipe=recipe, stop_after=2)
    resumed = small_network()
    train(resumed, tmp_path / "resumed.pt", recipe=recipe)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@each_recipe
def test_the_loop_learns(recipe: Recipe, tmp_path: Path) -> None:
    network = small_network()
    train(network, tmp_path / "run.pt", recipe=recipe)
    images, labels = data()
    assert (predict(network, images, RECIPE, size=8).argmax(1) == labels).all()


def test_training_ends_early_where_enough_epochs_are_done(tmp_path: Path) -> None:
    images, labels = data()
    seen: list[int] = []

    def after_epoch(epoch: int) -> str:
        seen.append(epoch)
        return ""

    fit(
        small_network(),
        RECIPE,
        images,
        labels,
        loss=lambda logits, wanted, share: functional.cross_entropy(logits, wanted),
        view=lambda batch, indices, epoch, rng: batch,
        checkpoint=tmp_path / "run.pt",
        after_epoch=after_epoch,
        enough=lambda epochs: epochs >= 2,
    )
    assert seen == [1, 2]


def test_a_batch_in_chunks_gives_the_gradient_of_the_whole(tmp_path: Path) -> None:
    weights = []
    for chunk in (None, 5):
        torch.manual_seed(1)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        train(network, tmp_path / f"{chunk}.pt", recipe=replace(RECIPE, chunk=chunk))
        weights.append(torch.cat([p.flatten() for p in network.parameters()]))
    assert torch.allclose(weights[0], weights[1], atol=2e-3)


@pytest.mark.parametrize("shape", [(16, 8, 3, 3), (64, 2, 3, 3)])
def test_an_orthogonal_update_gives_all_directions_nearly_the_same_length(shape: tuple[int, ...]) -> None:
    update = torch.randn(shape, generator=Generator().manual_seed(0))
    before, after = (torch.linalg.svdvals(u.reshape(shape[0], -1)) for u in (update, orthogonal(update)))
    assert after.min() > 0.5 and after.max() < 1.3
    assert after.max() / after.min() < before.max() / before.min()


def test_bf16_is_used_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    for flags, used in (({"avx512_bf16": True}, True), ({"avx2": True, "avx512_bf16": False}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda flags=flags: flags)
        assert computes_bf16(torch.device("cpu")) is used


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    train(small_network(), tmp_path / "run.pt")
    images, labels = data()
    with pytest.raises(SystemExit, match="another recipe"):
        fit(
            small_network(),
            replace(RECIPE, peak_rate=0.2),
            images,
            labels,
            loss=lambda logits, wanted, share: logits.sum(),
            view=lambda batch, indices, epoch, rng: batch,
            checkpoint=tmp_path / "run.pt",
        )


def test_the_rate_rises_to_its_peak_and_falls() -> None:
    rates = [RECIPE.rate(share / 100) for share in range(101)]
    peak = rates.index(max(rates))
    assert peak == 20 and rates[peak] == pytest.approx(RECIPE.peak_rate)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert min(rates) > 0


def test_two_epochs_show_both_sides_of_every_picture() -> None:
    pictures = torch.rand(20, 3, 4, 4)
    even = augment.alternating_flip(pictures, torch.arange(20), epoch=0)
    odd = augment.alternating_flip(pictures, torch.arange(20), epoch=1)
    assert torch.equal(odd.flip(3), even)
    sides = [(even[i] == pictures[i]).all().item() for i in range(20)]
    assert any(sides) and not all(sides)


def test_a_shift_moves_a_picture_and_mirrors_at_its_border() -> None:
    column = torch.arange(6.0).expand(1, 3, 6, 6)
    seen = {
        augment.shift(column, pixels=1, generator=Generator().manual_seed(seed))[0, 0, 0, 0].item()
        for seed in range(30)
    }
    assert seen == {0.0, 1.0}
    assert augment.shift(column, pixels=1, generator=Generator().manual_seed(0)).shape == column.shape


def test_a_crop_of_the_whole_area_resizes_and_nothing_else() -> None:
    pictures = torch.rand(4, 3, 16, 16)
    whole = augment.crop_and_resize(
        pictures.mean((2, 3), keepdim=True).expand_as(pictures),
        size=8,
        area=(1, 1),
        generator=Generator().manual_seed(0),
    )
    assert whole.shape == (4, 3, 8, 8)
    assert torch.allclose(whole, pictures.mean((2, 3), keepdim=True).expand_as(whole), atol=1e-5)


def test_whitened_patches_have_unit_variance_and_no_correlation() -> None:
    pictures = torch.randn(200, 3, 12, 12, generator=Generator().manual_seed(0)).cumsum(3)
    answers = functional.conv2d(pictures, whitening_filters(pictures, 32))[:, :16]
    flat = answers.permute(1, 0, 2, 3).flatten(1)
    covariance = torch.cov(flat)
    assert torch.allclose(covariance, torch.eye(16), atol=0.05)


def test_an_archive_is_read_as_its_pictures_and_labels(tmp_path: Path) -> None:
    shades = [10, 200, 90]
    encoded = []
    for shade in shades:
        buffer = io.BytesIO()
        Image.new("RGB", (4, 4), (shade, 0, 0)).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    offsets = np.cumsum([0, *map(len, encoded)])
    path = tmp_path / "photos100-val.npz"
    np.savez(
        path,
        images=np.frombuffer(b"".join(encoded), np.uint8),
        offsets=offsets,
        labels=np.array([0, 1, 0], np.uint8),
        names=np.array(["a", "b"]),
        wnids=np.array(["n1", "n2"]),
        boxes=np.zeros((3, 4), np.uint8),
    )
    pictures = photos100("val", tmp_path)
    assert pictures.images[:, 0, 0, 0].tolist() == shades
    assert pictures.labels.tolist() == [0, 1, 0]
    assert pictures.wnids == ("n1", "n2")
    assert read_archive(path).boxes is not None


def test_an_unpacked_tiny_imagenet_folder_gives_the_same_classes(tmp_path: Path) -> None:
    for wnid, shade in (("n1", 10), ("n2", 200), ("n9", 50)):
        folder = tmp_path / "train" / wnid / "images"
        folder.mkdir(parents=True)
        Image.new("RGB", (64, 64), (shade, shade, shade)).save(folder / f"{wnid}_0.JPEG")
    (tmp_path / "val" / "images").mkdir(parents=True)
    Image.new("RGB", (64, 64), (200, 200, 200)).save(tmp_path / "val" / "images" / "val_0.JPEG")
    (tmp_path / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn2\t0\t0\t10\t10\n", "utf-8")
    train_split = read_tiny_imagenet(tmp_path, "train", wnids=["n1", "n2"], names=["a", "b"])
    assert train_split.labels.tolist() == [0, 1]
    val_split = read_tiny_imagenet(tmp_path, "val", wnids=["n1", "n2"], names=["a", "b"])
    assert val_split.labels.tolist() == [1]


@pytest.mark.parametrize("name", ["cifar10", "photos100"])
def test_the_training_commands_teach_themselves(name: str) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", f"training.{name}", "--help"]
    shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert "--data" in shown and "--run" in shown


def test_one_square_of_each_picture_is_cut_out_within_its_borders() -> None:
    cut = augment.cut_out(torch.ones(64, 3, 16, 16), pixels=8, generator=Generator().manual_seed(0)) == 0
    assert (cut.sum((1, 2, 3)) == 3 * 8 * 8).all()
    rows, columns = cut[:, 0].any(2), cut[:, 0].any(1)
    assert (rows.sum(1) == 8).all() and (columns.sum(1) == 8).all()
    assert len({tuple(row.tolist()) for row in rows}) > 1


def test_a_small_view_keeps_the_mean_and_loses_the_finest_detail() -> None:
    stripes = torch.arange(32).remainder(2).float().mul(2).sub(1).expand(1, 3, 32, 32)
    small = augment.shrink(stripes, size=16)
    assert small.shape[-2:] == (16, 16)
    assert small[..., 2:-2].abs().max() < 0.3
    assert augment.shrink(stripes, size=32) is stripes


def test_norm_statistics_at_the_end_are_those_of_the_pictures_and_not_of_the_last_chunk() -> None:
    images, _ = data()
    network = small_network()
    norm = next(module for module in network if isinstance(module, nn.BatchNorm2d))  # type: ignore[attr-defined]
    estimate_norms(network, images, RECIPE, count=len(images), chunk=16)
    with torch.no_grad():
        answers = network[0](normalise(images, RECIPE))  # type: ignore[index]
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, answers.mean((0, 2, 3)), atol=1e-4)
    assert norm.momentum == 0.1 and not network.training


def test_weights_between_two_stages_lie_on_the_line_from_one_to_the_other() -> None:
    first = {"weight": torch.tensor([0.0, 2.0]), "seen": torch.tensor(3)}
    second = {"weight": torch.tensor([1.0, 4.0]), "seen": torch.tensor(9)}
    found = between(first, second, share=0.25)
    assert torch.equal(found["weight"], torch.tensor([0.25, 2.5]))
    assert found["seen"] == 9
