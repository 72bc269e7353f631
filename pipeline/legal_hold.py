"""Hold a post: nothing of it is removed for its age, until somebody lets go of it."""

from datetime import datetime

from pipeline.errors import NoSuchBlog
from pipeline.journal import Journal
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import BlogRow


async def hold_blog(blog_id: str, *, held: bool, tenant: str, journal: Journal) -> datetime | None:
    """Hold the post or let go of it; return since when it is held. Repeating it changes nothing.

    Raises `NoSuchBlog` for a post that nobody ever named. One that is deleted can be held: its
    pictures lie there until they are too old.
    """
    now = journal.now()
    key = RowKey(BlogRow, (tenant, blog_id))

    def decide(look: Look, writes: Writes) -> datetime | None:
        blog = look.get(BlogRow, *key.key)
        if blog is None:
            raise NoSuchBlog(blog_id)
        if held == (blog.held_since is not None):
            return blog.held_since
        since = now if held else None
        writes.update(blog.changed(held_since=since), *key.key)
        return since

    return await journal.record(Step("hold_blog", decide, shared=(key,)))
