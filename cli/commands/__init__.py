"""One file per command, which defines a function of its name; ``app`` collects them."""
