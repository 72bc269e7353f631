"""How the world is reached: ports and their adapters. Vendor exceptions stop here."""
