/* A libFuzzer target: the CNI program as it is shipped, in process, with a kernel and an agent made of the input.
 *
 *   clang-14 -g -O1 -std=gnu11 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all tests/fuzz/cni.c
 *
 * The program is included whole and unchanged; the system calls that it makes are replaced by macros, so that nothing
 * outside the process is touched, `_exit` comes back here, and time passes only where a call waits.
 *
 * The input:  8 bytes `weather` (what the calls do), 1 byte `world` (what is there): see world.c
 *             NAME=value NUL … NUL    the environment
 *             … 0xFF 0xFF             standard input, up to two bytes that no UTF-8 has
 *             …                       what the agent says
 *
 * Asserted of every input, besides what the sanitizers see: it ends with 0 or 1, by its deadline; what it printed is
 * nothing, the agent's answer, a CNI version result, or a CNI error with the specification's fields; what it sent and
 * what it left as a tombstone is the request, whole; JSON is accepted exactly where reader.c accepts it.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sanitizer/asan_interface.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static jmp_buf over;
static int fake_clock_gettime(clockid_t, struct timespec *);
static int fake_poll(struct pollfd *, nfds_t, int);
static ssize_t fake_read(int, void *, size_t);
static ssize_t fake_write(int, const void *, size_t);
static ssize_t fake_recv(int, void *, size_t, int);
static ssize_t fake_sendmsg(int, const struct msghdr *, int);
static int fake_open(const char *, int, ...);
static int fake_close(int);
static int fake_ioctl(int, unsigned long);
static int fake_socket(int, int, int);
static int fake_setsockopt(int, int, int, const void *, socklen_t);
static int fake_connect(int, const struct sockaddr *, socklen_t);
static int fake_mkdir(const char *, mode_t);
static int fake_rename(const char *, const char *);
static int fake_unlink(const char *);
static int fake_isatty(int);

#define clock_gettime fake_clock_gettime
#define poll fake_poll
#define read fake_read
#define write fake_write
#define recv fake_recv
#define sendmsg fake_sendmsg
#define open fake_open
#define close fake_close
#define ioctl fake_ioctl
#define socket(...) fake_socket(__VA_ARGS__)
#define setsockopt fake_setsockopt
#define connect fake_connect
#define mkdir fake_mkdir
#define rename fake_rename
#define unlink fake_unlink
#define isatty fake_isatty
#define signal(number, action) ((void)0)
#define _exit(code) longjmp(over, 1 + (code))
#define main plugin_main
#include "../../bgpnet/cni/plugin.c"
#undef main
#undef _exit
#undef write
#undef read
#undef open
#undef close
#include "reader.c"
#include "world.c"

/* The values of an error object of ours, in the one form that it has; its code, or 0. */
static int error_code(void)
{
    static const char *const known[] = {"0.3.1", "0.4.0", "1.0.0", "1.1.0"};
    char said[16] = "";
    int code = 0, at = 0;
    printed.at[printed.size] = 0;
    sscanf((char *)printed.at, "{\"cniVersion\":\"%15[0-9.]\",\"code\":%d,\"msg\":\"%n", said, &code, &at);
    if (!at || !is_object(printed.at, printed.size))
        return 0;
    const uint8_t *end = a_string(printed.at + at - 1, printed.at + printed.size);
    MUST(end && end == printed.at + printed.size - 2 && !memcmp(end, "}\n", 2)); /* nothing after msg */
    MUST(end - (printed.at + at) > 20); /* a sentence */
    for (int i = 0; i < 4; i++)
        if (!strcmp(said, known[i]))
            return code;
    return 0;
}

/* What an agent wrote, in whatever form, has the specification's fields: the code of the error, 0 of a result. */
static int reply_code(bool error)
{
    struct field wanted[] = {{.name = "cniVersion"}, {.name = "code"}, {.name = "msg"}, {.name = NULL}};
    MUST(is_object(printed.at, printed.size) && read_object(printed.at, printed.size, wanted));
    MUST(wanted[0].value.type == '"');
    if (!error)
        return 0;
    MUST(wanted[1].value.type == '0' && wanted[2].value.type == '"');
    return atoi(wanted[1].value.text);
}

static bool one_of(int code, const int *codes)
{
    while (*codes && *codes != code)
        codes++;
    return code && *codes == code;
}

static void judge(int code)
{
    size_t body = reply.size > ANSWER_HEAD ? reply.size - ANSWER_HEAD : 0;
    MUST(code == 0 || code == 1);
    int64_t limit = command == VERSION ? VERSION_TIMEOUT * 1000000000ll : (int64_t)(strtod(seconds, NULL) * 1e9);
    MUST(!hurried() || limit <= 10000000000ll);
    MUST(told <= 60000000000ll + 20000000);
    MUST(now <= (limit > told ? limit : told) + 1000000000 + 20000000); /* a second to say what is wrong, and the grain of poll() */
    MUST(!sent.size || sent.size <= request_size);
    MUST(!memcmp(sent.at, request, sent.size));
    if (note_named)
        MUST(command == DEL && noted.size == request_size - HEAD && !memcmp(noted.at, request + HEAD, noted.size));
    if (dials)
        MUST(is_object(input.at, input.size) && input.taken == input.size);
    if (gone || world & SLOW_READER)
        return;
    size_t meant = (size_t)reply.at[0] << 24 | (size_t)reply.at[1] << 16 | (size_t)reply.at[2] << 8 | reply.at[3];
    bool whole = reply.taken == printed.size + ANSWER_HEAD && body >= printed.size && meant == printed.size && dials &&
                 reply.at[4] == code && !memcmp(printed.at, reply.at + ANSWER_HEAD, printed.size);
    if (code) {
        int said = whole ? reply_code(true) : error_code();
        MUST(said);
        if (!whole) {
            MUST(one_of(said, (int[]){INCOMPATIBLE, ENVIRONMENT, IO, DECODING, CONFIG, LATER, UNAVAILABLE, 0}));
            MUST((said != UNAVAILABLE) || command == STATUS);
            if (said == DECODING && !dials)
                MUST(!is_object(input.at, input.size));
        }
    } else if (command == VERSION) {
        MUST(is_object(printed.at, printed.size) && strstr((char *)printed.at, "\"supportedVersions\":[\"0.3.1\","));
    } else if (whole) {
        MUST(!note_named && (printed.size ? !reply_code(false) : command != ADD));
    } else {
        MUST(command == DEL && note_named && !printed.size); /* no agent, or one that hung up */
    }
}

/* The program's variables as they are when it starts. */
static void restart(void)
{
    ASAN_UNPOISON_MEMORY_REGION(request, sizeof request);
    ASAN_UNPOISON_MEMORY_REGION(answer, sizeof answer);
    request_size = HEAD;
    out.size = 0;
    version = "1.0.0";
    seconds = TIMEOUT;
    socket_path = SOCKET;
    container = ifname = NULL;
    command = ADD;
    for (struct field *one = fields; one->name; one++)
        one->value = (struct value){.type = 0};
    printed.size = sent.size = noted.size = input.size = input.taken = reply.size = reply.taken = 0;
    turn = stalls = 0;
    dials = 0;
    now = told = 0;
    note_named = gone = unsendable = mute = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { MOST = 32 };
    char *made[MOST + 1], **before = environ;
    int count = 0;
    if (size < 9)
        return -1;
    restart();
    weather = data;
    world = data[8];
    const uint8_t *at = data + 9, *end = data + size;
    while (at < end && *at && count < MOST) {
        size_t length = strnlen((const char *)at, (size_t)(end - at));
        made[count] = calloc(1, length + 1);
        memcpy(made[count++], at, length);
        at += length < (size_t)(end - at) ? length + 1 : length;
    }
    made[count] = NULL;
    at += at < end;
    const uint8_t *split = memmem(at, (size_t)(end - at), "\xFF\xFF", 2);
    append(&input, at, (size_t)((split ? split : end) - at));
    if (split)
        append(&reply, split + 2, (size_t)(end - split - 2));
    environ = made;
    int code = setjmp(over);
    code = code ? code - 1 : plugin_main();
    environ = before;
    judge(code);
    while (count--)
        free(made[count]);
    return 0;
}
