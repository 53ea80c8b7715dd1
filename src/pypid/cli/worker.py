"""What a further worker runs: not for people, the first worker starts it. ``python -m
pypid.cli.worker NUMBER``.
"""

from __future__ import annotations

import gc
import os
import signal
import sys


def main() -> None:
    """Do what the first worker says, until it says that it is enough, or is gone."""
    for heard_by_the_first in (
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGUSR1,
    ):  # which are sent to all in a terminal
        signal.signal(heard_by_the_first, signal.SIG_IGN)
    gc.disable()  # as `pypid serve`
    from pypid.prefork.link import first_orders

    try:
        orders = first_orders()
    except OSError:
        sys.exit(
            "pypid: the first worker starts this; start pypid with `pypid serve --workers N`, "
            "or "
            "twistd."
        )
    if orders is None:
        return
    if orders["path"] is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = orders["path"]
    from pypid.wiring.worker import work

    work(orders)


if __name__ == "__main__":
    main()
