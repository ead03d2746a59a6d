"""Processes without a start: forks of the tests' own, with what it has imported."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any


def fork(function: Callable[..., Any], *arguments: Any) -> int:
    """Call a function in a fork and return its process id.

    It ends with 0 or the code of a SystemExit, or with 1 and a traceback.
    """
    with warnings.catch_warnings():
        # Since Python 3.12, of threads that wait in libraries.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)  # threads of OpenMP do not outlive a fork
        try:
            function(*arguments)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return pid


def exit_code(pid: int) -> int:
    """Wait for the end of a fork and return its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
