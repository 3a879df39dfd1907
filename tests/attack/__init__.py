"""Bad input as tables: a new attack is a line. Across modules, so that they mirror none of them."""
