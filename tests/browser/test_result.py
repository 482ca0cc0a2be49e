"""What a reader does with an answer in a real Chromium: reads its maps, walks its path, asks about other classes."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.browser.conftest import Open, finished, shoot, violations
from tests.flow.conftest import Service

# What a canvas shows, told apart by the sum of its opacities and some of its pixels.
INK = """canvas => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let sum = 0;
    for (let at = 3; at < data.length; at += 4) sum += data[at];
    return [sum, [...data.slice(0, 4000)].join()];
}"""


@pytest.fixture(scope="module")
def answered(service: Service, chelsea: FilePayload) -> str:
    """The address of the answer of one model: half of what a page of two has to draw."""
    files = {"image": (chelsea["name"], chelsea["buffer"], chelsea["mimeType"])}
    job = service.client.post("/api/v1/jobs", files=files, data={"models": "nbdt-cifar10"}).json()
    return finished(service, job["links"]["self"])


@pytest.fixture
def page(open_page: Open, answered: str) -> Iterator[Page]:
    page = open_page(answered)
    expect(legend(page).first).to_be_visible()  # its map is drawn
    yield page


def legend(page: Page | Locator) -> Locator:
    return page.locator("[data-part=legend]")


def tree_answer(page: Page) -> Locator:
    return page.locator(".answer[data-model=nbdt-cifar10]")


def drawn(canvas: Locator) -> object:
    return canvas.evaluate(INK)


def raw_map(service: Service, page: Page) -> NDArray[np.float32]:
    stage = tree_answer(page).locator(".evidence .stage")
    address = str(stage.evaluate("stage => JSON.parse(stage.dataset.map).raw"))
    found: NDArray[np.float32] = np.load(io.BytesIO(service.client.get(address).content))
    return found


def test_the_value_under_the_pointer_is_the_stored_one(page: Page, service: Service) -> None:
    raw = raw_map(service, page)
    view = tree_answer(page).locator(".evidence .view")
    view.hover()  # at its middle
    readout = tree_answer(page).locator(".evidence [data-part=readout]")
    words = re.compile(r"Row (\d+), column (\d+): (−?[\d.]+) logit units")
    expect(readout).to_have_text(words)
    said = words.match(readout.inner_text())
    assert said is not None
    row, column = int(said[1]) - 1, int(said[2]) - 1
    assert {row, column} <= {raw.shape[0] // 2 - 1, raw.shape[0] // 2}
    assert np.float32(said[3].replace("−", "-")) == pytest.approx(raw[row, column], rel=1e-6)


def test_the_arrow_keys_read_a_map_from_its_strongest_cell(page: Page, service: Service) -> None:
    raw = raw_map(service, page)
    row, column = (int(at) for at in np.unravel_index(raw.argmax(), raw.shape))
    tree_answer(page).locator(".evidence canvas").focus()
    readout = tree_answer(page).locator(".evidence [data-part=readout]")
    page.keyboard.press("ArrowLeft")
    expect(readout).to_contain_text(f"Row {row + 1}, column {column + 1}:")
    expect(readout).to_contain_text("100% of the scale")
    page.keyboard.press("ArrowLeft")
    expect(readout).to_contain_text(f"Row {row + 1}, column {max(column, 1)}:")


def test_opacity_wipe_and_colours_change_what_is_drawn(page: Page) -> None:
    evidence = tree_answer(page).locator(".evidence")
    canvas = evidence.locator("canvas")
    first = drawn(canvas)
    evidence.get_by_label("Opacity").fill("100")
    second = drawn(canvas)
    evidence.get_by_label("Colours").select_option("viridis")
    expect(evidence.locator(".ramp")).to_have_attribute("src", re.compile("viridis"))
    assert first != second != drawn(canvas)
    evidence.get_by_label("Wipe").fill("25")
    assert canvas.evaluate("canvas => canvas.style.clipPath") == "inset(0px 75% 0px 0px)"
    page.reload()
    expect(evidence.get_by_label("Colours")).to_have_value("viridis")  # kept by the browser


def test_the_canvas_shows_what_the_server_draws(page: Page, service: Service) -> None:
    evidence = tree_answer(page).locator(".evidence")
    evidence.get_by_label("Opacity").fill("100")
    shown = evidence.locator(".stage").evaluate("stage => JSON.parse(stage.dataset.map)")
    x0, y0, x1, y1 = shown["box"]
    png = evidence.locator("canvas").evaluate("canvas => canvas.toDataURL().split(',')[1]")
    canvas = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")
    ours = np.asarray(canvas.crop((x0, y0, x1, y1))).astype(int)
    address = str(evidence.get_by_role("link", name="Heat map").get_attribute("href")).partition("?")[0]
    heatmap = service.client.get(address, params={"width": x1 - x0}).content
    theirs = np.asarray(Image.open(io.BytesIO(heatmap)).convert("RGB")).astype(int)
    strong = ours[..., 3] > 128  # where little is to be seen, a canvas keeps few bits of the colour
    assert strong.mean() > 0.02
    assert np.abs(ours[..., :3] - theirs)[strong].max() <= 6


def test_the_handle_of_the_wipe_can_be_drawn(page: Page) -> None:
    evidence = tree_answer(page).locator(".evidence")
    evidence.locator(".view").scroll_into_view_if_needed()
    box = evidence.locator(".view").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.up()
    expect(evidence.get_by_label("Wipe")).to_have_value(re.compile("^(48|49|50|51|52)$"))


def test_a_decision_of_the_path_shows_its_map(page: Page) -> None:
    decisions = tree_answer(page).locator(".decisions")
    steps = decisions.locator("[data-step]")
    canvas, caption = decisions.locator("canvas"), decisions.locator("[data-part=caption]")
    expect(legend(decisions)).to_be_visible()
    seen = set()
    for number in range(steps.count()):
        steps.nth(number).click()
        expect(steps.nth(number)).to_have_attribute("aria-pressed", "true")
        expect(decisions.locator("[aria-pressed=true]")).to_have_count(1)
        expect(canvas).to_have_attribute("aria-label", str(steps.nth(number).get_attribute("aria-label")))
        seen.add((caption.inner_text(), str(drawn(canvas))))
    assert len(seen) == steps.count() >= 3


def test_the_path_is_walked_with_the_keyboard(page: Page) -> None:
    decisions = tree_answer(page).locator(".decisions")
    steps = decisions.locator("[data-step]")
    steps.first.focus()
    page.keyboard.press("ArrowDown")
    expect(steps.nth(1)).to_be_focused()
    expect(steps.nth(1)).to_have_attribute("aria-pressed", "true")


def test_another_class_is_explained_in_place_and_the_first_answer_comes_back(page: Page) -> None:
    answer = tree_answer(page)
    answer.get_by_role("button", name="Explain dog").click()
    expect(answer.locator(".evidence h3")).to_have_text("Which pixels: the evidence for dog", use_inner_text=True)
    expect(answer.get_by_text("asked for; not the prediction")).to_be_visible()
    expect(answer.locator("h2")).to_be_focused()
    expect(legend(answer).first).to_be_visible()
    answer.get_by_role("button", name="Back to the answer before").click()
    expect(answer.locator(".evidence h3")).to_have_text("Which pixels: the evidence for cat")


def test_what_is_answered_in_place_is_in_the_history_of_the_browser(page: Page, answered: str) -> None:
    heading = tree_answer(page).locator(".evidence h3")
    tree_answer(page).get_by_role("button", name="Explain dog").click()
    expect(heading).to_have_text("Which pixels: the evidence for dog")
    expect(page).not_to_have_url(re.compile(f"{answered}$"))
    page.go_back()
    expect(heading).to_have_text("Which pixels: the evidence for cat")
    expect(page).to_have_url(re.compile(f"{answered}$"))
    page.go_forward()
    expect(heading).to_have_text("Which pixels: the evidence for dog")
    page.reload()
    expect(page.locator(".evidence h3")).to_have_text("Which pixels: the evidence for dog")


def test_a_question_in_place_can_be_stopped(page: Page) -> None:
    answer = tree_answer(page)
    answer.locator("form.ranking").evaluate(ASK_BY_RISE)  # which takes a while
    answer.get_by_role("button", name="Explain dog").click()
    asking = page.locator("#asking")
    asking.get_by_role("button", name="Cancel").click()
    expect(asking).to_be_hidden()
    expect(answer.locator(".evidence h3")).to_have_text("Which pixels: the evidence for cat")


ASK_BY_RISE = """form => {
    const field = document.createElement("input");
    Object.assign(field, { type: "hidden", name: "methods", value: "rise" });
    form.append(field);
}"""


def test_two_classes_are_compared_side_by_side_on_one_scale(page: Page) -> None:
    answer = tree_answer(page)
    answer.get_by_label("Rather than", exact=True).fill("runner-up")
    answer.get_by_role("button", name="Compare the two").click()
    figures = answer.locator(".comparison figure")
    expect(figures.locator("figcaption")).to_have_text(["cat", "dog", "cat rather than dog"])
    for figure in figures.all():
        expect(legend(figure)).to_be_visible()
    tops = figures.locator("[data-part=high]").all_inner_texts()
    assert tops[0] == tops[1]
    assert violations(page) == []
    shoot(page, "comparison.en")
    page.go_back()
    expect(answer.locator(".comparison")).to_have_count(0)


def test_a_class_that_the_model_does_not_know_is_said_to_be_unknown(page: Page) -> None:
    answer = tree_answer(page)
    answer.get_by_label("Rather than", exact=True).fill("dodo")
    answer.get_by_role("button", name="Compare the two").click()
    expect(page.locator("#asking")).to_contain_text("'dodo' is not a class of nbdt-cifar10")


def test_a_part_is_painted_over_and_the_answer_seen_beside_the_first(page: Page) -> None:
    answer = tree_answer(page)
    answer.get_by_text("What if a part were hidden?").click()
    ask = answer.get_by_role("button", name="Ask again")
    expect(ask).to_be_disabled()
    answer.get_by_role("button", name="Hide the hottest region").press("Enter")
    expect(ask).to_be_enabled()
    answer.get_by_role("button", name="Undo").click()
    expect(ask).to_be_disabled()
    paint(page, answer.locator("[data-part=brush]"))
    answer.get_by_label("What the hidden part becomes").select_option("grey")
    ask.click()
    differences = answer.locator(".differences")
    expect(differences.locator("figcaption").first).to_have_text("Before: cat")
    expect(differences.locator(".proofs li")).to_have_count(3)
    expect(differences.locator("tbody tr")).to_have_count(5)
    assert violations(page) == []
    shoot(page, "what-if.en")
    differences.get_by_role("link", name="This answer’s own page").click()
    expect(page.get_by_role("heading", name=re.compile("What changed when a part was hidden"))).to_be_visible()


def paint(page: Page, canvas: Locator) -> None:
    """Draw a line through the middle."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 60, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=4)
    page.mouse.up()


def test_without_scripts_the_hottest_region_is_hidden_with_one_button(open_page: Open, answered: str) -> None:
    page = open_page(answered, scripts=False)
    tree_answer(page).get_by_text("What if a part were hidden?").click()
    tree_answer(page).get_by_role("button", name="Hide the hottest region").click()
    expect(page.locator(".differences")).to_be_visible()


def test_without_scripts_maps_are_pictures_and_buttons_ask_again(open_page: Open, answered: str) -> None:
    page = open_page(answered, scripts=False)
    overlay = tree_answer(page).locator(".evidence").get_by_role("img", name=re.compile("Map of the evidence for cat"))
    expect(overlay.last).to_be_visible()
    page.goto(answered)
    tree_answer(page).get_by_role("button", name="Explain dog").click()
    expect(page.locator(".evidence h3")).to_have_text("Which pixels: the evidence for dog")


def test_the_commands_and_files_to_take_along_are_there(page: Page, service: Service) -> None:
    page.get_by_text("How to get this again").click()
    expect(page.locator("#with-cli")).to_contain_text("pathlight explain chelsea.png --model")
    expect(page.locator("#with-curl")).to_contain_text(f"{str(service.client.base_url).rstrip('/')}/api/v1/jobs")
    for link in page.get_by_role("list", name="Downloads").get_by_role("link").all():
        assert service.client.get(str(link.get_attribute("href"))).status_code == 200
