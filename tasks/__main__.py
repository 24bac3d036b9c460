"""`python -m tasks STEP`: one step, without Prefect."""

from ._main import main

if __name__ == "__main__":
    main()
