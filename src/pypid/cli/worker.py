"""The entry point of a further worker, started by the first one, not by users: ``python -m
pypid.cli.worker NUMBER``.
"""

from __future__ import annotations

import gc
import os
import signal
import sys


def main() -> None:
    """Follow the first worker's orders until it ends this process, or has itself ended."""
    # a terminal sends these to all processes; the first worker handles them
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    gc.disable()  # as `pypid serve` does
    from pypid.prefork.link import first_orders

    try:
        orders = first_orders()
    except OSError:
        sys.exit(
            "pypid: the first worker starts this; start pypid with `pypid serve --workers N`, or "
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
