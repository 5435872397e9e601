/* Parses a response's head and rewrites the upstream's names in it. */
#include "http_head/internal.h"

/* RFC 9112, section 4. A reason phrase may follow the status. */
static int status_line(struct fn_http_reader *reader, struct fn_http_text line)
{
    const bool spaced = line.len == 12 || (line.len > 12 && line.data[12] == ' ');

    if (line.len < 9 || memcmp(line.data, "HTTP/1.", 7) != 0 || line.data[7] < '0' || line.data[7] > '9' ||
        line.data[8] != ' ')
        return fn_http_bad(reader, "a response without a status line");
    reader->framing.status = spaced ? (int)fn_http_number(fn_http_text(line.data + 9, 3)) : -1;
    if (reader->framing.status < 100 || reader->framing.status > 599)
        return fn_http_bad(reader, "a response status outside 100 to 599");
    return 0;
}

static bool is_folded(struct fn_http_text line)
{
    return line.len && (line.data[0] == ' ' || line.data[0] == '\t');
}

/* The name and the untrimmed value of a field line, leniently; an empty value if it has none. */
static struct fn_http_text field(struct fn_http_text line, struct fn_http_text *value)
{
    return fn_http_trimmed(fn_http_until(line, ':', value));
}

int fn_http_response_line(struct fn_http_reader *reader, struct fn_http_text line)
{
    struct fn_http_framing *framing = &reader->framing;
    struct fn_http_text value;

    if (reader->size == 0)
        return status_line(reader, line);
    if (is_folded(line))
        return framing->in_framing ? fn_http_bad(reader, "a folded Content-Length or Transfer-Encoding") : 0;
    const struct fn_http_text name = field(line, &value);
    const bool is_length = fn_http_is(name, "content-length"), is_coding = fn_http_is(name, "transfer-encoding");
    framing->in_framing = value.data && (is_length || is_coding);
    if (!framing->in_framing)
        return 0;
    if (line.data[name.len] != ':')
        return fn_http_bad(reader, "a space before the colon of Content-Length or Transfer-Encoding");
    if (is_length)
        fn_http_lengths(framing, fn_http_trimmed(value));
    else
        fn_http_codings(framing, fn_http_trimmed(value));
    return 0;
}

/* The error if readers could differ about the body's length (RFC 9112, section 6.3), else NULL. */
static const char *objection(const struct fn_http_framing *framing)
{
    if (framing->codings)
        return NULL;
    if (framing->bad_length)
        return "an invalid Content-Length";
    return framing->differing ? "different Content-Lengths" : NULL;
}

static void frame(struct fn_http_reader *reader, const struct fn_http_framing *framing)
{
    if (framing->codings ? !framing->last_chunked : !framing->lengths)
        reader->state = FN_HTTP_RAW;
    else
        fn_http_framing_body(reader, framing->codings ? 0 : framing->length, framing->codings);
}

/* Rewriting: the text up to a change and its replacement are appended to `made`; `at` is the next byte to read. */

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

/* A URI with an authority, with or without the scheme "http:". */
static int rewrite_uri(const struct fn_http *http, struct rewriting *rewriting, struct fn_http_text uri,
                       struct fn_http_text original_host)
{
    struct fn_http_text rest;
    const struct fn_http_text scheme = fn_http_until(uri, '/', &rest);

    if ((scheme.len && !fn_http_is(scheme, "http:")) || rest.len == 0 || rest.data[0] != '/')
        return 0;
    struct fn_http_text authority = fn_http_authority_text(fn_http_skip(rest, 1));
    while (fn_http_contains(authority, '@'))
        fn_http_until(authority, '@', &authority);
    if (!fn_http_is_upstream(http->rewrite, authority))
        return 0;
    return put(rewriting, authority.data, authority.data + authority.len, original_host);
}

/* The origin in Access-Control-Allow-Origin; that of a page behind TLS begins with "https:". */
static int rewrite_origin(const struct fn_http *http, struct rewriting *rewriting, struct fn_http_text origin,
                          struct fn_http_text original_host)
{
    struct fn_http_text rest;
    const struct fn_http_text scheme = fn_http_until(origin, '/', &rest);

    return rewrite_uri(http, rewriting, fn_http_is(scheme, "https:") ? fn_http_skip(origin, scheme.len) : origin,
                       original_host);
}

static struct fn_http_text without_blanks(struct fn_http_text text)
{
    while (text.len && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = fn_http_skip(text, 1);
    return text;
}

/* The URI of Refresh: "5; url=URI", or with a comma, in quotes, or without "url=". */
static struct fn_http_text refresh_uri(struct fn_http_text value)
{
    struct fn_http_text rest;

    while (value.len && ((value.data[0] >= '0' && value.data[0] <= '9') || value.data[0] == '.'))
        value = fn_http_skip(value, 1);
    value = without_blanks(value);
    if (value.len && (value.data[0] == ';' || value.data[0] == ','))
        value = without_blanks(fn_http_skip(value, 1));
    if (fn_http_is(fn_http_trimmed(fn_http_until(value, '=', &rest)), "url"))
        value = without_blanks(rest);
    if (value.len && (value.data[0] == '"' || value.data[0] == '\''))
        value = fn_http_until(fn_http_skip(value, 1), value.data[0], &rest);
    return value;
}

/* Each target of Link, which is in angle brackets; those within quoted parameters are ignored. */
static int rewrite_links(const struct fn_http *http, struct rewriting *rewriting, struct fn_http_text value,
                         struct fn_http_text original_host)
{
    bool quoted = false;
    int code = 0;

    while (value.len && code == 0) {
        const char byte = value.data[0];
        value = fn_http_skip(value, 1);
        if (byte == '"')
            quoted = !quoted;
        else if (byte == '\\' && quoted && value.len)
            value = fn_http_skip(value, 1);
        else if (byte == '<' && !quoted)
            code = rewrite_uri(http, rewriting, fn_http_until(value, '>', &value), original_host);
    }
    return code;
}

/* One attribute of a cookie, the text after a semicolon. */
static int rewrite_attribute(const struct fn_http *http, struct rewriting *rewriting, struct fn_http_text attribute,
                             struct fn_http_text domain)
{
    struct fn_http_text value;
    const struct fn_http_text name = fn_http_trimmed(fn_http_until(attribute, '=', &value));

    value = fn_http_trimmed(value);
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

/* A field line whose value may name the upstream. */
static int rewrite_line(const struct fn_http *http, struct rewriting *rewriting, struct fn_http_text line,
                        struct fn_http_text original_host)
{
    struct fn_http_text value;
    const struct fn_http_text name = field(line, &value);

    if (is_folded(line) || !value.data || !original_host.len)
        return 0;
    value = fn_http_trimmed(value);
    if (fn_http_is(name, "location") || fn_http_is(name, "content-location"))
        return rewrite_uri(http, rewriting, value, original_host);
    if (fn_http_is(name, "set-cookie"))
        return rewrite_cookie(http, rewriting, value, fn_http_cookie_domain(original_host));
    if (fn_http_is(name, "refresh"))
        return rewrite_uri(http, rewriting, refresh_uri(value), original_host);
    if (fn_http_is(name, "link"))
        return rewrite_links(http, rewriting, value, original_host);
    if (fn_http_is(name, "access-control-allow-origin"))
        return rewrite_origin(http, rewriting, value, original_host);
    return 0;
}

static bool is_length(struct fn_http_text line)
{
    struct fn_http_text value;

    return fn_http_is(field(line, &value), "content-length") && value.data;
}

/*
 * Writes the head with the upstream's names replaced by the original Host, if there is one; and without
 * Content-Length if there is a Transfer-Encoding, which has precedence (RFC 9112, section 6.3).
 */
static int rewrite(struct fn_http *http, struct fn_http_text head, struct fn_http_text original_host, bool two_framings)
{
    struct fn_http_reader *reader = &http->responses;
    struct rewriting rewriting = {.made = &reader->made, .head = head};
    struct fn_http_text rest = head;
    int code = 0;

    while (rest.len && code == 0) {
        struct fn_http_text line = fn_http_until(rest, '\n', &rest);
        const char *end = line.data + line.len + 1;
        if (line.len && line.data[line.len - 1] == '\r')
            line.len--;
        if (two_framings && is_length(line))
            code = put(&rewriting, line.data, end, fn_http_text("", 0));
        else
            code = rewrite_line(http, &rewriting, line, original_host);
    }
    if (code == 0 && rewriting.at) {
        code = put(&rewriting, head.data + head.len, head.data + head.len, fn_http_text("", 0));
        reader->out = fn_http_text(reader->made.data, reader->made.len);
        reader->spent = true;
    }
    return code;
}

/* Call it after the response to CONNECT or Upgrade. */
static void decide(struct fn_http *http, bool switched)
{
    http->switched = switched ? FN_HTTP_YES : FN_HTTP_NO;
    if (!switched)
        return;
    http->requests.next = FN_HTTP_RAW;
    if (http->requests.state == FN_HTTP_HEAD)
        http->requests.state = FN_HTTP_RAW;
}

int fn_http_response_head(struct fn_http_reader *reader, struct fn_http_text head)
{
    struct fn_http *http = fn_http_of_responses(reader);
    const struct fn_http_framing framing = reader->framing;
    const struct fn_http_pending *pending = fn_http_pending_oldest(&http->queue);
    const uint8_t asks = pending ? pending->asks : 0;
    const struct fn_http_original_host *original_host = pending ? pending->original_host : NULL;
    const int status = framing.status;
    const bool two_framings = framing.codings && framing.lengths;
    const bool switched = (asks & FN_HTTP_ASKS_UPGRADE && status == 101) ||
                          (asks & FN_HTTP_ASKS_CONNECT && status >= 200 && status < 300);
    const bool interim = status < 200 && !switched;
    const bool bodiless = asks & FN_HTTP_ASKS_HEAD || status == 204 || status == 304;
    const char *reason = interim || switched || bodiless ? NULL : objection(&framing);

    if (!pending)
        reason = "a response without a request";
    else if (status == 101 && !switched)
        reason = "a 101 without an upgrade request";
    if (reason)
        return fn_http_bad(reader, reason);
    if (original_host || two_framings) {
        const struct fn_http_text name =
            original_host ? fn_http_text(original_host->text, original_host->len) : fn_http_text("", 0);
        const int code = rewrite(http, head, name, two_framings);
        if (code < 0)
            return code;
    }
    if (interim)
        return 0;
    http->has_answered = true;
    fn_http_pending_drop_oldest(&http->queue);
    if (asks & FN_HTTP_ASKS_SWITCH)
        decide(http, switched);
    if (switched)
        reader->state = FN_HTTP_RAW;
    else if (bodiless)
        fn_http_framing_body(reader, 0, false);
    else
        frame(reader, &framing);
    return 0;
}
