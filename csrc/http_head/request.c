/* What a request's head says, and the Host in it. */
#include "http_head/parts.h"

/* How many elements a comma-separated list has. */
static uint32_t elements(struct fn_http_text value)
{
    uint32_t count = 1;

    for (size_t i = 0; i < value.len; i++)
        count += value.data[i] == ',';
    return count;
}

void fn_http_lengths(struct fn_http_facts *facts, struct fn_http_text value)
{
    struct fn_http_text rest = value;

    for (uint32_t left = elements(value); left; left--) {
        const int64_t length = fn_http_number(fn_http_trimmed(fn_http_until(rest, ',', &rest)));
        facts->bad_length |= length < 0;
        facts->differing |= facts->lengths && length != facts->length;
        facts->length = length;
        facts->lengths++;
    }
}

void fn_http_codings(struct fn_http_facts *facts, struct fn_http_text value)
{
    struct fn_http_text coding = value, rest = value;

    for (uint32_t left = elements(value); left; left--) {
        coding = fn_http_until(rest, ',', &rest);
        facts->codings++;
    }
    facts->last_chunked = fn_http_is(fn_http_trimmed(coding), "chunked");
}

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

/* Where an absolute target's authority stands (RFC 9112, section 3.2.2). */
static int find_authority(struct fn_http_reader *reader, struct fn_http_text line, struct fn_http_text target)
{
    struct fn_http_text rest;
    const struct fn_http_text scheme = fn_http_until(target, ':', &rest);

    if (rest.len < 2 || rest.data[0] != '/' || rest.data[1] != '/' || !is_scheme(scheme))
        return 0;
    const struct fn_http_text authority = fn_http_authority(fn_http_behind(rest, 2));
    if (authority.len == 0)
        return fn_http_bad(reader, "an absolute target without a host");
    reader->facts.authority_at = (uint32_t)(authority.data - line.data);
    reader->facts.authority_len = (uint32_t)authority.len;
    return 0;
}

static int first_line(struct fn_http_reader *reader, struct fn_http_text line)
{
    struct fn_http_text target, version;
    const struct fn_http_text method = fn_http_until(line, ' ', &target);

    target = fn_http_until(target, ' ', &version);
    if (!version.data || memchr(version.data, ' ', version.len) || !fn_http_is_token(method) || target.len == 0)
        return fn_http_bad(reader, "no request line");
    if (fn_http_has_control(target) || memchr(target.data, '\t', target.len))
        return fn_http_bad(reader, "a control character in the target");
    reader->facts.http_1_0 = fn_http_same(version, fn_http_text("HTTP/1.0", 8));
    if (!reader->facts.http_1_0 && !fn_http_same(version, fn_http_text("HTTP/1.1", 8)))
        return fn_http_bad(reader, "a version other than HTTP/1.1 and HTTP/1.0");
    if (fn_http_same(method, fn_http_text("HEAD", 4)))
        reader->facts.asks = FN_HTTP_ASKS_HEAD;
    if (fn_http_same(method, fn_http_text("CONNECT", 7)))
        reader->facts.asks = FN_HTTP_ASKS_CONNECT;
    return find_authority(reader, line, target);
}

int fn_http_request_line(struct fn_http_reader *reader, struct fn_http_text line)
{
    struct fn_http_facts *facts = &reader->facts;
    struct fn_http_text name, value;

    if (reader->size == 0)
        return first_line(reader, line);
    if (fn_http_field(reader, line, &name, &value) < 0)
        return -EBADMSG;
    if (fn_http_is(name, "host")) {
        facts->hosts++;
        facts->host_at = (uint32_t)(reader->size + (size_t)(value.data - line.data));
        facts->host_len = (uint32_t)value.len;
    } else if (fn_http_is(name, "content-length")) {
        fn_http_lengths(facts, value);
    } else if (fn_http_is(name, "transfer-encoding")) {
        fn_http_codings(facts, value);
    } else if (fn_http_is(name, "upgrade") && facts->asks != FN_HTTP_ASKS_CONNECT) {
        facts->asks |= FN_HTTP_ASKS_UPGRADE;
    }
    return 0;
}

/* Why the request must not be passed on, NULL where it may. */
static const char *objection(const struct fn_http_facts *facts)
{
    if (facts->hosts > 1)
        return "two Hosts";
    if (facts->codings && facts->lengths)
        return "both Content-Length and Transfer-Encoding";
    if (facts->codings && facts->http_1_0)
        return "a Transfer-Encoding in HTTP/1.0";
    /* Whoever reads the first or the last element only would frame these otherwise. */
    if (facts->codings > 1 || (facts->codings && !facts->last_chunked))
        return "a Transfer-Encoding other than chunked";
    if (facts->lengths > 1)
        return "several Content-Lengths";
    if (facts->asks == FN_HTTP_ASKS_CONNECT && (facts->codings || facts->lengths))
        return "a CONNECT with a body";
    if (facts->bad_length)
        return "a Content-Length that is no number";
    return NULL;
}

static void replace(struct fn_http_reader *reader, size_t at, size_t len, struct fn_http_text text)
{
    reader->edits[reader->edits_count++] = (struct fn_http_edit){.at = at, .len = len, .text = text};
}

/* Puts the upstream where the listener is named; returns the name, which is empty where it is not named. */
static struct fn_http_text rewrite_host(struct fn_http *http, struct fn_http_text head)
{
    struct fn_http_reader *reader = &http->requests;
    const struct fn_http_facts *facts = &reader->facts;
    const struct fn_http_text upstream = fn_http_upstream(http->rewrite);
    const struct fn_http_text host = fn_http_text(head.data + facts->host_at, facts->host_len);
    const struct fn_http_text target = fn_http_text(head.data + facts->authority_at, facts->authority_len);
    const struct fn_http_text asked = target.len ? target : host;
    const struct fn_http_text reached_at = fn_http_text(http->reached_at, http->reached_len);
    const bool ours = (target.len || facts->hosts) && fn_http_replaces(http->rewrite, asked, reached_at);

    if (target.len && ours)
        replace(reader, facts->authority_at, facts->authority_len, upstream);
    if (facts->hosts && ours)
        replace(reader, facts->host_at, facts->host_len, upstream);
    /* Beside an absolute target, Host is to be ignored and replaced by the target's (RFC 9112, section 3.2.2). */
    else if (facts->hosts && target.len && !fn_http_same(host, target))
        replace(reader, facts->host_at, facts->host_len, target);
    return ours ? asked : fn_http_text("", 0);
}

int fn_http_request_head(struct fn_http *http, struct fn_http_text head)
{
    struct fn_http_reader *reader = &http->requests;
    const struct fn_http_facts facts = reader->facts;
    const char *reason = objection(&facts);
    int code;

    if (reason) {
        reader->out.len = 0;
        return fn_http_bad(reader, reason);
    }
    code = fn_http_push(http, facts.asks, rewrite_host(http, head));
    if (code < 0)
        return code;
    http->switched = facts.asks & FN_HTTP_ASKS_SWITCH ? FN_HTTP_UNDECIDED : FN_HTTP_NO;
    fn_http_body(http, reader, facts.length, facts.codings > 0);
    return 0;
}
