/* Parses one direction's bytes into events: lines and heads are reported, and the output is the reader's `out`. */
#include "http_head/internal.h"

enum { CHUNK_DIGITS_MAX = 15, CHUNK_END_LIMIT = 2 };

/* Lines */

/*
 * The next line without its end. Returns 1 for a complete line, with `in` after it; 0 if the input ended first: then
 * it is kept, together with the `before` bytes in front of the line.
 */
static int take_line(struct fn_http_reader *reader, struct fn_http_input *in, size_t before, size_t limit,
                     struct fn_http_text *line)
{
    struct fn_http_buffer *kept = &reader->kept;
    const char *from = in->data + in->at;
    const size_t room = in->len - in->at;
    const char *newline = room ? memchr(from, '\n', room) : NULL;
    const size_t len = newline ? (size_t)(newline - from) + 1 : room;
    const size_t whole = reader->partial + len;

    if (whole > limit)
        return fn_http_bad(reader, "a line or head that is too long");
    if (kept->len && fn_http_append(kept, from, len) < 0)
        return -ENOMEM;
    if (!newline) {
        if (!kept->len && before + len && fn_http_append(kept, from - before, before + len) < 0)
            return -ENOMEM;
        in->at = in->len;
        reader->partial = whole;
        return 0;
    }
    in->at += len;
    reader->partial = 0;
    *line = fn_http_text(kept->len ? kept->data + kept->len - whole : from, whole);
    const bool crlf = whole > 1 && line->data[whole - 2] == '\r';
    if (reader->strict && !crlf)
        return fn_http_bad(reader, "a line that ends in a bare LF");
    line->len -= crlf ? 2 : 1;
    /* In a request, the line's own checks refuse them. Some readers end a line there (RFC 9112, section 2.2). */
    if (!reader->strict && (fn_http_contains(*line, '\r') || fn_http_contains(*line, '\0')))
        return fn_http_bad(reader, "a bare CR or a NUL in a response");
    return 1;
}

static size_t line_size(struct fn_http_text line)
{
    return line.len + (line.data[line.len] == '\r' ? 2 : 1);
}

/* Sets the output to this text, which is in the input or in kept. */
static void emit(struct fn_http_reader *reader, struct fn_http_text text)
{
    reader->out = text;
    reader->out_at = 0;
    reader->spent = reader->kept.len > 0;
}

/* States */

static void end_of_message(struct fn_http_reader *reader)
{
    reader->state = reader->next;
}

static int end_of_head(struct fn_http_reader *reader, struct fn_http_text line)
{
    const struct fn_http_text head = fn_http_text(line.data - reader->size, reader->size + line_size(line));
    int code;

    emit(reader, head);
    reader->size = 0;
    code = reader->events->head(reader, head);
    reader->framing = (struct fn_http_framing){0};
    if (reader->bad)
        reader->out.len = 0;
    return code;
}

static int read_head(struct fn_http_reader *reader, struct fn_http_input *in)
{
    struct fn_http_text line;
    int code;

    while ((code = take_line(reader, in, reader->size, FN_HTTP_HEAD_LIMIT - reader->size, &line)) > 0) {
        if (line.len == 0 && reader->size)
            return end_of_head(reader, line);
        if (line.len) /* Blank lines before a head are dropped (RFC 9112, section 2.2). */
            code = reader->events->line(reader, line);
        if (code < 0)
            return code;
        if (line.len)
            reader->size += line_size(line);
        else
            fn_http_release(&reader->kept);
    }
    return code;
}

void fn_http_framing_body(struct fn_http_reader *reader, int64_t length, bool chunked)
{
    reader->left = length;
    reader->chunked = chunked;
    if (chunked)
        reader->state = FN_HTTP_CHUNK_LINE;
    else if (length)
        reader->state = FN_HTTP_COUNTED;
    else
        end_of_message(reader);
}

void fn_http_framing_count(struct fn_http_reader *reader, int64_t n)
{
    reader->left -= n;
    if (reader->left == 0 && reader->chunked)
        reader->state = FN_HTTP_CHUNK_END;
    else if (reader->left == 0)
        end_of_message(reader);
}

static int read_counted(struct fn_http_reader *reader, struct fn_http_input *in)
{
    const int64_t room = (int64_t)(in->len - in->at);
    const int64_t n = reader->left < room ? reader->left : room;

    emit(reader, fn_http_text(in->data + in->at, (size_t)n));
    in->at += (size_t)n;
    fn_http_framing_count(reader, n);
    return 0;
}

static int64_t chunk_size(struct fn_http_text digits)
{
    int64_t size = 0;

    if (digits.len == 0 || digits.len > CHUNK_DIGITS_MAX)
        return -1;
    for (size_t i = 0; i < digits.len; i++) {
        const char byte = digits.data[i];
        if (byte >= '0' && byte <= '9')
            size = 16 * size + (byte - '0');
        else if ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f')
            size = 16 * size + ((byte | 0x20) - 'a' + 10);
        else
            return -1;
    }
    return size;
}

/* Whether a quoted string of a chunk extension is unclosed: some readers would continue it in the next lines. */
static bool open_quote(struct fn_http_text extension)
{
    bool quoted = false;

    for (size_t i = 0; i < extension.len; i++) {
        if (extension.data[i] == '"')
            quoted = !quoted;
        else if (extension.data[i] == '\\' && quoted)
            i++;
    }
    return quoted;
}

static int read_chunk_line(struct fn_http_reader *reader, struct fn_http_input *in)
{
    struct fn_http_text line, extension;
    const int code = take_line(reader, in, 0, FN_HTTP_CHUNK_LINE_LIMIT, &line);

    if (code <= 0)
        return code;
    struct fn_http_text digits = fn_http_until(line, ';', &extension);
    while (digits.len && (digits.data[digits.len - 1] == ' ' || digits.data[digits.len - 1] == '\t'))
        digits.len--;
    reader->left = chunk_size(digits);
    if (reader->left < 0)
        return fn_http_bad(reader, "an invalid chunk size");
    if (fn_http_has_control(extension))
        return fn_http_bad(reader, "a control character in a chunk extension");
    if (reader->strict && open_quote(extension))
        return fn_http_bad(reader, "an unclosed quote in a chunk extension");
    reader->state = reader->left ? FN_HTTP_COUNTED : FN_HTTP_TRAILER;
    emit(reader, fn_http_text(line.data, line_size(line)));
    return 0;
}

static int read_chunk_end(struct fn_http_reader *reader, struct fn_http_input *in)
{
    struct fn_http_text line;
    const int code = take_line(reader, in, 0, CHUNK_END_LIMIT, &line);

    if (code <= 0)
        return code;
    if (line.len)
        return fn_http_bad(reader, "a chunk longer than its size");
    reader->state = FN_HTTP_CHUNK_LINE;
    emit(reader, fn_http_text(line.data, line_size(line)));
    return 0;
}

static int check_trailer(struct fn_http_reader *reader, struct fn_http_text line)
{
    struct fn_http_text name, value;

    if (fn_http_field(reader, line, &name, &value) < 0)
        return -EBADMSG;
    /* A reader that merges trailers into the head would frame or route it differently (RFC 9110, section 6.5.1). */
    if (fn_http_is(name, "content-length") || fn_http_is(name, "transfer-encoding") || fn_http_is(name, "host"))
        return fn_http_bad(reader, "a Host or framing field in the trailers");
    return 0;
}

static int read_trailer(struct fn_http_reader *reader, struct fn_http_input *in)
{
    struct fn_http_text line;
    const int code = take_line(reader, in, 0, FN_HTTP_HEAD_LIMIT - reader->size, &line);

    if (code <= 0)
        return code;
    if (line.len && reader->strict && check_trailer(reader, line) < 0)
        return -EBADMSG;
    reader->size += line_size(line);
    emit(reader, fn_http_text(line.data, line_size(line)));
    if (line.len == 0) {
        reader->size = 0;
        end_of_message(reader);
    }
    return 0;
}

static int read_raw(struct fn_http_reader *reader, struct fn_http_input *in)
{
    emit(reader, fn_http_text(in->data + in->at, in->len - in->at));
    in->at = in->len;
    return 0;
}

int fn_http_framing_read(struct fn_http_reader *reader, struct fn_http_input *in)
{
    switch (reader->state) {
    case FN_HTTP_HEAD:
        return read_head(reader, in);
    case FN_HTTP_COUNTED:
        return read_counted(reader, in);
    case FN_HTTP_CHUNK_LINE:
        return read_chunk_line(reader, in);
    case FN_HTTP_CHUNK_END:
        return read_chunk_end(reader, in);
    case FN_HTTP_TRAILER:
        return read_trailer(reader, in);
    case FN_HTTP_RAW:
        break;
    }
    return read_raw(reader, in);
}
