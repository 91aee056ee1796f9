/* Numbered packets between network namespaces, and exactly which of them did not arrive:
 *   packets RATE END...        END is ADDRESS=PATH, the path of a network namespace such as /proc/7/ns/net
 * From every END to every other one of the same group (an END "-" begins the next group), RATE packets a second each.
 * It prints "counting" when every flow has had a packet through; those before are not counted. At the end of its
 * standard input it stops sending, waits for what is under way, and prints the report, a line for each thing:
 *   flow FROM TO SENT RECEIVED TWICE SLOWEST      SLOWEST: the longest way, in microseconds
 *   lost FROM TO FIRST COUNT SINCE UNTIL          so many in a row; when they were sent, in seconds of CLOCK_MONOTONIC
 *   unreachable FROM TO COUNT                     ICMP messages that came back: somebody on the way had no route
 *   overrun COUNT                                 packets that arrived and found no room in our sockets
 *   late MICROSECONDS                             the longest time that this program itself was kept from sending
 * One thread, two system calls for each end in each turn of a millisecond: what it costs must not be what it measures.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PORT = 7007, ENDS = 32, FLOWS = 256, BATCH = 64, SIZE = 64, CATCH_UP = 10, ROOM = 64 << 20 };
static const int64_t SECOND = 1000000000, SETTLE = 2000000000;

struct packet {
    uint32_t flow, counted;
    uint64_t number;
    int64_t sent;
    char rest[SIZE - 24];
};

struct flow {
    int from, to;
    uint64_t warm, sent, received, twice, unreachable, capacity;
    int64_t slowest;
    int64_t *when; /* when each was sent; negative once it has arrived */
};

struct end {
    const char *address;
    int group, socket;
    struct sockaddr_in at;
    uint32_t overrun; /* the kernel's own count, since the socket was made */
};

static struct end ends[ENDS];
static struct flow flows[FLOWS];
static int end_count, flow_count, counting;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int64_t now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * SECOND + at.tv_nsec;
}

static void open_end(char *text, int group, int home)
{
    struct end *end = &ends[end_count++];
    char *path = strchr(text, '=');
    int one = 1, room = ROOM, space;
    if (!path)
        die("an end is ADDRESS=PATH");
    *path++ = 0;
    end->address = text;
    end->group = group;
    end->at = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(PORT)};
    if (inet_pton(AF_INET, text, &end->at.sin_addr) != 1)
        die(text);
    if ((space = open(path, O_RDONLY | O_CLOEXEC)) < 0 || setns(space, CLONE_NEWNET))
        die(path);
    close(space);
    end->socket = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (end->socket < 0 || bind(end->socket, (struct sockaddr *)&end->at, sizeof end->at))
        die(text);
    if (setsockopt(end->socket, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) ||
        setsockopt(end->socket, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) ||
        setsockopt(end->socket, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof one) ||
        setsockopt(end->socket, IPPROTO_IP, IP_RECVERR, &one, sizeof one))
        die("setsockopt");
    if (setns(home, CLONE_NEWNET))
        die("setns back");
}

static void remember(struct flow *flow, int64_t at)
{
    if (flow->sent == flow->capacity) {
        flow->capacity = flow->capacity ? 2 * flow->capacity : 1 << 16;
        flow->when = realloc(flow->when, flow->capacity * sizeof *flow->when);
        if (!flow->when)
            die("memory");
    }
    flow->when[flow->sent++] = at;
}

/* Which flow an ICMP message is about: the one from this end to the address that was not reached. */
static void complain(struct end *end)
{
    char control[512];
    struct sockaddr_in to;
    struct msghdr message = {.msg_name = &to, .msg_control = control};
    for (;;) {
        message.msg_namelen = sizeof to;
        message.msg_controllen = sizeof control;
        if (recvmsg(end->socket, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
            return;
        for (int each = 0; each < flow_count; each++)
            if (&ends[flows[each].from] == end && ends[flows[each].to].at.sin_addr.s_addr == to.sin_addr.s_addr)
                flows[each].unreachable += (uint64_t)counting;
    }
}

/* One packet of each flow that begins here. A message that came back makes one call fail: it is asked again. */
static void send_from(int from)
{
    struct mmsghdr messages[ENDS];
    struct iovec vectors[ENDS];
    static struct packet packets[ENDS];
    unsigned count = 0, done = 0;
    int64_t at = now();
    memset(messages, 0, sizeof messages);
    for (int each = 0; each < flow_count; each++) {
        struct flow *flow = &flows[each];
        if (flow->from != from)
            continue;
        packets[count] = (struct packet){.flow = (uint32_t)each, .counted = (uint32_t)counting, .number = flow->sent, .sent = at};
        vectors[count] = (struct iovec){&packets[count], SIZE};
        messages[count].msg_hdr = (struct msghdr){
            .msg_name = &ends[flow->to].at, .msg_namelen = sizeof ends[0].at, .msg_iov = &vectors[count], .msg_iovlen = 1};
        count++;
        if (counting)
            remember(flow, at);
    }
    for (int tries = 0; done < count && tries < 8; tries++) {
        int sent = sendmmsg(ends[from].socket, messages + done, count - done, 0);
        if (sent > 0)
            done += (unsigned)sent;
        else
            complain(&ends[from]);
    }
}

static void count_packet(const struct packet *packet, int64_t at)
{
    struct flow *flow;
    if (packet->flow >= (uint32_t)flow_count)
        return;
    flow = &flows[packet->flow];
    if (!packet->counted) {
        flow->warm++;
        return;
    }
    if (packet->number >= flow->sent)
        return;
    if (flow->when[packet->number] < 0) {
        flow->twice++;
        return;
    }
    flow->when[packet->number] = -1;
    flow->received++;
    if (at - packet->sent > flow->slowest)
        flow->slowest = at - packet->sent;
}

static void receive_at(struct end *end)
{
    static struct packet packets[BATCH];
    static char controls[BATCH][CMSG_SPACE(sizeof(uint32_t))];
    struct mmsghdr messages[BATCH];
    struct iovec vectors[BATCH];
    int got;
    do {
        memset(messages, 0, sizeof messages);
        for (int each = 0; each < BATCH; each++) {
            vectors[each] = (struct iovec){&packets[each], SIZE};
            messages[each].msg_hdr = (struct msghdr){.msg_iov = &vectors[each], .msg_iovlen = 1,
                                                     .msg_control = controls[each], .msg_controllen = sizeof controls[each]};
        }
        got = recvmmsg(end->socket, messages, BATCH, MSG_DONTWAIT, NULL);
        if (got < 0 && errno != EAGAIN)
            complain(end);
        int64_t at = now();
        for (int each = 0; each < got; each++) {
            struct cmsghdr *told = CMSG_FIRSTHDR(&messages[each].msg_hdr);
            if (told && told->cmsg_type == SO_RXQ_OVFL)
                memcpy(&end->overrun, CMSG_DATA(told), sizeof end->overrun);
            if (messages[each].msg_len == SIZE)
                count_packet(&packets[each], at);
        }
    } while (got == BATCH);
}

static int all_warm(void)
{
    for (int each = 0; each < flow_count; each++)
        if (!flows[each].warm)
            return 0;
    return 1;
}

static int told_to_end(void)
{
    struct pollfd in = {.fd = 0, .events = POLLIN};
    char some[64];
    return poll(&in, 1, 0) > 0 && read(0, some, sizeof some) <= 0;
}

static void wait_until(int64_t at)
{
    struct timespec when = {.tv_sec = at / SECOND, .tv_nsec = at % SECOND};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR)
        ;
}

/* Sends until the input ends; returns how late it was at worst. Who is late sends what it owes, a few at a time. */
static int64_t run(int64_t period)
{
    int64_t due = now(), worst = 0;
    for (uint64_t turn = 0;; turn++) {
        wait_until(due);
        if (counting && now() - due > worst)
            worst = now() - due;
        for (int each = 0; each < CATCH_UP && due <= now(); each++, due += period)
            for (int from = 0; from < end_count; from++)
                send_from(from);
        for (int each = 0; each < end_count && (turn % 4 == 0 || !counting); each++)
            receive_at(&ends[each]);
        if (!counting && all_warm()) {
            for (int each = 0; each < end_count; each++)
                complain(&ends[each]); /* what was unreachable until now is not counted */
            counting = 1;
            puts("counting");
            fflush(stdout);
        }
        if (turn % 16 == 0 && told_to_end())
            return worst;
    }
}

static void report_lost(struct flow *flow)
{
    uint64_t first = 0;
    while (first < flow->sent) {
        uint64_t next = first;
        while (next < flow->sent && flow->when[next] >= 0)
            next++;
        if (next > first)
            printf("lost %s %s %llu %llu %.6f %.6f\n", ends[flow->from].address, ends[flow->to].address,
                   (unsigned long long)first, (unsigned long long)(next - first), (double)flow->when[first] / 1e9,
                   (double)flow->when[next - 1] / 1e9);
        first = next + 1;
    }
}

static void report(int64_t worst)
{
    uint64_t overrun = 0;
    for (int each = 0; each < end_count; each++)
        overrun += ends[each].overrun;
    for (int each = 0; each < flow_count; each++) {
        struct flow *flow = &flows[each];
        const char *from = ends[flow->from].address, *to = ends[flow->to].address;
        printf("flow %s %s %llu %llu %llu %lld\n", from, to, (unsigned long long)flow->sent,
               (unsigned long long)flow->received, (unsigned long long)flow->twice, (long long)(flow->slowest / 1000));
        report_lost(flow);
        if (flow->unreachable)
            printf("unreachable %s %s %llu\n", from, to, (unsigned long long)flow->unreachable);
    }
    printf("overrun %llu\nlate %lld\n", (unsigned long long)overrun, (long long)(worst / 1000));
}

int main(int count, char **words)
{
    int rate = count > 1 ? atoi(words[1]) : 0, group = 0, home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (rate <= 0 || rate > 100000 || home < 0) {
        fputs("usage: packets RATE ADDRESS=PATH...\n", stderr);
        return 2;
    }
    for (int each = 2; each < count; each++) {
        if (!strcmp(words[each], "-"))
            group++;
        else if (end_count < ENDS)
            open_end(words[each], group, home);
    }
    for (int from = 0; from < end_count; from++)
        for (int to = 0; to < end_count; to++)
            if (from != to && ends[from].group == ends[to].group && flow_count < FLOWS)
                flows[flow_count++] = (struct flow){.from = from, .to = to};
    int64_t worst = run(SECOND / rate), deadline = now() + SETTLE;
    while (now() < deadline) {
        for (int each = 0; each < end_count; each++)
            receive_at(&ends[each]);
        wait_until(now() + SECOND / 100);
    }
    report(worst);
    return 0;
}
