/* What the pods of the tests run, static, alone in its image:
 *   pod                            waits to be ended
 *   pod serve PORT WORD            answers every connection with WORD and the caller's address, until it is ended
 *   pod ask ADDRESS PORT           prints what that answers
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void leave(int number)
{
    (void)number;
    _exit(0);
}

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int serve(struct sockaddr_in *at, const char *word)
{
    int one = 1, server = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(server, (struct sockaddr *)at, sizeof *at) || listen(server, 64))
        return fail("serve");
    for (;;) {
        struct sockaddr_in caller;
        socklen_t size = sizeof caller;
        int client = accept(server, (struct sockaddr *)&caller, &size);
        if (client < 0)
            return fail("accept");
        dprintf(client, "%s to %s", word, inet_ntoa(caller.sin_addr));
        close(client);
    }
}

static int ask(struct sockaddr_in *at)
{
    char said[256];
    int client = socket(AF_INET, SOCK_STREAM, 0);
    alarm(10);
    if (connect(client, (struct sockaddr *)at, sizeof *at))
        return fail("ask");
    for (ssize_t got; (got = read(client, said, sizeof said)) > 0;)
        if (write(1, said, (size_t)got) != got)
            return fail("print");
    return 0;
}

int main(int count, char **words)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    signal(SIGTERM, leave); /* process 1 of a namespace has no default */
    signal(SIGINT, leave);
    signal(SIGPIPE, SIG_IGN); /* a probe may hang up before it is answered */
    if (count == 4 && !strcmp(words[1], "serve")) {
        at.sin_port = htons((unsigned short)atoi(words[2]));
        return serve(&at, words[3]);
    }
    if (count == 4 && !strcmp(words[1], "ask")) {
        at.sin_port = htons((unsigned short)atoi(words[3]));
        inet_aton(words[2], &at.sin_addr);
        return ask(&at);
    }
    for (;;)
        pause();
}
