"""What the pages say of an answer: its headline, its verdict, maps of groups, and what models say of each other."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest

from shared.answer.classes import ClassGroup
from shared.blobs.blob_store import BlobStore
from shared.cards.card import Registry
from shared.cards.verdicts import SENTENCES
from shared.jobs import JobOptions
from shared.settings import Settings
from shared.store.job_store import JobStore
from tests.shared.answers import explanation_of
from tests.web.test_pages import House, again, build, document, words
from tests.web.test_pages import explanation as of_an_earlier_version
from web.pages import stage, verdicts
from worker.explain import agreement

IMAGENET, CIFAR = "efficientnet-lite0-imagenet", "nbdt-cifar10"
ORGANISM, DOMESTIC_CAT, TIGER_CAT, ROOT = "n00004475", "n02121808", "n02123159", "n00001740"
TABBY, LYNX = 281, 287  # the classes below domestic cat are 281 to 285
PARAMS = {
    "name": "tiger cat",
    "confidence": "39.9%",
    "probability": "92.1%",
    "sure": "domestic cat",
    "count": 1000,
    "kinds": 5,
    "other": None,
    "theirs": None,
    "shared": None,
    "share": None,
}
SURE = {"node": DOMESTIC_CAT, "name": "domestic cat", "probability": 0.9209, "index": None, "class_count": 5}
SURE |= {"is_root": False, "at": 0.7}
CLASS = {**SURE, "node": TIGER_CAT, "name": "tiger cat", "index": 282, "class_count": 1}
NOTHING = {**SURE, "node": ROOT, "name": "entity", "probability": 1.0, "class_count": 1000, "is_root": True}
PAIR = {"broad": "EfficientNet-Lite0 on ImageNet-1K", "narrow": "Neural-backed decision tree on CIFAR-10", "count": 10}
PAIR |= {"ours": "domestic cat", "theirs": "cat", "share": "<0.1%"}


@pytest.fixture
def house(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> House:
    """With the shipped models."""
    return build(settings, store, blobs, registry)


def verdict(level: str, *reasons: str, **params: Any) -> dict[str, Any]:
    given = {**PARAMS, **params}
    return {"level": level, "reasons": list(reasons), "params": given, "text": SENTENCES[reasons[0]].format(**given)}


def ranked(index: int, name: str, probability: float) -> dict[str, Any]:
    return {"index": index, "name": name, "probability": probability, "logit": 1.0}


def explanation(**changes: Any) -> dict[str, Any]:
    """An answer whose sure answer, a group, is what its map shows."""
    best = ranked(282, "tiger cat", 0.3994)
    entry = deepcopy(of_an_earlier_version())
    entry |= {"model": IMAGENET, "sure": SURE, "verdict": verdict("care", "sure_group"), **changes}
    rest = [ranked(285, "Egyptian cat", 0.3547), ranked(TABBY, "tabby, tabby cat", 0.1664), ranked(LYNX, "lynx", 0.01)]
    entry["prediction"] = {**best, "confidence": None, "top": [best, *rest]}
    entry["maps"][0] |= {"target": {"index": None, "name": "domestic cat", "node": DOMESTIC_CAT}, "entropy_term": 1.05}
    path = entry["decision_path"]
    for step, node, name in zip(path["steps"], (DOMESTIC_CAT, TIGER_CAT), ("domestic cat", "tiger cat"), strict=True):
        step |= {"node": node, "name": name}
    return entry


def pair(code: str) -> dict[str, Any]:
    text = agreement.SENTENCES[code].format(**PAIR, shared="animal")
    return {"models": [IMAGENET, CIFAR], "relation": "kind", "code": code, "params": PAIR, "text": text}


def page(house: House, result: dict[str, Any], language: str = "en") -> str:
    return house.client.get(f"/jobs/{house.answered(result)}?lang={language}").text


def seen(house: House, result: dict[str, Any], language: str = "en") -> str:
    """What a reader sees of the page of a result, in one line."""
    return words(house.client.get(f"/jobs/{house.answered(result)}?lang={language}"))


# -- headline and verdict ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sure", "headline"),
    [
        (SURE, "domestic cat, most likely tiger cat"),
        (CLASS, "tiger cat"),
        (NOTHING, "no sure answer: tiger cat is only the likeliest"),
        (None, "tiger cat"),
    ],
)
def test_the_headline_is_the_sure_answer(sure: dict[str, Any] | None, headline: str) -> None:
    assert verdicts.headline(explanation_of(explanation(sure=sure))) == headline


def test_one_probability_stands_beside_the_sure_answer_and_says_what_it_is_of(house: House) -> None:
    said = seen(house, document(explanation()))
    meaning = "the model’s probability for domestic cat, 5 classes together. A sure answer has at least 70%."
    assert f"Domestic cat, most likely tiger cat 92.1% {meaning}".lower() in said.lower()
    assert "Most probable classes Softmax probabilities, not calibrated. tiger cat 39.9%" in said


def test_the_calibrated_confidence_of_the_first_class_stands_with_the_classes(house: House) -> None:
    entry = explanation(sure=CLASS)
    entry["prediction"]["confidence"] = 0.74
    said = seen(house, document(entry))
    assert "92.1% the model’s probability for this class." in said
    assert "tiger cat: 74.0% confident, calibrated. The figures below are the raw softmax." in said


def test_a_model_that_vouches_for_nothing_says_so_and_names_the_likeliest_class_as_only_that(house: House) -> None:
    entry = explanation(sure=NOTHING, verdict=verdict("care", "nothing_sure"))
    entry["prediction"]["confidence"] = 0.74  # which is not what a sure answer goes by
    warning = {"code": "nothing_sure", "params": {"at": 0.7}, "model": IMAGENET, "text": "It explains its class."}
    said = seen(house, document(entry, warnings=(warning,)))
    assert "no sure answer: tiger cat is only the likeliest 39.9% the model’s probability for tiger cat." in said
    assert "That is too little: a sure answer has at least 70%." in said
    header, _, rest = said.partition("Which pixels")
    assert "It explains its class." in rest and "It explains its class." not in header


@pytest.mark.parametrize(("level", "word"), [("believe", "believe"), ("foreign", "none of its classes")])
def test_the_verdict_is_a_word_with_a_mark_and_a_sentence(house: House, level: str, word: str) -> None:
    entry = explanation(verdict=verdict(level, "sure_class"))
    text = page(house, document(entry))
    assert re.search(rf'<strong class="word {level}"><svg class="mark"[^>]* aria-hidden="true">.*<span>{word}<', text)
    assert "tiger cat: the model vouches for this class (92.1%)." in text


def test_the_verdict_is_told_in_the_language_of_the_reader_with_the_names_of_models_in_it(house: House) -> None:
    entry = explanation(verdict=verdict("foreign", "outside", other=PAIR["broad"], share="<0.1%"))
    said = seen(house, document(entry), "ja")
    assert "どのクラスでもない モデルの 1000 クラスのどれでもありません。" in said
    assert "ImageNet-1K の EfficientNet-Lite0 がそのすべてに与える確率は、合わせて 0.1%未満 です。" in said


def test_a_verdict_of_a_newer_version_is_told_as_it_stands(house: House) -> None:
    newer = {"level": "doubt", "reasons": ["of_tomorrow"], "params": {}, "text": "Nobody knows."}
    assert "doubt Nobody knows." in seen(house, document(explanation(verdict=newer)), "ja")


def test_a_certificate_wears_no_colour_that_could_read_as_right(house: House) -> None:
    assert 'class="fact good"' not in page(house, document(explanation()))


def test_title_and_list_have_the_sure_answer_and_the_verdicts_word(house: House) -> None:
    job_id = house.answered(document(explanation()))
    title = "<title>domestic cat, most likely tiger cat (with care) · Pathlight</title>"
    assert title in house.client.get(f"/jobs/{job_id}").text
    listed = words(house.client.get(f"/several?job={job_id}"))
    assert "domestic cat, most likely tiger cat 92.1% with care EfficientNet-Lite0 on ImageNet-1K" in listed


def test_what_an_earlier_version_stored_is_shown_without_a_verdict(house: House) -> None:
    job_id = house.answered(document())
    for address in (f"/jobs/{job_id}", f"/several?job={job_id}"):
        response = house.client.get(address)
        assert response.status_code == 200 and "tabby" in words(response) and 'class="word' not in response.text
    said = words(house.client.get(f"/jobs/{job_id}"))
    assert "81.2% softmax probability, not calibrated" in said and "say of each other" not in said


@pytest.mark.parametrize(
    ("code", "reasons", "told"),
    [
        ("low_confidence", ("low_confidence",), False),
        ("low_confidence", ("none_of_its_classes", "low_confidence"), True),
        ("unfamiliar_picture", ("unfamiliar", "sure_group"), False),
        ("unfamiliar_picture", ("sure_group",), True),
    ],
)
def test_a_warning_is_left_out_where_the_verdict_says_it(
    house: House, code: str, reasons: tuple[str, ...], told: bool
) -> None:
    warning = {"code": code, "params": {}, "model": IMAGENET, "text": "Beware."}
    entry = explanation(verdict=verdict("guess", *reasons))
    assert ("Beware." in seen(house, document(entry, warnings=(warning,)))) == told


@pytest.mark.parametrize(("sure", "told"), [(SURE, False), (NOTHING, False), (CLASS, True)])
def test_a_weak_decision_is_warned_of_unless_it_lies_below_the_sure_answer(
    house: House, sure: dict[str, Any], told: bool
) -> None:
    warning = {"code": "weak_decision", "params": {"at": 1}, "model": IMAGENET, "text": "A weak decision."}
    assert ("A weak decision." in seen(house, document(explanation(sure=sure), warnings=(warning,)))) == told


# -- maps of groups ----------------------------------------------------------------------------------------------------


def test_a_map_of_a_group_says_what_the_group_is(house: House) -> None:
    said = seen(house, document(explanation()))
    assert "Which pixels: the evidence for domestic cat" in said
    classes = "tabby, tiger cat, Persian cat, Siamese cat, Egyptian cat"
    assert f"domestic cat: 5 classes together {classes} Strongest" in said
    assert "asked for; not the prediction" not in said


def test_the_entropy_of_a_group_is_told_below_its_certificate(house: House) -> None:
    said = seen(house, document(explanation()))
    assert "The map adds up to the group’s score: the mean of its cells plus a constant is 7.10" in said
    assert "1.05 So much of the constant is entropy" in said


def test_of_a_single_class_nothing_is_said_of_entropy(house: House) -> None:
    entry = explanation()
    entry["maps"][0] |= {"target": {"index": 282, "name": "tiger cat", "node": TIGER_CAT}, "entropy_term": 0.0}
    assert "entropy" not in seen(house, document(entry))


def test_a_contrast_of_groups_adds_up_to_the_difference_of_their_scores(house: House) -> None:
    entry = explanation()
    entry["maps"][0]["contrast"] = {"index": None, "name": "canine", "node": "n02083346"}
    said = seen(house, document(entry))
    assert "the evidence for domestic cat rather than canine" in said
    assert "The map adds up to the difference of the two scores: the mean of its cells plus a constant" in said


def test_a_map_of_a_group_without_the_prediction_says_that_it_was_asked_for(house: House) -> None:
    entry = explanation()
    entry["maps"][0]["target"] = {"index": None, "name": "canine", "node": "n02083346"}
    said = seen(house, document(entry))
    assert "asked for; not the prediction" in said and "canine: 130 classes together" in said


def test_a_group_of_a_model_that_is_gone_is_several_classes(house: House) -> None:
    said = seen(house, document(explanation(model="gone")))
    assert "domestic cat: several classes together" in said and "asked for; not the prediction" not in said


def test_further_questions_about_a_group_name_its_node_and_no_class_of_it_as_its_rival(house: House) -> None:
    text = page(house, document(explanation()))
    assert text.count(f'<input type="hidden" name="target" value="{DOMESTIC_CAT}">') == 2  # a contrast and a what-if
    assert (
        f'value="lynx" required maxlength="200" autocomplete="off" spellcheck="false" data-runner-up="{LYNX}"' in text
    )
    assert "None" not in text


def test_a_what_if_about_a_contrast_of_groups_keeps_both(house: House) -> None:
    entry = explanation()
    entry["maps"][0]["contrast"] = {"index": None, "name": "canine", "node": "n02083346"}
    assert '<input type="hidden" name="contrast" value="n02083346">' in page(house, document(entry))


@pytest.mark.parametrize(
    ("target", "word"),
    [(ClassGroup(index=0, name="a", node="x"), "0"), (ClassGroup(index=None, name="a", node="x"), "x")],
)
def test_a_target_is_asked_about_again_by_its_class_or_its_node(target: ClassGroup, word: str) -> None:
    assert stage.word(target) == word


def test_every_step_of_the_path_and_the_sure_answer_can_be_asked_about(house: House) -> None:
    entry = explanation()
    entry["maps"][0]["target"] = {"index": LYNX, "name": "lynx", "node": "n02127052"}
    job_id = house.answered(document(entry))
    text = house.client.get(f"/jobs/{job_id}").text
    (form,) = re.findall(r'<form class="ranking" id="([^"]+)"', text)
    asked = re.findall(rf'<button class="small" form="{form}" name="target" value="(\w+)" aria-label="([^"]+)"', text)
    assert asked == [
        (DOMESTIC_CAT, "Explain domestic cat"),  # beside the headline
        (DOMESTIC_CAT, "Explain domestic cat"),
        (TIGER_CAT, "Explain tiger cat"),
    ]
    response = again(house, job_id, models=IMAGENET, target=DOMESTIC_CAT)
    new = house.store.get(response.headers["Location"].removeprefix("/jobs/"))
    assert new.options == JobOptions((IMAGENET,), ("cam",), target=DOMESTIC_CAT)


def test_what_is_shown_is_not_offered_again(house: House) -> None:
    text = page(house, document(explanation()))
    assert f'name="target" value="{DOMESTIC_CAT}" aria-label' not in text
    assert 'domestic cat</span> <span class="share">' in text and text.count(">shown above<") == 1


def test_a_model_that_is_gone_is_not_asked(house: House) -> None:
    assert 'form="ask-gone"' not in page(house, document(explanation(model="gone")))


# -- several models ----------------------------------------------------------------------------------------------------


def test_what_models_say_of_each_other_is_told_before_their_answers(house: House) -> None:
    result = document(explanation()) | {"agreement": [pair("kind_broad")]}
    said = seen(house, result)
    heading = "What the models say of each other"
    assert f"{heading} {pair('kind_broad')['text']} EfficientNet-Lite0 on ImageNet-1K domestic cat" in said


@pytest.mark.parametrize("code", agreement.SENTENCES)
def test_what_models_say_of_each_other_is_told_in_the_language_of_the_reader(house: House, code: str) -> None:
    one = pair(code)
    one["params"] = {**PAIR, "shared": "animal"}
    said = seen(house, document(explanation()) | {"agreement": [one]}, "ja")
    assert "モデルどうしの関係" in said and one["text"] not in said
    assert "CIFAR-10 のニューラル決定木（NBDT）" in said and "<0.1%" not in said


# -- the form ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["predicted", "sure", "tabby", DOMESTIC_CAT, "domestic cat"])
def test_a_class_a_node_and_the_keywords_can_be_typed(house: House, typed: str) -> None:
    response = house.send(target=typed, models=[IMAGENET])
    assert response.status_code == 303
    assert house.store.get(response.headers["Location"].removeprefix("/jobs/")).options.target == typed


def test_the_form_says_that_it_asks_about_the_sure_answer(house: House) -> None:
    text = house.client.get("/").text
    assert 'placeholder="the sure answer" data-default="sure"' in text
    assert "Left empty, each model explains its sure answer." in text


def test_each_model_of_the_form_says_what_it_is_good_for(house: House, registry: Registry) -> None:
    said = words(house.client.get("/"))
    assert all(f"Good for: {card.facts['good_for']}" in said for card in registry.cards.values())
