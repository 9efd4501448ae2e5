"""`python flows/child.py ARGUMENTS`: DVC's command line in a process that ends with the flow that started it."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])  # the project of the flow, whatever the working directory

    from dvc.cli import main

    from tasks.core.io.lifeline import hold

    hold(led=True)
    sys.exit(main(sys.argv[1:]))
