/*
 * Dropping privileges, for a program that has opened all that needed them (capabilities(7)).
 */
#ifndef FN_PRIVILEGES_H
#define FN_PRIVILEGES_H

/*
 * Drops, irrevocably, the user and the group of a set-user-ID program, and every capability of the calling
 * thread. A program that it executes has none either, not even as root: no_new_privs and an empty ambient set, and,
 * where the caller has CAP_SETPCAP, an empty bounding set and securebits that make root an ordinary user.
 * Other threads would keep theirs (capset(2)): -EBUSY, with nothing dropped, if one has capabilities. Without
 * /proc they are not seen. 0, or -errno; what was dropped until then stays dropped.
 */
int fn_drop_capabilities(void);

#endif
