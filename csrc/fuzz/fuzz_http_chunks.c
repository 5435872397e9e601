/*
 * A chunked body, whole, in other pieces, and with its data passed unread: what is sent on is the same, and it is the
 * body as it came, up to its end or to what is refused. The first byte chooses where the pieces end.
 */
#define _GNU_SOURCE
#include "http_fuzz.h"

static const char HEAD[] = "POST / HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked\r\n\r\n";

static struct fn_http *begun(const struct fn_http_rewrite *rewrite)
{
    struct fn_http *http = fn_http_new(rewrite, "");
    struct sent ignored = {0};

    require(http != NULL);
    show(http, fn_http_request, HEAD, sizeof HEAD - 1, sizeof HEAD, &ignored);
    require(fn_http_refusal(http) == NULL && ignored.len == sizeof HEAD - 1);
    free(ignored.data);
    return http;
}

/* As a relay does: what may pass unread is not shown. */
static void relay(struct fn_http *http, const char *data, size_t len, size_t size, struct sent *sent)
{
    while (len) {
        const int64_t passes = fn_http_request_passes(http);
        size_t piece = size > 0 && size < len ? size : len;
        if (passes > 0) {
            piece = (uint64_t)passes < piece ? (size_t)passes : piece;
            add(sent, data, piece);
            fn_http_request_passed(http, (int64_t)piece);
        } else {
            show_piece(http, fn_http_request, data, piece, sent);
        }
        data += piece;
        len -= piece;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sent whole = {0}, split = {0}, relayed = {0};

    if (size < 1)
        return 0;
    const struct input input = {.data = (const char *)data + 1, .len = size - 1};
    struct fn_http_rewrite *rewrite = rewriting(false, false, false);
    struct fn_http *a = begun(rewrite), *b = begun(rewrite), *c = begun(rewrite);

    show(a, fn_http_request, input.data, input.len, input.len, &whole);
    show(b, fn_http_request, input.data, input.len, data[0], &split);
    relay(c, input.data, input.len, data[0], &relayed);
    require(same(&whole, &split) && same(&whole, &relayed));
    require(fn_http_refusal(a) == fn_http_refusal(b) && fn_http_refusal(a) == fn_http_refusal(c));
    require(fn_http_held(a) == fn_http_held(c) && fn_http_request_passes(a) == fn_http_request_passes(c));
    /* Nothing is named here that would be replaced, until a head of the client's own begins behind the body. */
    const size_t body = whole.len < input.len ? whole.len : input.len;
    const char *end = memmem(input.data, input.len, "\r\n\r\n", 4);
    if (end == NULL || (size_t)(end - input.data) + 4 >= body)
        require(whole.len <= input.len && (body == 0 || memcmp(whole.data, input.data, body) == 0));

    free(whole.data);
    free(split.data);
    free(relayed.data);
    fn_http_free(a);
    fn_http_free(b);
    fn_http_free(c);
    fn_http_rewrite_free(rewrite);
    return 0;
}
