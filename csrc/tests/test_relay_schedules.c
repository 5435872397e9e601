/* What the relay's fuzzer has found is tried again: each schedule of its corpus, by every compiler. */

#define _GNU_SOURCE
#include <assert.h>
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define CORPUS "fuzz/corpus/relay"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_schedule(const char *name)
{
    uint8_t data[8192];
    char path[512];

    snprintf(path, sizeof path, CORPUS "/%s", name);
    FILE *const file = fopen(path, "rb");
    assert(file);
    const size_t size = fread(data, 1, sizeof data, file);
    assert(feof(file));
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
}

int main(void)
{
    DIR *const corpus = opendir(CORPUS);
    unsigned count = 0;

    assert(corpus);
    for (const struct dirent *entry; (entry = readdir(corpus));)
        if (entry->d_name[0] != '.') {
            try_schedule(entry->d_name);
            count++;
        }
    closedir(corpus);
    assert(count > 20);
    return 0;
}
