/* The kernel, the clock and the agent that the program sees: made of the input, and asserting what is asked of them.
   Part of cni.c. */
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
static bool note_named, gone, unsendable, mute; /* mute: this agent hangs up, its successor answers */
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
    if (mute)
        return 0;
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
    sent.size = reply.taken = 0; /* a DEL whose agent hung up says all of it again */
    mute = dials == 1 && world & LATE_AGENT;
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
    MUST(!strcmp(path, note_path) || (note_named && dials <= 3));
    note_named = false;
    noted.size = 0;
    return 0;
}

static int fake_isatty(int descriptor)
{
    MUST(descriptor == STDIN_FILENO);
    return !!(world & TERMINAL);
}
