/* A stub of libcuda.so.1, not a driver: it answers the few calls that coldstart_sdk.cuda makes, in the forms that
 * cuda.h of CUDA 13.0 gives them, and checks what it is handed. No test on it says anything about a real card.
 *
 * STUB_CALLS   file that the name of each call is appended to
 * STUB_FAIL    "cuInit=100": that call returns that code
 * STUB_COUNT STUB_VERSION STUB_SM STUB_NAME STUB_ANSWER   what it reports: 1, 13000, 89, "NVIDIA L4", 42
 * STUB_WAIT    file for which cuDevicePrimaryCtxRetain waits, ten seconds at most
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONTEXT ((void *)0x5709c0de5709c0deULL) /* wider than an int: a handle cut short is noticed */
#define MODULE ((void *)0x1111222233334444ULL)
#define FUNCTION ((void *)0x5555666677778888ULL)
#define MEMORY 0x7f00deadbeef0000ULL
#define INVALID 1

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

static int enter(const char *call) {
    const char *calls = getenv("STUB_CALLS"), *fail = getenv("STUB_FAIL");
    if (calls) {
        FILE *file = fopen(calls, "a");
        fprintf(file, "%s\n", call);
        fclose(file);
    }
    size_t length = strlen(call);
    return fail && strncmp(fail, call, length) == 0 && fail[length] == '=' ? atoi(fail + length + 1) : 0;
}

#define ENTER() do { int code = enter(__func__); if (code) return code; } while (0)
#define EXPECT(true_of_arguments) do { if (!(true_of_arguments)) return INVALID; } while (0)

int cuInit(unsigned flags) { ENTER(); EXPECT(flags == 0); return 0; }
int cuDriverGetVersion(int *version) { ENTER(); *version = number("STUB_VERSION", 13000); return 0; }
int cuDeviceGetCount(int *count) { ENTER(); *count = number("STUB_COUNT", 1); return 0; }
int cuDeviceGet(int *device, int index) { ENTER(); *device = index; return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { ENTER(); *bytes = 24000000000ULL + device; return 0; }

int cuDeviceGetName(char *name, int length, int device) {
    ENTER();
    EXPECT(device < number("STUB_COUNT", 1));
    const char *known = getenv("STUB_NAME");
    snprintf(name, length, "%s", known ? known : "NVIDIA L4");
    return 0;
}

int cuDeviceGetAttribute(int *value, int which, int device) {
    ENTER();
    EXPECT(device < number("STUB_COUNT", 1) && (which == 75 || which == 76));
    int sm = number("STUB_SM", 89);
    *value = which == 75 ? sm / 10 : sm % 10;
    return 0;
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
    ENTER();
    EXPECT(device < number("STUB_COUNT", 1));
    const char *awaited = getenv("STUB_WAIT");
    for (int turns = 0; awaited && access(awaited, F_OK) != 0; turns++) {
        if (turns == 10000) return 909; /* CUDA_ERROR_TIMEOUT */
        usleep(1000);
    }
    *context = CONTEXT;
    return 0;
}

int cuCtxPushCurrent_v2(void *context) { ENTER(); EXPECT(context == CONTEXT); return 0; }
int cuCtxPopCurrent_v2(void **context) { ENTER(); *context = CONTEXT; return 0; }
int cuCtxSynchronize(void) { ENTER(); return 0; }

int cuModuleLoadData(void **module, const char *image) {
    ENTER();
    EXPECT(strstr(image, ".visible .entry coldstart_probe") != NULL);
    *module = MODULE;
    return 0;
}

int cuModuleGetFunction(void **function, void *module, const char *name) {
    ENTER();
    EXPECT(module == MODULE && strcmp(name, "coldstart_probe") == 0);
    *function = FUNCTION;
    return 0;
}

int cuModuleUnload(void *module) { ENTER(); EXPECT(module == MODULE); return 0; }
int cuMemAlloc_v2(uint64_t *memory, size_t bytes) { ENTER(); EXPECT(bytes == 4); *memory = MEMORY; return 0; }
int cuMemFree_v2(uint64_t memory) { ENTER(); EXPECT(memory == MEMORY); return 0; }

int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **arguments, void **extra) {
    ENTER();
    EXPECT(function == FUNCTION && gx == 1 && gy == 1 && gz == 1 && bx == 1 && by == 1 && bz == 1);
    EXPECT(shared == 0 && stream == NULL && extra == NULL && *(uint64_t *)arguments[0] == MEMORY);
    return 0;
}

int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) {
    ENTER();
    EXPECT(from == MEMORY && bytes == 4);
    *(uint32_t *)to = number("STUB_ANSWER", 42);
    return 0;
}

int cuGetErrorName(int code, const char **text) {
    *text = code == 909 ? "CUDA_ERROR_TIMEOUT" : NULL;
    return *text ? 0 : INVALID;
}

int cuGetErrorString(int code, const char **text) {
    *text = code == 909 ? "wait operation timed out" : NULL;
    return *text ? 0 : INVALID;
}
