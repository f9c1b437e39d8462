"""``python -m geoembed``: the same as the command ``geoembed``."""

from geoembed.cli import main

if __name__ == "__main__":
    main()
