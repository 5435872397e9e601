/*
 * What other threads ask of a relay: messages that its thread finds in its next turn, and how busy it is. An
 * inbox is counted by those who hold it, since a sibling relay may still want to post when this one is gone.
 *
 * Any thread may call, but for what is marked as the relay's thread's.
 */
#ifndef FN_RELAY_INBOX_H
#define FN_RELAY_INBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fn_relay;

/* What somebody else has for the relay: delivered in its thread, unless the inbox is closed first, and then freed. */
struct fn_message {
    struct fn_message *next;
    void (*deliver)(struct fn_message *message, struct fn_relay *relay);
    void (*free)(struct fn_message *message);
};

/* What is called in the relay's thread while another one waits for it. */
struct fn_request {
    struct fn_request *next;
    bool done;
    void (*answer)(struct fn_request *request);
};

struct fn_inbox {
    pthread_mutex_t mutex; /* guards all but the atomic numbers */
    pthread_cond_t changed;
    unsigned references;
    struct fn_message *first, **end;
    struct fn_request *requests;
    bool closed;
    bool running; /* somebody is in the part of the relay's thread: `runner` */
    pthread_t runner;
    int event;        /* an eventfd(2) */
    unsigned load;    /* atomic: connections of the relay */
    int64_t deadline; /* atomic: when the run is to end */
    bool draining;    /* atomic */
    bool resumes;     /* atomic: some rule has room for a connection again, or needs some */
};

/* NULL: no memory or no descriptor, by errno. */
struct fn_inbox *fn_inbox_new(void);
void fn_inbox_hold(struct fn_inbox *inbox);
void fn_inbox_release(struct fn_inbox *inbox);

/* 0; -EBADF where it is closed: then the message is still the caller's. */
int fn_inbox_post(struct fn_inbox *inbox, struct fn_message *message);

void fn_inbox_wake(struct fn_inbox *inbox);

/* A connection of a rule has ended elsewhere, so that one more may be accepted; or a lane yields. It needs no memory. */
void fn_inbox_resume(struct fn_inbox *inbox);

/* Has the relay's thread answer, and returns then. Where none runs the relay, this one takes its part. */
void fn_inbox_ask(struct fn_inbox *inbox, struct fn_request *request);

/* This thread is the relay's from now on, as soon as no other is; or no longer. */
void fn_inbox_run(struct fn_inbox *inbox);
void fn_inbox_rest(struct fn_inbox *inbox);

/* The relay's thread's: answers what was asked, and takes the messages since the last time, each to be delivered and
 * freed. */
struct fn_message *fn_inbox_read(struct fn_inbox *inbox);

/* No more messages; its descriptor is closed. */
void fn_inbox_close(struct fn_inbox *inbox);

/* In a forked child, where other threads' locks are held for ever. */
void fn_inbox_abandon(struct fn_inbox *inbox);

#endif
