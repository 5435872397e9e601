/* What a response's head says, and the upstream's names in it. */
#include "http_head/parts.h"

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

static int status_line(struct fn_http_reader *reader, struct fn_http_text line)
{
    struct fn_http_text rest;
    const struct fn_http_text version = fn_http_until(line, ' ', &rest);

    if (version.len < 7 || memcmp(version.data, "HTTP/1.", 7) != 0 || rest.len < 3 || !is_digit(rest.data[0]) ||
        !is_digit(rest.data[1]) || !is_digit(rest.data[2]))
        return fn_http_bad(reader, "a response without a status line");
    reader->facts.status = (int)fn_http_number(fn_http_text(rest.data, 3));
    return 0;
}

/* The name and the value of a field line, leniently; false for a line that has none. */
static bool field(struct fn_http_text line, struct fn_http_text *name, struct fn_http_text *value)
{
    if (line.len == 0 || line.data[0] == ' ' || line.data[0] == '\t')
        return false;
    *name = fn_http_bared(fn_http_until(line, ':', value));
    *value = fn_http_bared(*value);
    return value->data;
}

int fn_http_response_line(struct fn_http_reader *reader, struct fn_http_text line)
{
    struct fn_http_text name, value;

    if (reader->size == 0)
        return status_line(reader, line);
    if (!field(line, &name, &value))
        return 0;
    if (fn_http_is(name, "content-length"))
        fn_http_lengths(&reader->facts, value);
    else if (fn_http_is(name, "transfer-encoding"))
        fn_http_codings(&reader->facts, value);
    return 0;
}

/* How long the body is (RFC 9112, section 6.3). */
static int framed(struct fn_http *http, const struct fn_http_facts *facts)
{
    struct fn_http_reader *reader = &http->responses;

    if (facts->codings && facts->last_chunked) {
        fn_http_body(http, reader, 0, true);
    } else if (facts->codings || !facts->lengths) {
        reader->state = FN_HTTP_RAW;
    } else {
        if (facts->bad_length)
            return fn_http_bad(reader, "a Content-Length that is no number");
        if (facts->differing)
            return fn_http_bad(reader, "differing Content-Lengths");
        fn_http_body(http, reader, facts->length, false);
    }
    return 0;
}

/* Rewriting: `made` takes what stands before a change, then what is put there; `at` is where reading goes on. */

struct rewriting {
    struct fn_http_buffer *made;
    struct fn_http_text head;
    size_t at;
};

static int put(struct rewriting *rewriting, const char *from, const char *to, struct fn_http_text text)
{
    const char *begin = rewriting->head.data + rewriting->at;

    rewriting->at = (size_t)(to - rewriting->head.data);
    if (fn_http_append(rewriting->made, begin, (size_t)(from - begin)) < 0)
        return -ENOMEM;
    return fn_http_append(rewriting->made, text.data, text.len);
}

static int rewrite_location(const struct fn_http *http, struct rewriting *rewriting, struct fn_http_text value,
                            struct fn_http_text asked)
{
    struct fn_http_text rest;
    const struct fn_http_text scheme = fn_http_until(value, '/', &rest);

    if ((scheme.len && !fn_http_is(scheme, "http:")) || rest.len == 0 || rest.data[0] != '/')
        return 0;
    const struct fn_http_text authority = fn_http_authority(fn_http_behind(rest, 1));
    if (!fn_http_is_upstream(http->rewrite, authority))
        return 0;
    return put(rewriting, authority.data, authority.data + authority.len, asked);
}

/* One attribute of a cookie, which begins behind a semicolon. */
static int rewrite_attribute(const struct fn_http *http, struct rewriting *rewriting, struct fn_http_text attribute,
                             struct fn_http_text domain)
{
    struct fn_http_text value;
    const struct fn_http_text name = fn_http_bared(fn_http_until(attribute, '=', &value));

    value = fn_http_bared(value);
    if (!fn_http_is(name, "domain") || !fn_http_is_upstream_domain(http->rewrite, value))
        return 0;
    if (domain.len)
        return put(rewriting, value.data, value.data + value.len, domain);
    return put(rewriting, attribute.data - 1, attribute.data + attribute.len, domain);
}

static int rewrite_cookie(const struct fn_http *http, struct rewriting *rewriting, struct fn_http_text cookie,
                          struct fn_http_text domain)
{
    struct fn_http_text rest;
    int code = 0;

    fn_http_until(cookie, ';', &rest);
    while (rest.data && code == 0)
        code = rewrite_attribute(http, rewriting, fn_http_until(rest, ';', &rest), domain);
    return code;
}

/* The head with the upstream's names replaced by those that the client asked for. */
static int rewrite(struct fn_http *http, struct fn_http_text head, struct fn_http_text asked)
{
    struct fn_http_reader *reader = &http->responses;
    const struct fn_http_text domain = fn_http_cookie_domain(asked);
    struct rewriting rewriting = {.made = &reader->made, .head = head};
    struct fn_http_text rest = head, name, value;
    int code = 0;

    while (rest.len && code == 0) {
        struct fn_http_text line = fn_http_until(rest, '\n', &rest);
        if (line.len && line.data[line.len - 1] == '\r')
            line.len--;
        if (!field(line, &name, &value))
            continue;
        if (fn_http_is(name, "location"))
            code = rewrite_location(http, &rewriting, value, asked);
        else if (fn_http_is(name, "set-cookie"))
            code = rewrite_cookie(http, &rewriting, value, domain);
    }
    if (code == 0 && rewriting.at) {
        code = put(&rewriting, head.data + head.len, head.data + head.len, fn_http_text("", 0));
        reader->out = fn_http_text(reader->made.data, reader->made.len);
        reader->spent = true;
    }
    return code;
}

int fn_http_response_head(struct fn_http *http, struct fn_http_text head)
{
    struct fn_http_reader *reader = &http->responses;
    const struct fn_http_facts facts = reader->facts;
    const struct fn_http_pending *pending = fn_http_oldest(http);
    const uint8_t asks = pending ? pending->asks : 0;
    const int status = facts.status;
    const bool switched = (asks & FN_HTTP_ASKS_UPGRADE && status == 101) ||
                          (asks & FN_HTTP_ASKS_CONNECT && status >= 200 && status < 300);

    if (reader->holds && pending && pending->asked) {
        const int code = rewrite(http, head, fn_http_text(pending->asked->text, pending->asked->len));
        if (code < 0)
            return code;
    }
    if (status >= 100 && status < 200 && !switched)
        return 0;
    fn_http_answered(http);
    if (asks & FN_HTTP_ASKS_SWITCH)
        fn_http_decide(http, switched);
    if (switched)
        reader->state = FN_HTTP_RAW;
    else if (asks & FN_HTTP_ASKS_HEAD || status == 204 || status == 304)
        fn_http_ended(http, reader);
    else
        return framed(http, &facts);
    return 0;
}
