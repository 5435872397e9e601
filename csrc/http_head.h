/*
 * Parses HTTP/1 message heads in a byte stream and rewrites their Host (RFC 9112).
 *
 * A struct fn_http follows both directions of one connection. The caller passes the client's bytes to
 * fn_http_request() and the upstream's bytes to fn_http_response(), in pieces of any size; each returns the
 * bytes to send instead. Bodies are only counted, or followed chunk by chunk. Requests are parsed strictly:
 * a request that two readers could frame differently is refused, against request smuggling. Responses are
 * parsed leniently (a bare LF ends a line, a bare CR is refused), except for their status and framing.
 *
 * Both functions work in steps. The caller repeats
 *
 *     do {
 *         code = fn_http_request(http, data, len, &step);
 *         if (code < 0) ...
 *         send_on(step.send, step.send_len);
 *         data += step.used;
 *         len -= step.used;
 *     } while (code > 0);
 *
 * `data` must stay valid until 0 is returned. step.send points into it, into the rewrite or into the fn_http's
 * own memory, and is valid until the next call for this fn_http. A usual request with a replaced Host takes
 * three steps; unchanged bytes take one. Memory is allocated only for an incomplete head or line, for bytes that
 * arrive while fn_http_held(), and a few bytes for each request without a response; a usual request, which
 * arrives in one piece, allocates none.
 *
 * A struct fn_http belongs to one thread at a time. A struct fn_http_rewrite does not change once it is in use.
 * Any number of fn_http in any threads may share it; it must outlive them.
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
/* Returned by fn_http_..._passes() if all following bytes may be relayed. */
#define FN_HTTP_ALL INT64_MAX
/* Enough room for fn_http_refuse() with any reason of fn_http_refusal(), or one that is not longer. */
#define FN_HTTP_REFUSAL_MAX 512

/* Which Hosts are replaced, and their replacement: see HostRewrite of fastnet/_pure/http_head. */
struct fn_http_rewrite;

/* A text with its length, without a final NUL. */
struct fn_http_text {
    const char *data;
    size_t len;
};

/*
 * `names` are the listener's host names and addresses, without brackets; `port` is its port in decimal;
 * `upstream` is the authority that replaces them. With `always` it replaces any Host. With `responses`, the
 * upstream's names in responses are replaced by the Host that the client sent. All arguments are copied.
 * Returns NULL without memory.
 */
struct fn_http_rewrite *fn_http_rewrite_new(const struct fn_http_text *names, size_t count, struct fn_http_text port,
                                            struct fn_http_text upstream, bool always, bool responses);

/* Rewrite Origin and Referer too, if they name the listener or the Host. Call it before the rewrite is used. */
void fn_http_rewrite_add_origin(struct fn_http_rewrite *rewrite);

void fn_http_rewrite_free(struct fn_http_rewrite *rewrite);

struct fn_http;

/*
 * `destination` is the local address of the client's connection, as inet_ntop(3) writes it, with a final NUL: one
 * more name of the listener; "" if there is none (a Unix socket). Returns NULL without memory.
 */
struct fn_http *fn_http_new(const struct fn_http_rewrite *rewrite, const char *destination);

void fn_http_free(struct fn_http *http);

struct fn_http_step {
    size_t used;      /* processed bytes of data: the next call begins after them */
    const char *send; /* bytes to send; not NULL if send_len is not 0 */
    size_t send_len;
};

/*
 * Process the client's next bytes. Returns 1: call again with the rest, which may be empty; 0: all are processed;
 * or -ENOMEM. Bytes that arrive while fn_http_held() are kept; a later call processes them: call with len 0 after
 * each response. A refused request is no error here: fn_http_refusal() returns the reason, and no further
 * byte is to be sent.
 */
int fn_http_request(struct fn_http *http, const char *data, size_t len, struct fn_http_step *step);

/*
 * Process the upstream's next bytes, as fn_http_request() does. Returns -EBADMSG for an invalid response, after
 * the complete messages before it; no byte of an invalid head is to be sent.
 */
int fn_http_response(struct fn_http *http, const char *data, size_t len, struct fn_http_step *step);

/*
 * The number of the client's or the upstream's next bytes that may be relayed without these functions: the rest of a
 * body or a chunk, or FN_HTTP_ALL if no HTTP follows (after CONNECT or Upgrade, or in a body that ends with the
 * connection). 0: they must go through fn_http_request() or fn_http_response(). The caller reports relayed bytes
 * by ..._passed(), n at most that number; this may change the results of ..._passes() and fn_http_idle().
 */
int64_t fn_http_request_passes(const struct fn_http *http);
int64_t fn_http_response_passes(const struct fn_http *http);
void fn_http_request_passed(struct fn_http *http, int64_t n);
void fn_http_response_passed(struct fn_http *http, int64_t n);

/* Whether the caller should read no more from the client until the next response. */
bool fn_http_held(const struct fn_http *http);

/* Whether a request's head is incomplete: its timeout applies. */
bool fn_http_head_pending(const struct fn_http *http);

/* Whether all requests are answered and no further one has begun. */
bool fn_http_awaits_request(const struct fn_http *http);

/* The reason for which the client's last request was refused (a constant string); NULL: it was not. */
const char *fn_http_refusal(const struct fn_http *http);

/* The error in the response, after -EBADMSG of fn_http_response() (a constant string); else NULL. */
const char *fn_http_unfollowed(const struct fn_http *http);

/* Whether no response is due or in progress: the caller may send one of its own. */
bool fn_http_idle(const struct fn_http *http);

/* Whether a response is due and no byte of it was sent: the caller's own may replace it. */
bool fn_http_unanswered(const struct fn_http *http);

/* Whether the upstream's bytes so far end within the head of such a response. */
bool fn_http_in_answer(const struct fn_http *http);

/* Whether a final response (not only interim ones) was sent. */
bool fn_http_has_answered(const struct fn_http *http);

/*
 * Write a whole response that refuses a request (status 400, 408 or 502) with "Connection: close". Returns its
 * length; 0 if the room is too small, or for another status.
 */
size_t fn_http_refuse(int status, const char *reason, char *out, size_t room);

#endif
