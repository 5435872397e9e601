/* Field lines of a head or of trailers, and the values that frame a message. */
#include "http_head/internal.h"

int fn_http_field(struct fn_http_reader *reader, struct fn_http_text line, struct fn_http_text *name,
                  struct fn_http_text *value)
{
    if (line.len && (line.data[0] == ' ' || line.data[0] == '\t'))
        return fn_http_bad(reader, "a folded header line");
    *name = fn_http_until(line, ':', value);
    if (!value->data || !fn_http_is_token(*name))
        return fn_http_bad(reader, "a header line without a name");
    if (fn_http_has_control(*value))
        return fn_http_bad(reader, "a control character in a header");
    *value = fn_http_trimmed(*value);
    return 0;
}

/* The number of elements of a comma-separated list. */
static uint32_t elements(struct fn_http_text value)
{
    uint32_t count = 1;

    for (size_t i = 0; i < value.len; i++)
        count += value.data[i] == ',';
    return count;
}

void fn_http_lengths(struct fn_http_framing *framing, struct fn_http_text value)
{
    struct fn_http_text rest = value;

    for (uint32_t left = elements(value); left; left--) {
        const int64_t length = fn_http_number(fn_http_trimmed(fn_http_until(rest, ',', &rest)));
        framing->bad_length |= length < 0;
        framing->differing |= framing->lengths && length != framing->length;
        framing->length = length;
        framing->lengths++;
    }
}

void fn_http_codings(struct fn_http_framing *framing, struct fn_http_text value)
{
    struct fn_http_text coding = value, rest = value;

    for (uint32_t left = elements(value); left; left--) {
        coding = fn_http_until(rest, ',', &rest);
        framing->codings++;
    }
    framing->last_chunked = fn_http_is(fn_http_trimmed(coding), "chunked");
}
