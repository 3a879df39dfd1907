"""`python -m gradatlas`: the command, where no script of that name is installed."""

from gradatlas.sweeps.cli import main

if __name__ == "__main__":
    main()
