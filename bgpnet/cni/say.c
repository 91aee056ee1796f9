/* The deadline, and the plugin's voice: what it prints, and the CNI error with which it fails. Part of plugin.c. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#define SHOWN 100  /* bytes of a foreign value that a message repeats */
#define PIECE 4096 /* PIPE_BUF: what a pipe that polls writable takes without blocking */

/* Error codes of the CNI specification 1.1.0, sections "Error" and "STATUS". */
enum code { INCOMPATIBLE = 1, ENVIRONMENT = 4, IO = 5, DECODING = 6, CONFIG = 7, LATER = 11, UNAVAILABLE = 50 };

static const char *version = "1.0.0"; /* of our own errors: the caller's, once it is known to be one of ours */
static struct timespec deadline;

static double left(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(deadline.tv_sec - now.tv_sec) + (double)(deadline.tv_nsec - now.tv_nsec) / 1e9;
}

static void set_deadline(const struct timespec *from, double seconds)
{
    time_t whole = (time_t)seconds;
    long nanoseconds = from->tv_nsec + (long)((seconds - (double)whole) * 1e9);
    deadline.tv_sec = from->tv_sec + whole + nanoseconds / 1000000000;
    deadline.tv_nsec = nanoseconds % 1000000000;
}

/* Waits until the descriptor is ready, or closed; false at the deadline. */
static bool ready(int descriptor, short events)
{
    for (;;) {
        double seconds = left();
        struct pollfd one = {.fd = descriptor, .events = events};
        int milliseconds = seconds > 0 ? (int)(seconds * 1000) + 1 : 0;
        int found = poll(&one, 1, milliseconds);
        if (found > 0)
            return true;
        if (found < 0 && errno != EINTR)
            return false;
        if (found == 0 && left() <= 0)
            return false;
    }
}

static struct {
    char bytes[8192];
    size_t size;
} out;

static void put(const char *text)
{
    size_t size = strlen(text);
    if (size < sizeof out.bytes - out.size) {
        memcpy(out.bytes + out.size, text, size);
        out.size += size;
    }
}

/* Puts text into a JSON string: what is not UTF-8 becomes U+FFFD, byte by byte. */
static void put_escaped(const char *text)
{
    const unsigned char *at = (const unsigned char *)text, *end = at + strlen(text);
    while (at < end) {
        char piece[8] = {0};
        int size = character(at, end);
        if (*at == '"' || *at == '\\') {
            piece[0] = '\\';
            piece[1] = (char)*at;
        } else if (*at < 0x20) {
            memcpy(piece, "\\u00", 4);
            piece[4] = "01"[*at >> 4];
            piece[5] = "0123456789abcdef"[*at & 15];
        } else if (size) {
            memcpy(piece, at, (size_t)size);
        } else {
            memcpy(piece, "\\ufffd", 6);
        }
        put(piece);
        at += size ? size : 1;
    }
}

/* Prints to standard output, in pieces that a pipe takes without blocking; false if nobody takes them. */
static bool print(const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size) {
        if (!ready(STDOUT_FILENO, POLLOUT))
            return false;
        ssize_t written = write(STDOUT_FILENO, at, size < PIECE ? size : PIECE);
        if (written < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (written > 0) {
            at += written;
            size -= (size_t)written;
        }
    }
    return true;
}

/* Ends with a CNI error object whose message is the given parts, closed by NULL. */
__attribute__((noreturn, cold, sentinel)) static void fail(enum code code, ...)
{
    char digits[] = {(char)('0' + code / 10), (char)('0' + code % 10), 0};
    put("{\"cniVersion\":\"");
    put(version);
    put("\",\"code\":");
    put(code < 10 ? digits + 1 : digits);
    put(",\"msg\":\"");
    va_list parts;
    va_start(parts, code);
    for (const char *part; (part = va_arg(parts, const char *));)
        put_escaped(part);
    va_end(parts);
    put("\"}\n");
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (left() < 1)
        set_deadline(&now, 1); /* the deadline may be what failed: a moment more to say so */
    print(out.bytes, out.size);
    _exit(1);
}

/* A foreign value as a message repeats it: up to a NUL, and not all of a long one. */
static const char *show(const char *value)
{
    static char shown[2][SHOWN + 4];
    static unsigned turn;
    char *text = shown[turn++ % 2];
    size_t size = strnlen(value, SHOWN + 1);
    memcpy(text, value, size < SHOWN ? size : SHOWN);
    strcpy(text + (size < SHOWN ? size : SHOWN), size > SHOWN ? "..." : "");
    return text;
}

/* The kernel's errno in the words of glibc, as the twin has them; musl has its own for some. */
static const char *words(int error)
{
    switch (error) {
    case EIO: return "Input/output error";
    case ENOMEM: return "Cannot allocate memory";
    case EBUSY: return "Device or resource busy";
    case EMFILE: return "Too many open files";
    case ENAMETOOLONG: return "File name too long";
    case ETOOMANYREFS: return "Too many references: cannot splice";
    case EDQUOT: return "Disk quota exceeded";
    case ELOOP: return "Too many levels of symbolic links";
    default: return strerror(error);
    }
}
