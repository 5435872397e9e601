/*
 * The way out of privilege, for a program that has opened what it needed it for (capabilities(7)).
 */
#ifndef FN_PRIVILEGES_H
#define FN_PRIVILEGES_H

/*
 * Gives up, for good, the user and the group that a set-user-ID program borrowed, and every capability of the calling
 * thread: other threads keep theirs. 0, or -errno; what was given up until then stays given up.
 */
int fn_drop_capabilities(void);

#endif
