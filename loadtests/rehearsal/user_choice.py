"""Which users `--tags` and `--exclude-tags` leave: Locust only takes the tasks from the others."""

from collections.abc import Iterable
from typing import Any, TypeVar

UserClass = TypeVar("UserClass", bound=type[Any])


def chosen_by_tags(
    user_classes: Iterable[UserClass],
    tags: Iterable[str] | None,
    exclude_tags: Iterable[str] | None,
) -> list[UserClass]:
    """The user classes that have any task left; None: without such an argument."""

    def is_left(task: object) -> bool:
        own: set[str] = getattr(task, "locust_tag_set", set())
        wanted = tags is None or not own.isdisjoint(tags)
        return wanted and own.isdisjoint(exclude_tags or ())

    return [one for one in user_classes if any(map(is_left, one.tasks))]
