"""Who paints: one folder or file a provider, each behind the port `ImageProvider`."""
