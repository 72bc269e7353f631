"""Who paints: one folder or file a provider, each behind the port `ImageProvider`.

`registry` lists those that charge; `docs/how-to/add-a-provider.md` says how one is added.
"""
