/*
 * Lines of text about many addresses, made from templates: a line on an address costs some 50 ns.
 *
 * A template is a list of pieces: a text, then a field of the address (FN_LINES_END after the last text). Each
 * address has a kind, and each kind two templates, numbers 2 x kind and 2 x kind + 1: the second, without a time, is
 * used if the time is negative, 2^31 or more, or not a number. An address of kind FN_LINES_SKIPPED has no line.
 *
 * A field with a width is padded with spaces on its right. Times are rounded half to even, once. The caller's
 * buffer has fn_lines_longest() bytes for each address. Nothing is allocated, and no state is kept.
 */
#ifndef FN_LINES_H
#define FN_LINES_H

#include <stddef.h>
#include <stdint.h>

#define FN_LINES_SKIPPED 255
#define FN_LINES_WIDEST 64 /* the maximum width */

enum fn_lines_field {
    FN_LINES_END,
    FN_LINES_ADDRESS,
    FN_LINES_MS,        /* milliseconds with three decimals and their unit: 1.500 ms */
    FN_LINES_NUMBER,    /* milliseconds with one to four decimals, as JSON has them: 1.5 */
    FN_LINES_US,        /* whole microseconds */
    FN_LINES_MAC,       /* 02:00:00:00:0a:07 */
    FN_LINES_UPPER_MAC, /* 02:00:00:00:0A:07 */
    FN_LINES_FIELDS
};

struct fn_lines_piece {
    const char *text;
    size_t size;
    enum fn_lines_field field;
    unsigned width;
};

/* The pieces of a template, the last of them with FN_LINES_END. */
struct fn_lines_template {
    const struct fn_lines_piece *pieces;
};

/* The addresses first, first + step, ...: numbers in network byte order, of 4 or 16 bytes. */
struct fn_lines_run {
    uint8_t first[16];
    size_t address_size;
    uint64_t step;       /* below 2^63 */
    const float *ms;     /* of each address */
    const uint8_t *macs; /* six bytes for each address; NULL if no template has one */
};

/* Maximum bytes of a line of any template. */
size_t fn_lines_longest(const struct fn_lines_template *template);

/* Writes the lines of `count` addresses. Returns the number of bytes. */
size_t fn_lines_format(const struct fn_lines_template *templates, const struct fn_lines_run *run,
                       const uint8_t *kinds, size_t count, char *out);

#endif
