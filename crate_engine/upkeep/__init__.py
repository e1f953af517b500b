"""Keeping a store whole and small: what is wrong with it, its repair, how much room it takes, and removing what is not used."""
