#include "checksum.h"
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { fn_checksum_scalar(data,size,0); return 0; }
