"""`python -m cli` is `pathlight`."""

from cli.main import main

main()
