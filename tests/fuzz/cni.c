/* A libFuzzer target: the CNI program as it is shipped, in process, with a kernel and an agent made of the input.
 *
 *   clang-14 -g -O1 -std=gnu11 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all tests/fuzz/cni.c
 *
 * The program is included whole and unchanged; the system calls that it makes are replaced by macros, so that nothing
 * outside the process is touched, `_exit` comes back here, and time passes only where a call waits.
 *
 * The input:  8 bytes `weather` (what the calls do: see next()), 1 byte `world` (what is there: see WORLD)
 *             NAME=value NUL … NUL    the environment
 *             … 0xFF 0xFF             standard input, up to two bytes that no UTF-8 has
 *             …                       what the agent says
 *
 * Asserted of every input, besides what the sanitizers see: it ends with 0 or 1, by its deadline; what it printed is
 * nothing, the agent's answer, a CNI version result, or a CNI error with the specification's fields; what it sent and
 * what it left as a tombstone is the request, whole; JSON is accepted exactly where the reader below accepts it.
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

/* Bits of `world`. */
enum { NO_NETNS = 1, OTHER_NETNS = 2, NO_AGENT = 4, FULL_BACKLOG = 8, NO_ROOM = 16, TERMINAL = 32, LATE_AGENT = 64,
       SLOW_READER = 128 };
enum { NETNS = 100, AGENT, NOTE };

#define MUST(what) do { if (!(what)) { fprintf(stderr, "violated: %s\n", #what); abort(); } } while (0)

static const uint8_t *weather;
static unsigned turn, stalls;
static int world, dials;
static int64_t now, told; /* in nanoseconds; when standard input ended, before which no `timeout` is known */
static struct timeval patience; /* of connect() */

struct bytes {
    uint8_t at[3 * (HEAD + LIMIT)];
    size_t size, taken;
};
static struct bytes printed, sent, noted, input, reply;
/* The tombstone has its name; nobody reads standard output any more; the kernel does not take the request. */
static bool note_named, gone, unsendable;
static char note_path[2 * sizeof tombstone];

static void append(struct bytes *bytes, const void *more, size_t size)
{
    MUST(bytes->size + size <= sizeof bytes->at);
    memcpy(bytes->at + bytes->size, more, size);
    bytes->size += size;
}

/* What the next call does; a zero is the plain thing. */
static unsigned next(void)
{
    return weather[turn++ % 8];
}

/* How many bytes a transfer moves of so many; 0 and errno where it is interrupted, or not ready (never for ever). */
static size_t portion(size_t size, unsigned how)
{
    switch (stalls < 3 ? how & 7 : 0) {
    case 1: stalls++; errno = EAGAIN; return 0;
    case 2: stalls++; errno = EINTR; return 0;
    case 3: stalls = 0; return 1;
    case 4: stalls = 0; return size > 7 ? 7 : size;
    default: stalls = 0; return size;
    }
}

static int fake_clock_gettime(clockid_t clock, struct timespec *to)
{
    (void)clock;
    *to = (struct timespec){.tv_sec = now / 1000000000, .tv_nsec = now % 1000000000};
    return 0;
}

static int fake_poll(struct pollfd *one, nfds_t count, int milliseconds)
{
    MUST(count == 1 && milliseconds >= 0 && milliseconds <= 3600 * 1000 + 1); /* never without an end */
    unsigned how = next();
    bool blocked = one->fd == STDOUT_FILENO && (world & SLOW_READER);
    how = blocked ? 7 : how >> 3 & 7;
    if (how == 6 && !milliseconds)
        how = 0; /* what does not wait is not interrupted */
    switch (how) {
    case 7: /* nothing comes */
        gone |= one->fd == STDOUT_FILENO;
        now += milliseconds * 1000000ll;
        return 0;
    case 6: /* a signal, after a while */
        now += milliseconds * 300000ll + 1000;
        errno = EINTR;
        return -1;
    case 5:
        now += milliseconds * 100000ll;
        break;
    default:
        now += 1000;
    }
    one->revents = one->events;
    return 1;
}

static ssize_t take(struct bytes *from, void *to, size_t size, unsigned how)
{
    size_t rest = from->size - from->taken;
    if (!rest || !size) {
        ASAN_POISON_MEMORY_REGION(to, size); /* what was not read is not to be looked at */
        return 0;
    }
    size_t some = portion(size < rest ? size : rest, how);
    memcpy(to, from->at + from->taken, some);
    from->taken += some;
    return some ? (ssize_t)some : -1;
}

static ssize_t fake_read(int descriptor, void *to, size_t size)
{
    MUST(descriptor == STDIN_FILENO);
    unsigned how = next();
    told = now;
    if (how == 0xFF) {
        ASAN_POISON_MEMORY_REGION(to, size);
        errno = EIO;
        return -1;
    }
    return take(&input, to, size, how);
}

static ssize_t fake_recv(int descriptor, void *to, size_t size, int flags)
{
    MUST(descriptor == AGENT && flags & MSG_DONTWAIT && !unsendable); /* who was not asked is not waited for */
    unsigned how = next();
    if (how == 0xFF) {
        errno = ECONNRESET;
        return -1;
    }
    return take(&reply, to, size, how);
}

static ssize_t fake_write(int descriptor, const void *from, size_t size)
{
    unsigned how = next();
    MUST(descriptor == NOTE || (descriptor == STDOUT_FILENO && size <= PIECE));
    if (how == 0xFF) {
        gone |= descriptor == STDOUT_FILENO;
        errno = descriptor == NOTE ? ENOSPC : EPIPE;
        return -1;
    }
    size_t some = portion(size, how);
    if (!some && descriptor == NOTE)
        errno = EINTR; /* a file is always ready */
    append(descriptor == NOTE ? &noted : &printed, from, some);
    return some ? (ssize_t)some : -1;
}

static ssize_t fake_sendmsg(int descriptor, const struct msghdr *message, int flags)
{
    MUST(descriptor == AGENT && flags & MSG_DONTWAIT && flags & MSG_NOSIGNAL && message->msg_iovlen == 1);
    MUST(!message->msg_control || !sent.size); /* the namespace goes with the first byte alone */
    unsigned how = next();
    if (how == 0xFF) {
        errno = EPIPE;
        return -1;
    }
    if (how == 0xFE) {
        unsendable = true;
        errno = ENOBUFS;
        return -1;
    }
    size_t some = portion(message->msg_iov->iov_len, how);
    append(&sent, message->msg_iov->iov_base, some);
    return some ? (ssize_t)some : -1;
}

static int fake_open(const char *path, int flags, ...)
{
    size_t size = strlen(path);
    MUST(flags & O_CLOEXEC);
    if (flags & O_CREAT) {
        MUST((flags & O_EXCL) && (flags & O_NOFOLLOW) && size < sizeof note_path);
        strcpy(note_path, path);
        errno = ENAMETOOLONG;
        return size - (size_t)(strrchr(path, '/') - path) > 256 ? -1 : NOTE;
    }
    errno = ENOENT;
    return world & NO_NETNS ? -1 : NETNS;
}

static int fake_close(int descriptor)
{
    MUST(descriptor >= NETNS && descriptor <= NOTE);
    errno = EIO; /* a close is free to spoil errno */
    return descriptor == NOTE && next() == 0xFF ? -1 : 0;
}

static int fake_ioctl(int descriptor, unsigned long what)
{
    MUST(descriptor == NETNS && what == NS_GET_NSTYPE);
    errno = ENOTTY;
    return world & OTHER_NETNS ? (world & NO_ROOM ? -1 : CLONE_NEWNS) : CLONE_NEWNET;
}

static int fake_socket(int family, int type, int protocol)
{
    MUST(family == AF_UNIX && type & SOCK_CLOEXEC && !protocol);
    errno = EMFILE;
    if (next() == 0xFF)
        return -1;
    return AGENT;
}

static int fake_setsockopt(int descriptor, int level, int name, const void *value, socklen_t size)
{
    MUST(descriptor == AGENT && level == SOL_SOCKET && name == SO_SNDTIMEO && size == sizeof patience);
    memcpy(&patience, value, sizeof patience);
    MUST((patience.tv_sec || patience.tv_usec) && patience.tv_usec < 1000000); /* zero would be without an end */
    return 0;
}

static int fake_connect(int descriptor, const struct sockaddr *address, socklen_t size)
{
    const struct sockaddr_un *to = (const struct sockaddr_un *)address;
    MUST(descriptor == AGENT && size == sizeof *to && to->sun_path[0] == '/' && memchr(to->sun_path, 0, 108));
    dials++;
    if (world & NO_AGENT && !(world & LATE_AGENT && dials > 1)) {
        errno = ECONNREFUSED;
        return -1;
    }
    if (world & FULL_BACKLOG) {
        now += patience.tv_sec * 1000000000ll + patience.tv_usec * 1000;
        errno = EAGAIN;
        return -1;
    }
    return 0;
}

static int fake_mkdir(const char *path, mode_t mode)
{
    MUST(path[0] == '/' && (mode == 0755 || mode == 0700));
    errno = world & NO_ROOM ? EROFS : EEXIST;
    return world & (NO_ROOM | TERMINAL) ? -1 : 0;
}

static int fake_rename(const char *from, const char *to)
{
    MUST(!strcmp(from, note_path));
    const char *name = strrchr(to, '/') + 1;
    errno = ENAMETOOLONG;
    if (strlen(name) > 255)
        return -1;
    MUST(name - to >= 12 && !memcmp(name - 12, "/tombstones/", 12) && isalnum((unsigned char)*name));
    note_named = true;
    return 0;
}

static int fake_unlink(const char *path)
{
    MUST(!strcmp(path, note_path) || (note_named && dials == 2));
    note_named = false;
    noted.size = 0;
    return 0;
}

static int fake_isatty(int descriptor)
{
    MUST(descriptor == STDIN_FILENO);
    return !!(world & TERMINAL);
}

/* Another JSON reader (RFC 8259), by recursion: the end of the value at `at`, or NULL. */
static const uint8_t *a_value(const uint8_t *at, const uint8_t *end, int deep);

static const uint8_t *blanks(const uint8_t *at, const uint8_t *end)
{
    while (at < end && *at && strchr(" \t\r\n", *at))
        at++;
    return at;
}

static const uint8_t *a_string(const uint8_t *at, const uint8_t *end)
{
    for (at++; at < end && *at != '"';) {
        uint32_t point = *at++;
        int more = point < 0x80 ? 0 : point >> 5 == 6 ? 1 : point >> 4 == 14 ? 2 : point >> 3 == 30 ? 3 : -1;
        if (point < 0x20 || more < 0 || end - at < more)
            return NULL;
        if (more)
            point &= 0x3Fu >> more;
        for (int i = 0; i < more; i++, at++) {
            if (*at >> 6 != 2)
                return NULL;
            point = point << 6 | (*at & 0x3F);
        }
        if (more && (point < (uint32_t[]){0, 0x80, 0x800, 0x10000}[more] || point > 0x10FFFF || point >> 11 == 0x1B))
            return NULL;
        if (point != '\\')
            continue;
        if (at == end || !*at || !strchr("\"\\/bfnrtu", *at))
            return NULL;
        if (*at++ == 'u')
            for (int i = 0; i < 4; i++)
                if (at == end || !isxdigit(*at++))
                    return NULL;
    }
    return at < end ? at + 1 : NULL;
}

static const uint8_t *digits(const uint8_t *at, const uint8_t *end)
{
    const uint8_t *from = at;
    while (at < end && isdigit(*at))
        at++;
    return at > from ? at : NULL;
}

static const uint8_t *a_number(const uint8_t *at, const uint8_t *end)
{
    at += *at == '-';
    at = at < end && *at == '0' ? at + 1 : digits(at, end);
    if (at && at < end && *at == '.')
        at = digits(at + 1, end);
    if (at && at < end && (*at | 32) == 'e') {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        at = digits(at, end);
    }
    return at;
}

static const uint8_t *a_bracket(const uint8_t *at, const uint8_t *end, int deep)
{
    uint8_t close = *at == '{' ? '}' : ']';
    at = blanks(at + 1, end);
    if (at < end && *at == close)
        return at + 1;
    for (;; at = blanks(at + 1, end)) {
        if (close == '}') {
            at = at < end && *at == '"' ? a_string(at, end) : NULL;
            at = at ? blanks(at, end) : NULL;
            if (!at || at == end || *at != ':')
                return NULL;
            at = blanks(at + 1, end);
        }
        at = a_value(at, end, deep - 1);
        at = at ? blanks(at, end) : NULL;
        if (!at || at == end || (*at != ',' && *at != close))
            return NULL;
        if (*at == close)
            return at + 1;
    }
}

static const uint8_t *a_value(const uint8_t *at, const uint8_t *end, int deep)
{
    static const char *const words[] = {"true", "false", "null"};
    if (at == end)
        return NULL;
    if (*at == '{' || *at == '[')
        return deep ? a_bracket(at, end, deep) : NULL;
    if (*at == '"')
        return a_string(at, end);
    for (int i = 0; i < 3; i++)
        if (*at == words[i][0])
            return (size_t)(end - at) >= strlen(words[i]) && !memcmp(at, words[i], strlen(words[i]))
                       ? at + strlen(words[i]) : NULL;
    return a_number(at, end);
}

static bool is_object(const uint8_t *at, size_t size)
{
    const uint8_t *end = at + size;
    at = blanks(at, end);
    at = at < end && *at == '{' ? a_value(at, end, 500) : NULL;
    return at && blanks(at, end) == end;
}

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
    bool whole = reply.taken == printed.size + ANSWER_HEAD && body >= printed.size && dials && reply.at[4] == code &&
                 !memcmp(printed.at, reply.at + ANSWER_HEAD, printed.size);
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
    } else if (reply.taken) {
        MUST(whole);
        MUST(printed.size ? !reply_code(false) : command != ADD);
    } else {
        MUST(command == DEL && (note_named || dials == 2) && !printed.size);
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
    note_named = gone = unsendable = false;
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
