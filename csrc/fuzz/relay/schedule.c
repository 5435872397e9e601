/* Reads the bytes of the schedule, and fails calls as the world arms them. */
#include "kernel.h"

#include <errno.h>
#include <string.h>

static const uint8_t *schedule, *schedule_end;

void schedule_begin(const uint8_t *data, size_t size)
{
    schedule = data;
    schedule_end = data + size;
}

bool schedule_is_over(void)
{
    return schedule == schedule_end;
}

unsigned choose(unsigned n)
{
    return schedule == schedule_end ? 0 : *schedule++ % n;
}

/* Faults */

static struct {
    unsigned after, times;
    int error;
} armed[FAULTS];

void fault_arm(enum fault fault, unsigned after, unsigned times, int error)
{
    armed[fault].after = after;
    armed[fault].times = times;
    armed[fault].error = error;
}

void faults_clear(void)
{
    memset(armed, 0, sizeof armed);
}

bool fails(enum fault fault)
{
    if (!armed[fault].times)
        return false;
    if (armed[fault].after) {
        armed[fault].after--;
        return false;
    }
    armed[fault].times--;
    errno = armed[fault].error;
    return true;
}
