"""Giving up root, once what only root may open is open."""

import errno
import os
import pwd

from fastnet.errors import InvalidArgument, NotPermitted

__all__ = ["become", "find_user"]


def find_user(name: str) -> pwd.struct_passwd:
    """The account of this name. Raises InvalidArgument where there is none."""
    try:
        return pwd.getpwnam(name)
    except (KeyError, ValueError):  # ValueError: a NUL, which no name holds
        raise InvalidArgument(f"no user {name!r}") from None


def become(user: pwd.struct_passwd) -> None:
    """Be this user from now on, for good and in every thread, with the groups that the user is in.

    Raises NotPermitted where this process is not root.
    """
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    try:
        os.setgroups(groups)
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    except PermissionError:
        raise NotPermitted(
            errno.EPERM, f"only root may become {user.pw_name}: start it as root, or as {user.pw_name}"
        ) from None
