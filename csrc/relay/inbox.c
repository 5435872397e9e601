#define _GNU_SOURCE
#include "relay/inbox.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "relay/loop.h"
#include "relay/reference.h"

struct fn_inbox *fn_inbox_new(void)
{
    struct fn_inbox *const inbox = calloc(1, sizeof *inbox);

    if (!inbox)
        return NULL;
    inbox->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (inbox->event < 0) {
        free(inbox);
        return NULL;
    }
    pthread_mutex_init(&inbox->mutex, NULL);
    pthread_cond_init(&inbox->changed, NULL);
    inbox->references = 1;
    inbox->end = &inbox->first;
    inbox->deadline = FN_NEVER;
    return inbox;
}

void fn_inbox_hold(struct fn_inbox *inbox)
{
    fn_reference_hold(&inbox->references);
}

void fn_inbox_release(struct fn_inbox *inbox)
{
    if (!inbox || !fn_reference_release(&inbox->references))
        return;
    fn_inbox_close(inbox);
    pthread_cond_destroy(&inbox->changed);
    pthread_mutex_destroy(&inbox->mutex);
    free(inbox);
}

/* Call with the mutex held. The counter can't overflow: it counts only wake-ups not read yet. */
static void wake(struct fn_inbox *inbox)
{
    if (!inbox->closed)
        eventfd_write(inbox->event, 1);
}

void fn_inbox_wake(struct fn_inbox *inbox)
{
    pthread_mutex_lock(&inbox->mutex);
    wake(inbox);
    pthread_mutex_unlock(&inbox->mutex);
}

void fn_inbox_resume(struct fn_inbox *inbox)
{
    __atomic_store_n(&inbox->resumes, true, __ATOMIC_RELEASE);
    fn_inbox_wake(inbox);
}

int fn_inbox_post(struct fn_inbox *inbox, struct fn_message *message)
{
    message->next = NULL;
    pthread_mutex_lock(&inbox->mutex);
    const bool closed = inbox->closed;
    if (!closed) {
        *inbox->end = message;
        inbox->end = &message->next;
        wake(inbox);
    }
    pthread_mutex_unlock(&inbox->mutex);
    return closed ? -EBADF : 0;
}

/* Call in the relay's thread with the mutex held. It is released for the callback, which may need other locks. */
static void answer(struct fn_inbox *inbox)
{
    while (inbox->requests) {
        struct fn_request *const request = inbox->requests;
        inbox->requests = request->next;
        pthread_mutex_unlock(&inbox->mutex);
        request->answer(request);
        pthread_mutex_lock(&inbox->mutex);
        request->done = true;
        pthread_cond_broadcast(&inbox->changed);
    }
}

void fn_inbox_ask(struct fn_inbox *inbox, struct fn_request *request)
{
    pthread_mutex_lock(&inbox->mutex);
    const bool idle = !inbox->running;
    request->next = inbox->requests;
    inbox->requests = request;
    if (idle) {
        inbox->running = true;
        inbox->runner = pthread_self();
    }
    if (pthread_equal(inbox->runner, pthread_self()))
        answer(inbox);
    else
        wake(inbox);
    if (idle) {
        inbox->running = false;
        pthread_cond_broadcast(&inbox->changed);
    }
    /* The relay's thread answers all requests before it leaves. */
    while (!request->done)
        pthread_cond_wait(&inbox->changed, &inbox->mutex);
    pthread_mutex_unlock(&inbox->mutex);
}

void fn_inbox_run(struct fn_inbox *inbox)
{
    pthread_mutex_lock(&inbox->mutex);
    while (inbox->running)
        pthread_cond_wait(&inbox->changed, &inbox->mutex);
    inbox->running = true;
    inbox->runner = pthread_self();
    pthread_mutex_unlock(&inbox->mutex);
}

void fn_inbox_rest(struct fn_inbox *inbox)
{
    pthread_mutex_lock(&inbox->mutex);
    answer(inbox);
    inbox->running = false;
    pthread_cond_broadcast(&inbox->changed);
    pthread_mutex_unlock(&inbox->mutex);
}

static struct fn_message *take_messages(struct fn_inbox *inbox)
{
    struct fn_message *const first = inbox->first;

    inbox->first = NULL;
    inbox->end = &inbox->first;
    return first;
}

struct fn_message *fn_inbox_read(struct fn_inbox *inbox)
{
    pthread_mutex_lock(&inbox->mutex);
    answer(inbox);
    struct fn_message *const first = take_messages(inbox);
    pthread_mutex_unlock(&inbox->mutex);
    return first;
}

void fn_inbox_close(struct fn_inbox *inbox)
{
    pthread_mutex_lock(&inbox->mutex);
    if (!inbox->closed)
        close(inbox->event);
    inbox->closed = true;
    struct fn_message *const first = take_messages(inbox);
    pthread_mutex_unlock(&inbox->mutex);
    for (struct fn_message *message = first, *next; message; message = next) {
        next = message->next;
        message->free(message);
    }
}

void fn_inbox_abandon(struct fn_inbox *inbox)
{
    pthread_mutex_init(&inbox->mutex, NULL);
    pthread_cond_init(&inbox->changed, NULL);
    inbox->running = false;
    inbox->requests = NULL;
    fn_inbox_close(inbox);
}
