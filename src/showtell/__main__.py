"""``python -m showtell``: the command line, for launchers that start modules."""

from showtell.cli.entry import main

if __name__ == "__main__":
    main()
