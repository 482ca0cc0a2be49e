"""What the scripts of the store say of themselves, checked on their text."""

from __future__ import annotations

import re

import pytest

from shared.settings import REPOSITORY

PATHS = {path.stem: path for path in sorted((REPOSITORY / "shared" / "store" / "scripts").glob("*.lua"))}
ADMITTED = set(re.findall(r"\bnew\.(\w+)", PATHS["prelude"].read_text("utf-8")))  # read by `admit`


@pytest.mark.parametrize("name", sorted(PATHS.keys() - {"prelude"}))
def test_the_head_of_a_script_names_what_it_is_given(name: str) -> None:
    text = PATHS[name].read_text("utf-8")
    head = re.match(r"(?:--.*\n)+", text)
    assert head is not None and "Returns" in head[0]
    told = re.findall(r"^--   (\w+): ", head[0], flags=re.MULTILINE)
    read = set(re.findall(r"\bgiven\.(\w+)", text))
    assert read <= set(told) <= read | (ADMITTED if "admit(given)" in text else set())
    assert len(told) == len(set(told)) and "ARGV" not in text
