"""Ids of jobs and batches."""

from __future__ import annotations

import secrets

import pytest

from shared.store.ids import new_id


def test_no_id_can_be_taken_for_an_option_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["-DLwgDH3IV6MgQW3wfAflQ", "--LwgDH3IV6MgQW3wfAflQ", "D-wgDH3IV6MgQW3wfAflQ"])
    monkeypatch.setattr(secrets, "token_urlsafe", lambda size: next(drawn))
    assert new_id() == "D-wgDH3IV6MgQW3wfAflQ"


def test_ids_are_of_one_length_and_none_comes_twice() -> None:
    ids = {new_id() for _ in range(2000)}
    assert len(ids) == 2000 and {len(one) for one in ids} == {22}
