"""What a benchmark prints, and when it fails."""

from __future__ import annotations

import json

from clawloops.bench.report import Figure, as_json, holds, percentile, spread, table

SLOW = Figure(name="wake from pause, p50", value=180.0, unit="ms", gate=150, moonshot=20, spread="20 … 180 … 300 (n=3)")
LIGHT = Figure(name="memory", value=70.25, unit="MB", gate=150)
TOLD = Figure(name="a page that is awake", value=4.5, unit="ms")


def test_a_gate_that_does_not_hold_is_told_and_fails_the_whole() -> None:
    assert not holds([LIGHT, SLOW])
    lines = table([LIGHT, SLOW]).splitlines()
    assert "holds" in lines[1] and "70.2 MB" in lines[1] and "≤ 150 MB" in lines[1]
    assert "FAILS" in lines[2] and "180 ms" in lines[2] and lines[2].endswith(SLOW.spread)


def test_a_value_at_its_gate_holds_and_one_without_a_gate_is_only_told() -> None:
    assert holds([Figure(name="disturbed", value=0, unit="", gate=0), TOLD])
    assert "holds" not in table([TOLD]) and "FAILS" not in table([TOLD])


def test_a_benchmark_that_measured_nothing_holds_nothing() -> None:
    assert not holds([])


def test_programs_get_six_fields_for_each_figure() -> None:
    assert json.loads(as_json([SLOW, TOLD])) == [
        {"name": SLOW.name, "value": 180.0, "unit": "ms", "gate": 150, "moonshot": 20, "ok": False},
        {"name": TOLD.name, "value": 4.5, "unit": "ms", "gate": None, "moonshot": None, "ok": True},
    ]


def test_the_99th_percentile_of_few_values_is_the_largest_and_never_one_in_between() -> None:
    values = [float(each) for each in range(32, 0, -1)]
    assert percentile(values, 99) == 32
    assert percentile(values, 50) == 16
    assert percentile([7.0], 99) == percentile([7.0], 0) == 7.0
    assert percentile([float(each) for each in range(1, 201)], 99) == 198


def test_the_spread_says_how_many_values_are_behind_it() -> None:
    assert spread([3.0, 1.0, 2.0], "s") == "1 … 2 … 3 s (n=3)"
