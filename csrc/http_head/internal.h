/*
 * Shared declarations of http_head. Each file calls only those before it: text.c, field.c (the lines of a head), host.c
 * (names of the listener and the upstream), pending.c (requests without a response), framing.c (lines, counted
 * bytes and chunks of one direction), request.c and response.c (fields of a head and their rewriting), refusal.c,
 * exchange.c (both directions, and the functions of the contract).
 *
 * A reader processes an input from front to back. Its `out` is the bytes to send, which the caller takes piece by
 * piece before the reader continues. Only incomplete heads and lines are copied, to `kept`.
 *
 * Functions that can fail return 0 or more, -ENOMEM, or -EBADMSG with the reader's `bad` set.
 */
#ifndef FN_HTTP_HEAD_INTERNAL_H
#define FN_HTTP_HEAD_INTERNAL_H

#include "http_head.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

/* Maximum bytes of a host name or an address. */
#define FN_HTTP_HOST_MAX 255
#define FN_HTTP_EDITS 4
#define FN_HTTP_FEW 4

/* text.c */

struct fn_http_buffer {
    char *data;
    size_t len, capacity;
};

int fn_http_append(struct fn_http_buffer *buffer, const char *data, size_t len);
void fn_http_release(struct fn_http_buffer *buffer);

static inline struct fn_http_text fn_http_text(const char *data, size_t len)
{
    return (struct fn_http_text){data, len};
}

/* The text without its first n bytes. */
static inline struct fn_http_text fn_http_skip(struct fn_http_text text, size_t n)
{
    return fn_http_text(text.data + n, text.len - n);
}

static inline char fn_http_lower(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte | 0x20) : byte;
}

/* Whether a text is this word, which is in lower case, in any case. Inline: most differ by their length. */
static inline bool fn_http_is(struct fn_http_text text, const char *word)
{
    if (text.len != strlen(word))
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (fn_http_lower(text.data[i]) != word[i])
            return false;
    return true;
}

static inline bool fn_http_same(struct fn_http_text a, struct fn_http_text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool fn_http_is_token(struct fn_http_text text);
/* Whether all bytes are those of host names. */
bool fn_http_is_name(struct fn_http_text text);
/* Whether the text has a control character other than a tab. */
bool fn_http_has_control(struct fn_http_text text);
bool fn_http_contains(struct fn_http_text text, char byte);
/* Without spaces and tabs at its ends. */
struct fn_http_text fn_http_trimmed(struct fn_http_text text);
/* The text up to the first `mark`, or all of it without one; *rest is the text after that mark. */
struct fn_http_text fn_http_until(struct fn_http_text text, char mark, struct fn_http_text *rest);
/* The number of a text of 1 to 18 decimal digits, else -1. */
int64_t fn_http_number(struct fn_http_text text);

/* host.c */

/* A host in canonical form: lower case without a final dot, or the shortest form of an address. */
struct fn_http_host {
    uint8_t len; /* 0: none, or too long */
    char text[FN_HTTP_HOST_MAX];
};

struct fn_http_authority {
    struct fn_http_host host; /* never empty */
    struct fn_http_text port; /* 1 to 65535 in its shortest form, or empty */
};

void fn_http_host(struct fn_http_host *out, struct fn_http_text host);
/* Parses "host[:port]" if all readers see the same host and port in it, else returns the error (a constant string). */
const char *fn_http_read_authority(struct fn_http_authority *out, struct fn_http_text text);
/* The authority of what follows "scheme://" or "//". */
struct fn_http_text fn_http_authority_text(struct fn_http_text rest);
/* Whether CONNECT's target and its Host name the same place; a Host may leave out a default port. */
bool fn_http_same_place(const struct fn_http_authority *target, const struct fn_http_authority *host);
/* Whether the authority of an http or https URI is the listener's, or the Host that the client sent. */
bool fn_http_is_client_side(const struct fn_http_rewrite *rewrite, const struct fn_http_authority *authority,
                            bool https, const struct fn_http_authority *original_host, struct fn_http_text destination);
/* Whether the Host with this authority is replaced. `destination` is in canonical form. */
bool fn_http_replaces(const struct fn_http_rewrite *rewrite, const struct fn_http_authority *authority,
                      struct fn_http_text destination);
bool fn_http_is_upstream(const struct fn_http_rewrite *rewrite, struct fn_http_text authority);
/* Whether a cookie of this Domain would go back to the upstream (RFC 6265, section 5.1.3). */
bool fn_http_is_upstream_domain(const struct fn_http_rewrite *rewrite, struct fn_http_text domain);
/* The Domain of Set-Cookie for a client that sent this authority; empty if it can have none. */
struct fn_http_text fn_http_cookie_domain(struct fn_http_text authority);
bool fn_http_rewrites_responses(const struct fn_http_rewrite *rewrite);
bool fn_http_rewrites_origin(const struct fn_http_rewrite *rewrite);
struct fn_http_text fn_http_upstream(const struct fn_http_rewrite *rewrite);
/* The same, always with its port, as CONNECT needs it. */
struct fn_http_text fn_http_upstream_and_port(const struct fn_http_rewrite *rewrite);

/* framing.c */

enum fn_http_state { FN_HTTP_HEAD, FN_HTTP_COUNTED, FN_HTTP_CHUNK_LINE, FN_HTTP_CHUNK_END, FN_HTTP_TRAILER, FN_HTTP_RAW };

struct fn_http_input {
    const char *data;
    size_t len, at;
};

/* These bytes of the head are replaced by the text. */
struct fn_http_edit {
    size_t at, len;
    struct fn_http_text text;
};

/* A field of a head: its number of occurrences, and the place of its last value. */
struct fn_http_field {
    uint32_t count, at, len;
};

/* The fields of a head that decide about its message, collected line by line. Positions are in the head. */
struct fn_http_framing {
    uint8_t asks;
    bool http_1_0, bad_length, differing, last_chunked;
    bool in_framing; /* the last line decides how the message is framed */
    uint32_t lengths, codings;
    int status;
    int64_t length;
    struct fn_http_field host, origin, referer;
    uint32_t authority_at, authority_len; /* of an absolute or CONNECT's target; authority_len 0: of none */
};

struct fn_http_reader;

/* Called for each line of a head, without its line end, at position `size` of the head; and for the whole head. */
struct fn_http_events {
    int (*line)(struct fn_http_reader *reader, struct fn_http_text line);
    int (*head)(struct fn_http_reader *reader, struct fn_http_text head);
};

struct fn_http_reader {
    const struct fn_http_events *events;
    enum fn_http_state state;
    enum fn_http_state next; /* after a message: FN_HTTP_HEAD or FN_HTTP_RAW */
    bool strict;  /* a request, parsed strictly */
    bool chunked; /* the counted bytes are a chunk's */
    bool spent;   /* out points into kept or made, which are freed once it is taken */
    uint8_t edits_done, edits_count;
    int64_t left;   /* counted bytes that are still to come */
    size_t size;    /* bytes of the complete lines of this head, or of these trailers */
    size_t partial; /* bytes of the incomplete line at the end of kept */
    struct fn_http_buffer kept, made;
    struct fn_http_text out;
    size_t out_at;
    struct fn_http_edit edits[FN_HTTP_EDITS];
    struct fn_http_framing framing;
    const char *bad;
};

/* Runs the reader's state once; the bytes to send are in `out`. */
int fn_http_framing_read(struct fn_http_reader *reader, struct fn_http_input *in);
/* Call it after a complete head: its body follows, if there is one. */
void fn_http_framing_body(struct fn_http_reader *reader, int64_t length, bool chunked);
/* Call it after n of the counted bytes were relayed. */
void fn_http_framing_count(struct fn_http_reader *reader, int64_t n);

/* Records that the message can't be passed on, and the reason. */
static inline int fn_http_bad(struct fn_http_reader *reader, const char *reason)
{
    reader->bad = reason;
    return -EBADMSG;
}

/* field.c */

/* Checks and splits a field line of a request's head or trailers. */
int fn_http_field(struct fn_http_reader *reader, struct fn_http_text line, struct fn_http_text *name,
                  struct fn_http_text *value);
/* Record a value of Content-Length or Transfer-Encoding in the framing. */
void fn_http_lengths(struct fn_http_framing *framing, struct fn_http_text value);
void fn_http_codings(struct fn_http_framing *framing, struct fn_http_text value);

/* request.c, response.c: see struct fn_http_events. */

int fn_http_request_line(struct fn_http_reader *reader, struct fn_http_text line);
int fn_http_request_head(struct fn_http_reader *reader, struct fn_http_text head);
int fn_http_response_line(struct fn_http_reader *reader, struct fn_http_text line);
int fn_http_response_head(struct fn_http_reader *reader, struct fn_http_text head);

/* pending.c */

/* Properties of a request on which the framing of its response depends. */
enum { FN_HTTP_ASKS_HEAD = 1, FN_HTTP_ASKS_CONNECT = 2, FN_HTTP_ASKS_UPGRADE = 4 };
#define FN_HTTP_ASKS_SWITCH (FN_HTTP_ASKS_CONNECT | FN_HTTP_ASKS_UPGRADE)

/* The authority that a client sent, shared by its requests without a response. */
struct fn_http_original_host {
    size_t users;
    size_t len;
    char text[];
};

struct fn_http_pending {
    struct fn_http_original_host *original_host; /* NULL: its response is not rewritten */
    uint8_t asks;
};

/* The requests without a response, oldest first: a ring of a power of two, in `few` while that is enough. */
struct fn_http_queue {
    struct fn_http_pending few[FN_HTTP_FEW];
    struct fn_http_pending *more;
    uint16_t first, count, capacity;
};

/* Adds a request. `original_host` is the authority that was replaced by the upstream's, or empty if the response
 * is not to be rewritten. */
int fn_http_pending_add(struct fn_http_queue *queue, uint8_t asks, struct fn_http_text original_host);
/* The oldest request, NULL if there is none. */
const struct fn_http_pending *fn_http_pending_oldest(const struct fn_http_queue *queue);
/* Removes the oldest request after its response. */
void fn_http_pending_drop_oldest(struct fn_http_queue *queue);
void fn_http_pending_drop_newest(struct fn_http_queue *queue);
void fn_http_pending_free(struct fn_http_queue *queue);

/* exchange.c */

enum fn_http_switched { FN_HTTP_NO, FN_HTTP_UNDECIDED, FN_HTTP_YES };

struct fn_http {
    const struct fn_http_rewrite *rewrite;
    enum fn_http_switched switched;
    struct fn_http_reader requests, responses;
    struct fn_http_queue queue;
    struct fn_http_buffer backlog; /* bytes that arrived while held; backlog_at of them are processed */
    size_t backlog_at;
    bool has_answered;
    uint8_t destination_len;
    char destination[INET6_ADDRSTRLEN];
};

static inline struct fn_http *fn_http_of_requests(struct fn_http_reader *reader)
{
    return (struct fn_http *)((char *)reader - offsetof(struct fn_http, requests));
}

static inline struct fn_http *fn_http_of_responses(struct fn_http_reader *reader)
{
    return (struct fn_http *)((char *)reader - offsetof(struct fn_http, responses));
}

#endif
