"""`python -m captionqa` is `captionqa`."""

from captionqa.cli.main import main

main()
