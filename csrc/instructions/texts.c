/* Orders, lines of text, and the kernel's messages. */
#define _GNU_SOURCE
#include "operations.h"

#include "lines.h"
#include "permute.h"
#include "rtnetlink.h"

#include <stdio.h>

static struct fn_permute order;

static void prepare_order(void)
{
    fn_permute_init(&order, 65534, 7);
}

static void permute(void)
{
    static uint64_t places[MANY];

    fn_permute_fill(&order, 0, 1, places, MANY);
    operation_result = places[0];
}

static void format_lines(const struct fn_lines_piece *pieces)
{
    static char out[MANY * 256];
    static float ms[MANY];
    static uint8_t kinds[MANY];
    const struct fn_lines_template templates[] = {{pieces}, {pieces}};
    const struct fn_lines_run run = {{10, 0, 0, 200}, 4, 1, ms, NULL};

    require(fn_lines_longest(templates) * MANY <= sizeof out);
    for (size_t i = 0; i < MANY; i++)
        ms[i] = (float)i * 0.13f;
    operation_result = fn_lines_format(templates, &run, kinds, MANY, out);
}

static void lines_table(void)
{
    static const struct fn_lines_piece pieces[] = {
        {TEXT(""), FN_LINES_ADDRESS, 15}, {TEXT(" alive        "), FN_LINES_MS, 0}, {TEXT("\n"), FN_LINES_END, 0}};

    format_lines(pieces);
}

static void lines_json(void)
{
    static const struct fn_lines_piece pieces[] = {
        {TEXT("{\"kind\": \"verdict\", \"address\": \""), FN_LINES_ADDRESS, 0},
        {TEXT("\", \"state\": \"alive\", \"rtt_ms\": "), FN_LINES_NUMBER, 0},
        {TEXT(", \"reason\": null}\n"), FN_LINES_END, 0}};

    format_lines(pieces);
}

static _Alignas(8) uint8_t dump[16384];
static size_t dump_size;

static void prepare_dump(void)
{
    FILE *const file = fopen("fuzz/corpus/rtnetlink/links", "rb");

    require(file != NULL);
    dump_size = fread(dump, 1, sizeof dump, file);
    require(fclose(file) == 0 && dump_size > 0 && dump_size < sizeof dump);
}

static void links(void)
{
    struct fn_rtnetlink_message message;
    struct fn_rtnetlink_link link;

    for (size_t at = 0; at < dump_size;) {
        const ssize_t taken = fn_rtnetlink_next(dump + at, dump_size - at, &message);
        require(taken > 0 && fn_rtnetlink_read_link(&message, &link) >= 0);
        operation_result = (uint64_t)link.index;
        at += (size_t)taken;
    }
}

const struct operation text_operations[] = {
    {"permute", prepare_order, permute},
    {"lines_table", NULL, lines_table},
    {"lines_json", NULL, lines_json},
    {"rtnetlink_links", prepare_dump, links},
    {0},
};
