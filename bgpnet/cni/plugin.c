/* The CNI plugin: what the container runtime executes. A thin client of the agent's unix socket.
 *
 *   musl-gcc -O2 -static -Wall -Wextra -Werror -o build/cni/bgpnet bgpnet/cni/plugin.c
 *
 * (With musl it starts in 0.12 ms, with glibc in 0.40: that asks the processor what it can, and in a virtual machine
 * each such question is answered by the hypervisor.)
 *
 * It checks its environment, finds `socket`, `timeout` and `cniVersion` in the network configuration on standard input,
 * opens CNI_NETNS, and hands all of it to the agent (bgpnet/wire.py says how); what the agent answers, it prints.
 * It holds no credentials and no state. By itself it answers VERSION, everything that is wrong with the request, and an
 * agent that is not there: a DEL then leaves its request in `tombstones/` beside the socket, as
 * `<CNI_CONTAINERID>:<CNI_IFNAME>`, for the agent to carry out when it starts, and is done.
 *
 * It ends with 0, or with 1 and a CNI error object on standard output, and within its deadline: `timeout` seconds from
 * its start (60 unless told otherwise); a DEL waits for at most 10, as runtimes try it again, and so does a STATUS.
 *
 * plugin.py is its twin, byte for byte in what it prints: change both or none. CNI specification 1.1.0.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

/* One file to the compiler, so that it builds by one command; in the order in which they lean on each other. */
#include "json.c"
#include "say.c"
#include "request.c"
#include "tombstone.c"

#ifndef NS_GET_NSTYPE /* linux/nsfs.h: musl comes without the kernel's headers */
#define NS_GET_NSTYPE _IO(0xb7, 0x3)
#endif
#define ANSWER_HEAD 5 /* length, status */
#define VERSION_TIMEOUT 2
#define HUNG_UP (-1) /* no exit code */

static unsigned char answer[ANSWER_HEAD + LIMIT];

/* CNI_NETNS, opened; -1 where a DEL finds it gone. */
static int open_netns(void)
{
    if (!needed[command])
        return -1;
    const char *path = variable("CNI_NETNS");
    int netns = *path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    int error = errno;
    if (netns >= 0 && ioctl(netns, NS_GET_NSTYPE) == CLONE_NEWNET)
        return netns;
    if (command != DEL)
        fail(ENVIRONMENT, "CNI_NETNS = ", show(path), ": ",
             netns < 0 ? words(error) : "not a network namespace",
             "; the container runtime must make it before ", command_names[command], NULL);
    if (netns >= 0)
        close(netns);
    return -1;
}

/* An agent that is away or silent: to be tried again, except that STATUS has a code of its own for that. */
static enum code later(void)
{
    return command == STATUS ? UNAVAILABLE : LATER;
}

__attribute__((noreturn, cold)) static void fail_late(void)
{
    fail(later(), "socket = ", show(socket_path), ": the agent did not answer within ", seconds,
         " s; see its log, then try again", NULL);
}

/* A connection to the agent; -1 and errno if there is none. */
static int dial(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, socket_path); /* its length was checked */
    int agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    double rest = left();
    if (agent < 0)
        fail(IO, "no socket to be had (", words(errno), "): raise that limit of the node", NULL);
    if (rest <= 0)
        fail_late();
    struct timeval limit = {.tv_sec = (time_t)rest, .tv_usec = (suseconds_t)((rest - (double)(time_t)rest) * 1e6) | 1};
    setsockopt(agent, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit); /* a full backlog holds connect(), not poll() */
    if (!connect(agent, (struct sockaddr *)&address, sizeof address))
        return agent;
    if (errno == EAGAIN)
        fail_late();
    int error = errno;
    close(agent);
    errno = error;
    return -1;
}

/* Sends the request, the namespace with its first byte. A peer that hangs up may have answered: read that. */
static void send_request(int agent, int netns)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.head), &netns, sizeof netns);
    for (size_t done = 0; done < request_size;) {
        struct iovec piece = {.iov_base = request + done, .iov_len = request_size - done};
        struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
        if (!done && netns >= 0) {
            message.msg_control = &control;
            message.msg_controllen = sizeof control.bytes;
        }
        ssize_t sent = sendmsg(agent, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0)
            done += (size_t)sent;
        else if (errno == EPIPE || errno == ECONNRESET)
            return;
        else if (errno != EAGAIN && errno != EINTR)
            fail(later(), "socket = ", show(socket_path), ": the request cannot be sent (", words(errno), "); try again",
                 NULL);
        else if (!ready(agent, POLLOUT))
            fail_late();
    }
}

/* Reads the answer up to `size` bytes; false where a DEL's agent hung up before, as one does that ends. */
static bool receive(int agent, size_t *have, size_t size)
{
    while (*have < size) {
        ssize_t got = recv(agent, answer + *have, size - *have, MSG_DONTWAIT);
        if (got > 0)
            *have += (size_t)got;
        else if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (!ready(agent, POLLIN))
                fail_late();
        } else if (command == DEL)
            return false;
        else
            fail(later(), "socket = ", show(socket_path),
                 ": the agent hung up before it had answered; see its log, then try again", NULL);
    }
    return true;
}

/* Whether a runtime can read the agent's answer: it is an object with a version, and of an error its code and message;
   of a success, nothing where nothing is to be said. */
static bool is_answer(const unsigned char *text, size_t size, int status)
{
    struct field said[] = {{.name = "cniVersion"}, {.name = "code"}, {.name = "msg"}, {.name = NULL}};
    const struct value *code = &said[1].value;
    if (!size)
        return !status && command != ADD;
    if (!read_object(text, size, said) || said[0].value.type != '"')
        return false;
    return !status || (said[2].value.type == '"' && code->type == '0' && code->size < 10 && code->text[0] != '0' &&
                       strspn(code->text, "0123456789") == code->size);
}

/* Prints the agent's answer, once it is known to be one that a runtime can read; the plugin's exit code, or HUNG_UP. */
static int relay(int agent)
{
    size_t have = 0;
    if (!receive(agent, &have, ANSWER_HEAD))
        return HUNG_UP;
    size_t size = (size_t)answer[0] << 24 | (size_t)answer[1] << 16 | (size_t)answer[2] << 8 | answer[3];
    int status = answer[4];
    bool good = size <= LIMIT && status <= 1;
    if (good && !receive(agent, &have, ANSWER_HEAD + size))
        return HUNG_UP;
    if (!good || !is_answer(answer + ANSWER_HEAD, size, status))
        fail(DECODING, "socket = ", show(socket_path),
             ": what answered is not a bgpnet agent of this version; name its socket, or restart it", NULL);
    return print(answer + ANSWER_HEAD, size) ? status : 1;
}

/* A DEL that nobody answered is noted, and asked once more in case an agent came up meanwhile and has read the notes
   already; -1 where it is left at the note. */
static int note(bool once_more)
{
    int error = write_tombstone();
    if (error)
        fail(later(), "socket = ", show(socket_path), ": no agent answers, and no tombstone can be written beside it (",
             words(error), "); start it with `bgpnet agent`, then try again", NULL);
    int agent = once_more ? dial() : -1;
    if (agent >= 0)
        unlink(tombstone);
    return agent;
}

static int dial_or_note(void)
{
    int agent = dial();
    if (agent >= 0)
        return agent;
    if (command != DEL)
        fail(later(), "socket = ", show(socket_path), ": no agent answers (", words(errno),
             "); start it with `bgpnet agent`, then try again", NULL);
    return note(true);
}

int main(void)
{
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    set_deadline(&start, VERSION_TIMEOUT);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on files' sizes is an error of the note, as a full disk is */
    command = read_command();
    if (command == VERSION)
        return say_versions();
    if (hurried())
        seconds = SHORT_TIMEOUT;
    set_deadline(&start, strtod(seconds, NULL));
    if (needed[command]) {
        check_present();
        check_container();
        check_ifname();
    }
    pack_environment();
    read_config(&start);
    int netns = open_netns();
    uint32_t size = (uint32_t)(request_size - HEAD);
    memcpy(request, (unsigned char[HEAD]){'B', 'G', 'P', 'N', 'C', size >> 24, size >> 16, size >> 8, size}, HEAD);
    int agent = dial_or_note();
    for (bool once_more = true; agent >= 0; once_more = false) {
        send_request(agent, netns);
        int status = relay(agent);
        if (status != HUNG_UP)
            return status;
        close(agent);
        agent = note(once_more);
    }
    return 0;
}
