"""Run the command line as `python -m mechcausal.cli`."""

from mechcausal.cli.app import main

if __name__ == "__main__":
    main()
