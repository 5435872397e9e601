/* Texts and buffers. */
#include "http_head/internal.h"

#include <stdlib.h>

enum { ROOM_MIN = 256 };

enum { TOKEN = 1, NAME = 2 };

/* The kinds of text that may contain each byte: tokens (RFC 9110, section 5.6.2), and names of hosts (see below). */
static const uint8_t kinds[256] = {
    [' '] =
        0, 3, 0, 1, 3, 1, 3, 3, 2, 2, 3, 3, 0, 3, 3, 0,
        3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 0, 2, 0, 2, 0, 0,
        0, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
        3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 0, 0, 0, 1, 3,
        1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
        3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 0, 1, 0, 3, 0,
};

static bool is_all(struct fn_http_text text, uint8_t kind)
{
    for (size_t i = 0; i < text.len; i++)
        kind &= kinds[(uint8_t)text.data[i]];
    return kind;
}

bool fn_http_is_token(struct fn_http_text text)
{
    return text.len && is_all(text, TOKEN);
}

/* RFC 3986's reg-name without percent-encoding, which some readers decode, and commas, which separate a list. */
bool fn_http_is_name(struct fn_http_text text)
{
    return text.len && is_all(text, NAME);
}

bool fn_http_has_control(struct fn_http_text text)
{
    uint8_t any = 0;

    for (size_t i = 0; i < text.len; i++) {
        const uint8_t byte = (uint8_t)text.data[i];
        any |= (uint8_t)((byte < 32) & (byte != '\t')) | (uint8_t)(byte == 127);
    }
    return any;
}

bool fn_http_contains(struct fn_http_text text, char byte)
{
    return text.len && memchr(text.data, byte, text.len);
}

struct fn_http_text fn_http_trimmed(struct fn_http_text text)
{
    while (text.len && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = fn_http_skip(text, 1);
    while (text.len && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    return text;
}

struct fn_http_text fn_http_until(struct fn_http_text text, char mark, struct fn_http_text *rest)
{
    const char *at = text.len ? memchr(text.data, mark, text.len) : NULL;

    if (!at) {
        *rest = fn_http_text(NULL, 0);
        return text;
    }
    const size_t len = (size_t)(at - text.data);
    *rest = fn_http_skip(text, len + 1);
    return fn_http_text(text.data, len);
}

int64_t fn_http_number(struct fn_http_text text)
{
    int64_t number = 0;

    if (text.len == 0 || text.len > 18)
        return -1;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return -1;
        number = 10 * number + (text.data[i] - '0');
    }
    return number;
}

/* Buffers */

int fn_http_append(struct fn_http_buffer *buffer, const char *data, size_t len)
{
    if (len == 0)
        return 0;
    if (buffer->len + len > buffer->capacity) {
        size_t capacity = buffer->capacity ? 2 * buffer->capacity : ROOM_MIN;
        if (capacity < buffer->len + len)
            capacity = buffer->len + len;
        char *grown = realloc(buffer->data, capacity);
        if (!grown)
            return -ENOMEM;
        buffer->data = grown;
        buffer->capacity = capacity;
    }
    memcpy(buffer->data + buffer->len, data, len);
    buffer->len += len;
    return 0;
}

void fn_http_release(struct fn_http_buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct fn_http_buffer){0};
}
