/* What the fuzzers of http_head share: a rewrite, and data shown in pieces whose ends the sanitizers watch. */
#ifndef FN_HTTP_FUZZ_H
#define FN_HTTP_FUZZ_H

#include "http_head.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const char *data;
    size_t len;
};

struct sent {
    char *data;
    size_t len;
};

typedef int step_function(struct fn_http *, const char *, size_t, struct fn_http_step *);

static inline void require(int condition)
{
    if (!condition)
        abort();
}

static inline struct fn_http_rewrite *rewriting(bool always, bool responses, bool origin)
{
    static const struct fn_http_text names[] = {{"localhost", 9}, {"127.0.0.1", 9}, {"::1", 3}, {"a.b", 3}};
    struct fn_http_rewrite *rewrite = fn_http_rewrite_new(names, 4, (struct fn_http_text){"80", 2},
                                                         (struct fn_http_text){"x.y:81", 6}, always, responses);

    require(rewrite != NULL);
    if (origin)
        fn_http_rewrite_add_origin(rewrite);
    return rewrite;
}

static inline void add(struct sent *sent, const char *data, size_t len)
{
    if (len == 0)
        return;
    sent->data = realloc(sent->data, sent->len + len);
    require(sent->data != NULL);
    memcpy(sent->data + sent->len, data, len);
    sent->len += len;
}

static inline int same(const struct sent *a, const struct sent *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* One piece, in memory of its own. */
static inline int show_piece(struct fn_http *http, step_function *step_on, const char *data, size_t len,
                             struct sent *sent)
{
    char *copy = malloc(len ? len : 1);
    size_t at = 0;
    struct fn_http_step step;
    int code;

    require(copy != NULL);
    if (len)
        memcpy(copy, data, len);
    do {
        code = step_on(http, copy + at, len - at, &step);
        require(step.used <= len - at);
        add(sent, step.send, step.send_len);
        at += step.used;
    } while (code > 0);
    require(code < 0 || at == len);
    free(copy);
    return code;
}

/* Data in pieces of `size` bytes, but one byte longer each second time. */
static inline int show(struct fn_http *http, step_function *step_on, const char *data, size_t len, size_t size,
                       struct sent *sent)
{
    int code = 0;

    do {
        const size_t piece = size > 0 && size < len ? size : len;
        code = show_piece(http, step_on, data, piece, sent);
        data += piece;
        len -= piece;
        size ^= 1;
    } while (len > 0 && code == 0);
    return code;
}

#endif
