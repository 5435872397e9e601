#include "guard.h"
#include "checksum.h"
#include <assert.h>
int main(void){ struct guard g = guard_copy("ab", 2); assert(fn_checksum_scalar(g.data,2,0)==0x6162); guard_free(&g); return 0;}
