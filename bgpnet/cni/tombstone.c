/* An agent that is not there: the note that a DEL leaves for it. Part of plugin.c. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static char tombstone[8192], unnamed[sizeof tombstone]; /* the file's path, and the one it is written under */

/* Makes tombstones/ beside the socket, with the directories above it, and names the files; 0, or the errno. */
static int prepare_tombstone(void)
{
    size_t size = (size_t)(strrchr(socket_path, '/') - socket_path);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (size + strlen("/tombstones/:") + strlen(container) + strlen(ifname) >= sizeof tombstone)
        return ENAMETOOLONG;
    strcpy(stpcpy(mempcpy(tombstone, socket_path, size), "/tombstones"), "/");
    for (char *slash = tombstone; (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        int failed = mkdir(tombstone, slash[1] ? 0755 : 0700) && errno != EEXIST;
        *slash = '/';
        if (failed)
            return errno;
    }
    char *end = stpcpy(stpcpy(unnamed, tombstone), ".new-");
    for (unsigned long number = (unsigned long)getpid() * 1000000000 + (unsigned long)now.tv_nsec; number; number /= 16)
        *end++ = "0123456789abcdef"[number % 16];
    *end = 0;
    strcat(strcat(strcat(tombstone, container), ":"), ifname); /* which neither may have */
    return 0;
}

/* Leaves the request's body for the agent to find, all of it or nothing; 0, or the errno. */
static int write_tombstone(void)
{
    int error = prepare_tombstone();
    if (error)
        return error;
    int file = open(unnamed, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file < 0)
        return errno;
    for (size_t done = HEAD; done < request_size && !error;) {
        ssize_t written = write(file, request + done, request_size - done);
        if (written > 0)
            done += (size_t)written;
        else if (errno != EINTR)
            error = errno;
    }
    if (close(file) && !error)
        error = errno;
    if (!error && rename(unnamed, tombstone))
        error = errno;
    if (error)
        unlink(unnamed);
    return error;
}
