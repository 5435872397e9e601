#include "lines.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define TEXT(text) (text), sizeof(text) - 1

static const struct fn_lines_piece MS[] = {
    {TEXT("<"), FN_LINES_ADDRESS, 15}, {TEXT(" "), FN_LINES_MS, 0}, {TEXT(">\n"), FN_LINES_END, 0}};
static const struct fn_lines_piece NUMBER[] = {
    {TEXT(""), FN_LINES_NUMBER, 0}, {TEXT(" "), FN_LINES_US, 0}, {TEXT("\n"), FN_LINES_END, 0}};
static const struct fn_lines_piece MAC[] = {{TEXT(""), FN_LINES_ADDRESS, 0},
                                            {TEXT(" "), FN_LINES_MAC, 0},
                                            {TEXT(" "), FN_LINES_UPPER_MAC, 0},
                                            {TEXT("\n"), FN_LINES_END, 0}};
static const struct fn_lines_piece PLAIN[] = {{TEXT(""), FN_LINES_ADDRESS, 0}, {TEXT("\n"), FN_LINES_END, 0}};

static void expect(const struct fn_lines_piece *timed, const struct fn_lines_run *run, const uint8_t *kinds,
                   size_t count, const char *lines)
{
    const struct fn_lines_template templates[] = {{timed}, {PLAIN}};
    char out[1024];
    const size_t size = fn_lines_format(templates, run, kinds, count, out);

    assert(fn_lines_longest(&templates[0]) * count <= sizeof out);
    assert(size == strlen(lines));
    assert(memcmp(out, lines, size) == 0);
}

int main(void)
{
    const float ms[] = {1.5f, NAN, 0.0625f, 0.00005f, 2147483520.0f};
    const uint8_t all[5] = {0}, none[5] = {255, 255, 255, 255, 255}, first[5] = {0, 255, 0, 255, 255};
    const uint8_t macs[12] = {2, 0, 0xab, 0, 0, 7};
    struct fn_lines_run run = {{10, 0, 0, 255}, 4, 1, ms, macs};

    expect(MS, &run, first, 5, "<10.0.0.255      1.500 ms>\n<10.0.1.1        0.062 ms>\n");
    expect(MS, &run, none, 5, "");
    expect(MS, &run, all, 0, "");
    expect(NUMBER, &run, all, 5, "1.5 1500\n10.0.1.0\n0.0625 62\n0.0 0\n2147483520.0 2147483520000\n");
    run.step = 256;
    expect(MAC, &run, all, 2, "10.0.0.255 02:00:ab:00:00:07 02:00:AB:00:00:07\n10.0.1.255\n");
    run = (struct fn_lines_run){{0xfd, 0, [14] = 0xff, [15] = 0xff}, 16, 1, ms, NULL};
    expect(PLAIN, &run, all, 2, "fd00::ffff\nfd00::1:0\n");
    return 0;
}
