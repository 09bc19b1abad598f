"""The runtime manager's and the orchestrator's own tests once more, with the guard between them and the Engine."""

from tests.orchestrator.test_canary import (  # noqa: F401
    bridges_alone,
    test_a_canary_that_is_killed_removed_or_changed_comes_back_as_it_was,
    test_on_a_healthy_box_every_wall_is_closed_and_runtimes_start,
    watched,
)
from tests.orchestrator.test_lifecycle import *  # noqa: F403
from tests.runtimes.test_archive import *  # noqa: F403
from tests.runtimes.test_engine import *  # noqa: F403
from tests.runtimes.test_logs import *  # noqa: F403

# Both freeze a container that is none of ours.
del test_a_database_whose_writer_is_frozen_is_copied_whole  # noqa: F821
del test_a_freeze_that_a_busy_process_gets_in_the_way_of_is_tried_again_but_not_forever  # noqa: F821
