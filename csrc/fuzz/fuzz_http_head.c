/*
 * Two directions of a connection, whole and in other pieces: what is sent on and what is known afterwards is the same.
 *
 * The first byte chooses the rewrite, the second where the pieces end; the third and fourth how much of the
 * rest is the client's.
 */
#include "http_fuzz.h"

static void compare(const struct fn_http *a, const struct fn_http *b)
{
    const char *refusal = fn_http_refusal(a);

    require(refusal == fn_http_refusal(b) && fn_http_unfollowed(a) == fn_http_unfollowed(b));
    require(fn_http_held(a) == fn_http_held(b) && fn_http_idle(a) == fn_http_idle(b));
    require(fn_http_head_pending(a) == fn_http_head_pending(b));
    require(fn_http_unanswered(a) == fn_http_unanswered(b) && fn_http_in_answer(a) == fn_http_in_answer(b) &&
            fn_http_has_answered(a) == fn_http_has_answered(b));
    require(fn_http_request_passes(a) == fn_http_request_passes(b));
    require(fn_http_response_passes(a) == fn_http_response_passes(b));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sent whole[2] = {0}, split[2] = {0};

    if (size < 4)
        return 0;
    const struct input input = {.data = (const char *)data + 4, .len = size - 4};
    const size_t announced = (size_t)data[2] << 8 | data[3];
    const size_t requests = announced < input.len ? announced : input.len;
    struct fn_http_rewrite *rewrite = rewriting(data[0] & 1, data[0] & 2, data[0] & 4);
    struct fn_http *a = fn_http_new(rewrite, "10.1.2.3"), *b = fn_http_new(rewrite, "10.1.2.3");
    require(a && b);

    show(a, fn_http_request, input.data, requests, requests, &whole[0]);
    show(b, fn_http_request, input.data, requests, data[1], &split[0]);
    compare(a, b);
    const int code = show(a, fn_http_response, input.data + requests, input.len - requests, input.len, &whole[1]);
    require(show(b, fn_http_response, input.data + requests, input.len - requests, data[1], &split[1]) == code);
    show_piece(a, fn_http_request, NULL, 0, &whole[0]);
    show_piece(b, fn_http_request, NULL, 0, &split[0]);
    compare(a, b);
    require(same(&whole[0], &split[0]) && same(&whole[1], &split[1]));

    for (int i = 0; i < 2; i++) {
        free(whole[i].data);
        free(split[i].data);
    }
    fn_http_free(a);
    fn_http_free(b);
    fn_http_rewrite_free(rewrite);
    return 0;
}
