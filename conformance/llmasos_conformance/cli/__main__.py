"""`python -m llmasos_conformance.cli`."""

from llmasos_conformance.cli import main

if __name__ == "__main__":
    main()
