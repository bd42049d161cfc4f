"""``python -m restaurant_system`` means the same as ``restaurant-system``."""

from restaurant_system.cli import main

if __name__ == "__main__":
    main()
