/*
 * Requests of other threads to a relay: messages that its thread takes in its next turn, and the relay's load. An
 * inbox is reference-counted, since a sibling relay may still post to it when its own relay is freed.
 *
 * Any thread may call these functions, unless a comment names the relay's thread.
 */
#ifndef FN_RELAY_INBOX_H
#define FN_RELAY_INBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fn_relay;

/* A message: delivered in the relay's thread, unless the inbox is closed first, and then freed. */
struct fn_message {
    struct fn_message *next;
    void (*deliver)(struct fn_message *message, struct fn_relay *relay);
    void (*free)(struct fn_message *message);
};

/* A callback in the relay's thread, for which another thread waits. */
struct fn_request {
    struct fn_request *next;
    bool done;
    void (*answer)(struct fn_request *request);
};

struct fn_inbox {
    pthread_mutex_t mutex; /* guards all except the atomic numbers */
    pthread_cond_t changed;
    unsigned references;
    struct fn_message *first, **end;
    struct fn_request *requests;
    bool closed;
    bool running; /* a thread acts as the relay's thread: `runner` */
    pthread_t runner;
    int event;        /* an eventfd(2) */
    unsigned load;    /* atomic: number of the relay's connections */
    int64_t deadline; /* atomic: end of the run */
    bool draining;    /* atomic */
    bool resumes;     /* atomic: a rule has room for a connection again, or needs room */
};

/* NULL: no memory or no descriptor; sets errno. */
struct fn_inbox *fn_inbox_new(void);
void fn_inbox_hold(struct fn_inbox *inbox);
void fn_inbox_release(struct fn_inbox *inbox);

/* 0, or -EBADF if it is closed: then the caller still owns the message. */
int fn_inbox_post(struct fn_inbox *inbox, struct fn_message *message);

void fn_inbox_wake(struct fn_inbox *inbox);

/* Wakes the relay: a connection of a rule ended in another relay, so that one more may be accepted, or another lane
 * needs room. Allocates no memory. */
void fn_inbox_resume(struct fn_inbox *inbox);

/* Runs the callback in the relay's thread and waits for it. If no thread runs the relay, runs it in this one. */
void fn_inbox_ask(struct fn_inbox *inbox, struct fn_request *request);

/* _run waits until no other thread is the relay's, and makes this thread the relay's; _rest ends that. */
void fn_inbox_run(struct fn_inbox *inbox);
void fn_inbox_rest(struct fn_inbox *inbox);

/* In the relay's thread: runs the callbacks, and returns the messages since the last call, each to be delivered and
 * freed. */
struct fn_message *fn_inbox_read(struct fn_inbox *inbox);

/* Accepts no more messages and closes its descriptor. */
void fn_inbox_close(struct fn_inbox *inbox);

/* In a forked child, where locks of other threads are never released. */
void fn_inbox_abandon(struct fn_inbox *inbox);

#endif
