"""The runtime manager's and the orchestrator's own tests once more, with the guard between them and the Engine."""

from tests.orchestrator.test_lifecycle import *  # noqa: F403
from tests.runtimes.test_archive import *  # noqa: F403
from tests.runtimes.test_engine import *  # noqa: F403

del test_a_database_whose_writer_is_frozen_is_copied_whole  # noqa: F821  # freezes a container that is none of ours
