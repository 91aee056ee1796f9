/* What the runtime said: its environment and the network configuration, checked and packed. Part of plugin.c. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/un.h>

#define HEAD 9          /* of a request: "BGPN", kind, length */
#define LIMIT (1 << 20) /* the largest body either way */
#define SOCKET "/run/bgpnet/agent.sock"
#define TIMEOUT "60"
#define SHORT_TIMEOUT "10" /* of a DEL, which runtimes try again, and of a STATUS */
#define TIMEOUT_LIMIT 3600
#define KNOWN "ADD, DEL, CHECK, GC, STATUS, VERSION"
#define REMEDY "the container runtime must write the network configuration to it, and close it"
#define VERSIONS "0.3.1, 0.4.0, 1.0.0, 1.1.0"

enum command { ADD, DEL, CHECK, GC, STATUS, VERSION, COMMANDS };

extern char **environ;
static const char *const command_names[COMMANDS] = {"ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"};
static const char *const versions[] = {"0.3.1", "0.4.0", "1.0.0", "1.1.0"};
static const int needed[COMMANDS] = {[ADD] = 3, [DEL] = 2, [CHECK] = 3}; /* variables, of those in check_present */
static const int since[COMMANDS] = {[CHECK] = 1, [GC] = 3, [STATUS] = 3}; /* the version, as an index */
static unsigned char request[HEAD + LIMIT + 1]; /* one more, to see that there is more */
static size_t request_size = HEAD;
static enum command command;
static const char *container, *ifname;
static const char *seconds = TIMEOUT; /* as messages show it */
static const char *socket_path = SOCKET;
static struct field fields[] = {{.name = "cniVersion"}, {.name = "socket"}, {.name = "timeout"}, {.name = NULL}};

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value ? value : "";
}

static enum command read_command(void)
{
    const char *name = variable("CNI_COMMAND");
    if (!*name)
        fail(ENVIRONMENT, "CNI_COMMAND is not set: the container runtime must set it to one of " KNOWN, NULL);
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(name, command_names[i]))
            return i;
    fail(ENVIRONMENT, "CNI_COMMAND = ", show(name), ": unknown; use one of " KNOWN, NULL);
}

/* All that are missing, in one sentence. */
static void check_present(void)
{
    static const char *const names[] = {"CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"};
    char missing[64] = "";
    for (int i = 0; i < needed[command]; i++)
        if (!*variable(names[i]))
            strcat(strcat(missing, *missing ? ", " : ""), names[i]);
    if (*missing)
        fail(ENVIRONMENT, missing, ": not set; the container runtime must set it for ", command_names[command], NULL);
}

static bool is_alphanumeric(char byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
}

static void check_container(void)
{
    container = variable("CNI_CONTAINERID");
    const char *at = container;
    while (is_alphanumeric(*at) || (at > container && *at && strchr("_.-", *at)))
        at++;
    if (*at)
        fail(ENVIRONMENT, "CNI_CONTAINERID = ", show(container), ": use letters, digits, `_`, `.` and `-`, "
             "with a letter or a digit first",
             NULL);
}

/* The specification's rules, and what the kernel takes otherwise than it stands: `%` (a pattern), 0xA0 (a space). */
static void check_ifname(void)
{
    ifname = variable("CNI_IFNAME");
    size_t size = strlen(ifname);
    const unsigned char *at = (const unsigned char *)ifname, *end = at + size;
    bool good = size <= 15 && strcmp(ifname, ".") && strcmp(ifname, "..") && !strpbrk(ifname, "/:% \t\n\v\f\r\xA0");
    for (int step; good && at < end; at += step)
        good = (step = character(at, end)) > 0;
    if (!good)
        fail(ENVIRONMENT, "CNI_IFNAME = ", show(ifname), ": use 1 to 15 bytes of UTF-8 without `/`, `:`, `%` or a "
             "space, and neither `.` nor `..`", NULL);
}

/* The CNI_ variables, last first, so that of two with one name the first counts, as it does for getenv. */
static void pack_environment(void)
{
    char **last = environ;
    while (*last)
        last++;
    while (last-- > environ) {
        size_t size = strlen(*last) + 1;
        if (strncmp(*last, "CNI_", 4) || !strchr(*last, '='))
            continue;
        if (size >= HEAD + LIMIT - request_size)
            fail(ENVIRONMENT, "the CNI_ variables are longer than the 1048576 bytes that are taken: shorten CNI_ARGS",
                 NULL);
        memcpy(request + request_size, *last, size);
        request_size += size;
    }
    request[request_size++] = 0;
}

/* Standard input to its end, or until it is more than fits: 0, or the errno. */
static int read_input(void)
{
    while (request_size < sizeof request) {
        if (!ready(STDIN_FILENO, POLLIN))
            return ETIMEDOUT;
        ssize_t got = read(STDIN_FILENO, request + request_size, sizeof request - request_size);
        if (got == 0)
            return 0;
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return errno;
        request_size += got > 0 ? (size_t)got : 0;
    }
    return 0;
}

static void check_version(void)
{
    const struct value *said = &fields[0].value;
    int is_empty = said->type == '"' && !said->size; /* libcni's for a configuration that has none */
    if (!said->type || said->type == 'n' || is_empty)
        fail(INCOMPATIBLE, "cniVersion is not set in the network configuration: use one of " VERSIONS, NULL);
    if (said->type != '"')
        fail(CONFIG, "cniVersion is not a string in the network configuration: use one of " VERSIONS, NULL);
    int ours = -1;
    for (int i = 0; i < (int)(sizeof versions / sizeof *versions); i++)
        if (said->size == strlen(versions[i]) && !strcmp(said->text, versions[i]))
            ours = i;
    if (ours < 0)
        fail(INCOMPATIBLE, "cniVersion = ", show(said->text), ": not supported; use one of " VERSIONS, NULL);
    version = versions[ours];
    if (ours < since[command])
        fail(INCOMPATIBLE, "cniVersion = ", version, ": has no ", command_names[command], "; use ",
             versions[since[command]], " or later", NULL);
}

static void check_socket(void)
{
    const struct value *said = &fields[1].value;
    if (!said->type || said->type == 'n')
        return;
    if (said->type != '"' || said->text[0] != '/' || said->size != strlen(said->text) ||
        said->size >= sizeof((struct sockaddr_un *)0)->sun_path)
        fail(CONFIG, "socket = ", show(said->text), ": use the absolute path of the agent's socket, of at most 107 "
             "bytes", NULL);
    socket_path = said->text;
}

static bool hurried(void)
{
    return command == DEL || command == STATUS;
}

static void check_timeout(const struct timespec *start)
{
    const struct value *said = &fields[2].value;
    if (said->type && said->type != 'n') {
        double wanted = said->type == '0' && said->size < sizeof said->text ? strtod(said->text, NULL) : 0;
        if (!(wanted > 0 && wanted <= TIMEOUT_LIMIT))
            fail(CONFIG, "timeout = ", show(said->text), ": use a number of seconds above 0 and up to 3600", NULL);
        if (!hurried() || wanted < strtod(SHORT_TIMEOUT, NULL))
            seconds = said->text;
    }
    set_deadline(start, strtod(seconds, NULL));
}

static void read_config(const struct timespec *start)
{
    size_t from = request_size;
    int error = read_input();
    if (error)
        fail(IO, "standard input cannot be read (", error == ETIMEDOUT ? "no end of it" : words(error), "): " REMEDY,
             NULL);
    if (request_size > HEAD + LIMIT)
        fail(CONFIG, "standard input is longer than the 1048576 bytes that are taken, with CNI_ variables: shorten it",
             NULL);
    if (!read_object(request + from, request_size - from, fields))
        fail(DECODING, "standard input is ", request_size == from ? "empty" : "not a JSON object", ": " REMEDY, NULL);
    check_version();
    check_socket();
    check_timeout(start);
}

/* VERSION needs nothing: what cannot be read of the caller's version is left aside. */
static int say_versions(void)
{
    if (!isatty(STDIN_FILENO) && !read_input() && request_size <= HEAD + LIMIT)
        read_object(request + HEAD, request_size - HEAD, fields);
    const struct value *said = &fields[0].value;
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
        if (said->type == '"' && said->size == strlen(versions[i]) && !strcmp(said->text, versions[i]))
            version = versions[i];
    put("{\"cniVersion\":\"");
    put(version);
    put("\",\"supportedVersions\":[\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n");
    return print(out.bytes, out.size) ? 0 : 1;
}
