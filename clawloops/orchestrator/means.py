"""What the keepers of an install share, made once by the loop."""

from __future__ import annotations

from dataclasses import dataclass

from clawloops.orchestrator.activity import Activity
from clawloops.orchestrator.admission import Gate
from clawloops.orchestrator.ask import Control
from clawloops.orchestrator.board import Board
from clawloops.orchestrator.execute import Hands
from clawloops.orchestrator.phase import SLOW_BOOT_MS
from clawloops.orchestrator.probe import Probe
from clawloops.orchestrator.sleep import Rules
from clawloops.orchestrator.turns import Turns
from clawloops.orchestrator.walls import Walls


@dataclass(frozen=True, slots=True)
class Means:
    hands: Hands
    board: Board
    probe: Probe
    control: Control
    activity: Activity
    gate: Gate
    rules: Rules
    walls: Walls
    turns: Turns
    trial_ms: int = SLOW_BOOT_MS  # how long an image on trial may boot
