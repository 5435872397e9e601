/*
 * The way out of privilege, for a program that has opened what it needed it for (capabilities(7)).
 */
#ifndef FN_PRIVILEGES_H
#define FN_PRIVILEGES_H

/*
 * Gives up, for good, the user and the group that a set-user-ID program borrowed, and every capability of the calling
 * thread. A program that it executes has none either, not even as root: no_new_privs and an empty ambient set, and,
 * where the caller has CAP_SETPCAP, an empty bounding set and securebits that make root an ordinary user.
 * Other threads would keep theirs (capset(2)): -EBUSY, with nothing given up, where one has capabilities. Without
 * /proc they are not seen. 0, or -errno; what was given up until then stays given up.
 */
int fn_drop_capabilities(void);

#endif
