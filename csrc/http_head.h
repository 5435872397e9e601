/*
 * HTTP/1 message heads found in a byte stream, and the Host in them rewritten (RFC 9112).
 *
 * A struct fn_http follows one connection, both directions. What the client sent goes to fn_http_request(),
 * what the upstream sent to fn_http_response(), split anywhere; each returns what to send on in its
 * place. Bodies are only counted or followed chunk by chunk. Requests are parsed strictly: what two readers
 * could frame differently is refused, against request smuggling. Responses are parsed
 * leniently (a bare LF ends a line, a bare CR is refused), except for their status and their framing.
 *
 * Both work in steps. The caller repeats
 *
 *     do {
 *         code = fn_http_request(http, data, len, &step);
 *         if (code < 0) ...
 *         send_on(step.send, step.send_len);
 *         data += step.used;
 *         len -= step.used;
 *     } while (code > 0);
 *
 * `data` must stay where it is until 0 is returned. step.send lies in it, in the rewrite or in memory of the
 * fn_http's own, and is valid until the next call for this fn_http. A usual request, its Host replaced, is three
 * steps; whatever passes untouched is one. Memory is held only for a head or line that has not come whole, for what came while
 * fn_http_held(), and for the few bytes of each request that waits for its response; the usual request,
 * which comes in one piece, allocates nothing.
 *
 * A struct fn_http belongs to one thread at a time. A struct fn_http_rewrite is never changed once in use, and
 * serves any number of them in any number of threads; it must outlive them.
 */
#ifndef FN_HTTP_HEAD_H
#define FN_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Maximum bytes of a head, or of a body's trailers. */
#define FN_HTTP_HEAD_LIMIT 65536
/* Maximum bytes of a chunk-size line, including extensions. */
#define FN_HTTP_CHUNK_LINE_LIMIT 4096
/* Maximum requests without a response; no more are read then. */
#define FN_HTTP_PIPELINE_LIMIT 256
/* Returned by fn_http_..._passes() if everything that follows may pass. */
#define FN_HTTP_ALL INT64_MAX
/* Room for any fn_http_refuse() whose reason is one of fn_http_refusal()'s, or as short as these. */
#define FN_HTTP_REFUSAL_MAX 512

/* Which Host is replaced, and by what: see HostRewrite of fastnet/_pure/http_head. */
struct fn_http_rewrite;

/* Texts with their lengths; none needs a NUL. */
struct fn_http_text {
    const char *data;
    size_t len;
};

/*
 * `names` are the listener's (host names and addresses, without brackets), `port` is its port in decimal,
 * `upstream` the authority that replaces them. `always`: whatever the Host is. `responses`: the upstream's names in
 * responses become what the client asked for. Everything is copied. NULL: no memory.
 */
struct fn_http_rewrite *fn_http_rewrite_new(const struct fn_http_text *names, size_t count, struct fn_http_text port,
                                            struct fn_http_text upstream, bool always, bool responses);

/* Origin and Referer, too, where they name the listener or the Host. Before the first use of the rewrite only. */
void fn_http_rewrite_add_origin(struct fn_http_rewrite *rewrite);

void fn_http_rewrite_free(struct fn_http_rewrite *rewrite);

struct fn_http;

/*
 * `destination` is the local address at which the client reached us, as inet_ntop(3) writes it and ended by
 * a NUL: one more name of the listener; "" where there is none (a Unix socket). NULL: no memory.
 */
struct fn_http *fn_http_new(const struct fn_http_rewrite *rewrite, const char *destination);

void fn_http_free(struct fn_http *http);

struct fn_http_step {
    size_t used;      /* processed bytes of data: the next call begins after them */
    const char *send; /* what to send on; not NULL if send_len is not 0 */
    size_t send_len;
};

/*
 * The client's next bytes. 1: call again with the rest of them, which may be empty; 0: all is processed;
 * -ENOMEM. What comes while fn_http_held() is kept, and goes on with a later call, as one without data
 * (len 0) after each response. A request that must not be passed on is no failure here:
 * fn_http_refusal() has the reason, and nothing more is ever sent on.
 */
int fn_http_request(struct fn_http *http, const char *data, size_t len, struct fn_http_step *step);

/*
 * The upstream's next bytes. Like fn_http_request(); -EBADMSG where they can't be followed, once all that came
 * whole before is sent on. Of a head that is wrong nothing is.
 */
int fn_http_response(struct fn_http *http, const char *data, size_t len, struct fn_http_step *step);

/*
 * How many of the client's, the upstream's, next bytes may be relayed without being shown here: a body's, a
 * chunk's, or FN_HTTP_ALL of what is no HTTP any more (after CONNECT or Upgrade, or a body until the end).
 * 0: they must go through fn_http_request(), fn_http_response(). Whatever was relayed so is reported by
 * ..._passed(), n at most that number; it may change what these return and fn_http_idle().
 */
int64_t fn_http_request_passes(const struct fn_http *http);
int64_t fn_http_response_passes(const struct fn_http *http);
void fn_http_request_passed(struct fn_http *http, int64_t n);
void fn_http_response_passed(struct fn_http *http, int64_t n);

/* Whether to read no more from the client before the next response. */
bool fn_http_held(const struct fn_http *http);

/* Whether a request's head has begun and not ended: the time for it is running. */
bool fn_http_head_pending(const struct fn_http *http);

/* Whether all requests are answered, and the next one has not begun. */
bool fn_http_awaits_request(const struct fn_http *http);

/* The error of the client's last request, which was not passed on (a constant string); NULL: none. */
const char *fn_http_refusal(const struct fn_http *http);

/* The error of the upstream's bytes, once fn_http_response() returned -EBADMSG (a constant string); NULL: none. */
const char *fn_http_unfollowed(const struct fn_http *http);

/* Whether no response is due or in progress: one of our own may be sent. */
bool fn_http_idle(const struct fn_http *http);

/* Whether a response is due and none of it was sent on: one of our own may replace it. */
bool fn_http_unanswered(const struct fn_http *http);

/* Whether what the upstream sent so far ends within the head of such a response. */
bool fn_http_in_answer(const struct fn_http *http);

/* Whether a response, not only interim ones, was sent on. */
bool fn_http_has_answered(const struct fn_http *http);

/*
 * The whole response that refuses a request (status 400, 408, 502) and announces that the connection closes.
 * Returns its length; 0 if the room is too small or the status is another one.
 */
size_t fn_http_refuse(int status, const char *reason, char *out, size_t room);

#endif
