/* Parses a request's head and rewrites its Host. */
#include "http_head/internal.h"

/* RFC 3986, section 3.1. */
static bool is_scheme(struct fn_http_text text)
{
    for (size_t i = 0; i < text.len; i++) {
        const char byte = fn_http_lower(text.data[i]);
        const bool letter = byte >= 'a' && byte <= 'z';
        if (!letter && (i == 0 || !((byte >= '0' && byte <= '9') || byte == '+' || byte == '-' || byte == '.')))
            return false;
    }
    return text.len > 0;
}

/* Records the position of the authority in an absolute or CONNECT's target (RFC 9112, section 3.2). */
static int find_authority(struct fn_http_reader *reader, struct fn_http_text line, struct fn_http_text method,
                          struct fn_http_text target)
{
    struct fn_http_text authority = target, rest;

    if (reader->framing.asks != FN_HTTP_ASKS_CONNECT) {
        if (target.data[0] == '/' ||
            (fn_http_same(target, fn_http_text("*", 1)) && fn_http_same(method, fn_http_text("OPTIONS", 7))))
            return 0;
        const struct fn_http_text scheme = fn_http_until(target, ':', &rest);
        if (rest.len < 2 || rest.data[0] != '/' || rest.data[1] != '/' || !is_scheme(scheme))
            return fn_http_bad(reader, "an invalid request target");
        authority = fn_http_authority_text(fn_http_skip(rest, 2));
        if (authority.len == 0)
            return fn_http_bad(reader, "an absolute target without a host");
    }
    reader->framing.authority_at = (uint32_t)(authority.data - line.data);
    reader->framing.authority_len = (uint32_t)authority.len;
    return 0;
}

static int first_line(struct fn_http_reader *reader, struct fn_http_text line)
{
    struct fn_http_text target, version;
    const struct fn_http_text method = fn_http_until(line, ' ', &target);

    target = fn_http_until(target, ' ', &version);
    if (!version.data || memchr(version.data, ' ', version.len) || !fn_http_is_token(method) || target.len == 0)
        return fn_http_bad(reader, "an invalid request line");
    if (fn_http_has_control(target) || fn_http_contains(target, '\t'))
        return fn_http_bad(reader, "a control character in the target");
    if (fn_http_contains(target, '#'))
        return fn_http_bad(reader, "a fragment in the target");
    reader->framing.http_1_0 = fn_http_same(version, fn_http_text("HTTP/1.0", 8));
    if (!reader->framing.http_1_0 && !fn_http_same(version, fn_http_text("HTTP/1.1", 8)))
        return fn_http_bad(reader, "a version other than HTTP/1.1 and HTTP/1.0");
    if (fn_http_same(method, fn_http_text("HEAD", 4)))
        reader->framing.asks = FN_HTTP_ASKS_HEAD;
    if (fn_http_same(method, fn_http_text("CONNECT", 7)))
        reader->framing.asks = FN_HTTP_ASKS_CONNECT;
    return find_authority(reader, line, method, target);
}

static void note(struct fn_http_field *field, size_t at, struct fn_http_text value)
{
    *field = (struct fn_http_field){.count = field->count + 1, .at = (uint32_t)at, .len = (uint32_t)value.len};
}

int fn_http_request_line(struct fn_http_reader *reader, struct fn_http_text line)
{
    struct fn_http_framing *framing = &reader->framing;
    struct fn_http_text name, value;

    if (reader->size == 0)
        return first_line(reader, line);
    if (fn_http_field(reader, line, &name, &value) < 0)
        return -EBADMSG;
    const size_t at = reader->size + (size_t)(value.data - line.data);
    if (fn_http_is(name, "host")) {
        note(&framing->host, at, value);
    } else if (fn_http_is(name, "origin")) {
        note(&framing->origin, at, value);
    } else if (fn_http_is(name, "referer")) {
        note(&framing->referer, at, value);
    } else if (fn_http_is(name, "content-length")) {
        fn_http_lengths(framing, value);
    } else if (fn_http_is(name, "transfer-encoding")) {
        fn_http_codings(framing, value);
    } else if (fn_http_is(name, "upgrade") && framing->asks != FN_HTTP_ASKS_CONNECT) {
        framing->asks |= FN_HTTP_ASKS_UPGRADE;
    }
    return 0;
}

/* The reason to refuse the request; NULL if there is none. */
static const char *objection(const struct fn_http_framing *framing)
{
    if (framing->host.count > 1)
        return "more than one Host";
    if (framing->codings && framing->lengths)
        return "both Content-Length and Transfer-Encoding";
    if (framing->codings && framing->http_1_0)
        return "a Transfer-Encoding in HTTP/1.0";
    /* A reader of only the first or the last element would frame these differently. */
    if (framing->codings > 1 || (framing->codings && !framing->last_chunked))
        return "a Transfer-Encoding other than chunked";
    if (framing->lengths > 1)
        return "more than one Content-Length";
    if (framing->asks == FN_HTTP_ASKS_CONNECT && (framing->codings || framing->lengths))
        return "a CONNECT with a body";
    if (framing->bad_length)
        return "an invalid Content-Length";
    return NULL;
}

static void replace(struct fn_http_reader *reader, size_t at, size_t len, struct fn_http_text text)
{
    size_t i = reader->edits_count++;

    for (; i > 0 && reader->edits[i - 1].at > at; i--)
        reader->edits[i] = reader->edits[i - 1];
    reader->edits[i] = (struct fn_http_edit){.at = at, .len = len, .text = text};
}

/* The authorities in a head; `target` or `host` is empty if there is none. */
struct named {
    struct fn_http_text target, host;
    struct fn_http_authority authority; /* in force: the target's, else that of Host */
};

/* Parses them; returns the reason to refuse the request, NULL if there is none. */
static const char *read_names(struct named *named, const struct fn_http_framing *framing, struct fn_http_text head)
{
    struct fn_http_authority host;
    const char *reason = NULL;

    named->target = fn_http_text(head.data + framing->authority_at, framing->authority_len);
    named->host = fn_http_text(head.data + framing->host.at, framing->host.len);
    if (!framing->host.count && !framing->http_1_0)
        return "no Host in HTTP/1.1";
    if (framing->host.count)
        reason = fn_http_read_authority(named->target.len ? &host : &named->authority, named->host);
    if (reason || !named->target.len)
        return reason;
    reason = fn_http_read_authority(&named->authority, named->target);
    if (reason || framing->asks != FN_HTTP_ASKS_CONNECT)
        return reason;
    if (!named->authority.port.len)
        return "a CONNECT without a port";
    if (framing->host.count && !fn_http_same_place(&named->authority, &host))
        return "a CONNECT target that differs from Host";
    return NULL;
}

/* Replaces the listener's name by the upstream's; returns the replaced name, empty without one. */
static struct fn_http_text rewrite_host(struct fn_http *http, const struct named *named)
{
    struct fn_http_reader *reader = &http->requests;
    const struct fn_http_framing *framing = &reader->framing;
    const struct fn_http_text upstream = framing->asks == FN_HTTP_ASKS_CONNECT
                                             ? fn_http_upstream_and_port(http->rewrite)
                                             : fn_http_upstream(http->rewrite);
    const struct fn_http_text original_host = named->target.len ? named->target : named->host;
    const struct fn_http_text destination = fn_http_text(http->destination, http->destination_len);
    const bool ours = original_host.len && fn_http_replaces(http->rewrite, &named->authority, destination);

    if (named->target.len && ours)
        replace(reader, framing->authority_at, framing->authority_len, upstream);
    if (framing->host.count && ours)
        replace(reader, framing->host.at, framing->host.len, upstream);
    /* If the target names a host, that host replaces Host (RFC 9112, section 3.2.2). */
    else if (framing->host.count && named->target.len && !fn_http_same(named->host, named->target))
        replace(reader, framing->host.at, framing->host.len, named->target);
    return ours ? original_host : fn_http_text("", 0);
}

/* The same in a field whose value begins with a URI. Repeated fields are unchanged: readers differ in which counts. */
static void rewrite_uri(struct fn_http *http, const struct named *named, struct fn_http_text head,
                        const struct fn_http_field *field)
{
    const struct fn_http_text destination = fn_http_text(http->destination, http->destination_len);
    const struct fn_http_text value = fn_http_text(head.data + field->at, field->len);
    struct fn_http_authority authority;
    struct fn_http_text rest;
    const struct fn_http_text scheme = fn_http_until(value, ':', &rest);
    const bool https = fn_http_is(scheme, "https");

    if (field->count != 1 || !(https || fn_http_is(scheme, "http")) || rest.len < 2 || memcmp(rest.data, "//", 2) != 0)
        return;
    const struct fn_http_text text = fn_http_authority_text(fn_http_skip(rest, 2));
    if (!fn_http_read_authority(&authority, text) &&
        fn_http_is_client_side(http->rewrite, &authority, https, &named->authority, destination))
        replace(&http->requests, (size_t)(text.data - head.data), text.len, fn_http_upstream(http->rewrite));
}

int fn_http_request_head(struct fn_http_reader *reader, struct fn_http_text head)
{
    struct fn_http *http = fn_http_of_requests(reader);
    const struct fn_http_framing framing = reader->framing;
    struct named named;
    const char *reason = objection(&framing);
    int code;

    if (!reason)
        reason = read_names(&named, &framing, head);
    if (reason)
        return fn_http_bad(reader, reason);
    const struct fn_http_text original_host = rewrite_host(http, &named);
    if (original_host.len && fn_http_rewrites_origin(http->rewrite)) {
        rewrite_uri(http, &named, head, &framing.origin);
        rewrite_uri(http, &named, head, &framing.referer);
    }
    code = fn_http_pending_add(&http->queue, framing.asks,
                               fn_http_rewrites_responses(http->rewrite) ? original_host : fn_http_text("", 0));
    if (code < 0)
        return code;
    http->switched = framing.asks & FN_HTTP_ASKS_SWITCH ? FN_HTTP_UNDECIDED : FN_HTTP_NO;
    fn_http_framing_body(reader, framing.length, framing.codings > 0);
    return 0;
}
