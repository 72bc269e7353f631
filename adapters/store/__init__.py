"""All SQL of the product. Writes: `statements`, `sqlite`, `postgres`. Reads: `reads`."""
