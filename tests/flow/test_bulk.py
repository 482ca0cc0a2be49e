"""`pathlight bulk` through a service that is killed in the middle, as is the command itself."""

from __future__ import annotations

from pathlib import Path

from bench.bulk_faults import differences, trial


def test_sixty_pictures_survive_the_death_of_client_and_worker_twice(tmp_path: Path, shared_data: Path) -> None:
    verdict = trial(60, tmp_path)
    log = (tmp_path / "log").read_text()
    assert (verdict.strikes, verdict.rows, verdict.known) == (4, 60, 60), log
    assert verdict.differences == []
    assert all(figure.met is not False for figure in verdict.figures())


def test_a_difference_between_two_tables_is_named() -> None:
    row = {"path": "a.png", "job": "x", "m:logit": 1.0, "m:path": "cat (90.00%)"}
    assert differences([row], [{**row, "job": "y", "m:logit": 1.00001, "m:path": "cat (90.01%)"}]) == []
    assert differences([row], [{**row, "m:logit": 1.1}]) == ["a.png m:logit: 1.0, not 1.1"]
    assert differences([row], [row, row]) == ["the pictures differ, or their order"]
